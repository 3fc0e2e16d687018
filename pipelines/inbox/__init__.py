"""The inbox: new files of expert trajectories in an S3 bucket, each checked and taken once.

Below `inbox.url` of params.yaml, people put files under SOURCE/. A poll (`poll.py`) takes what is new: it
claims an object (`claims.py`), downloads it and compares checksums (`download.py`), reads it whole with the
reader of the stage experts (`file_check.py`), puts it into the folder that the source reads
(`destination.py`), and writes a receipt (`receipts.py`). What cannot be used goes to quarantine/ with the
reason (`quarantine.py`).
"""
