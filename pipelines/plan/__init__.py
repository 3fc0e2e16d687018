"""What a run of params.yaml will need: memory of a device, time, traffic and cost, before it is started."""
