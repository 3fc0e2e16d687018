"""What a Prefect server knows of this project: deployments, the work pool, automations, alerts, retention."""
