"""The inbox: new files of expert trajectories in an S3 bucket, each checked and taken once."""
