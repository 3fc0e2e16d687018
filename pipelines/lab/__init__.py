"""`hpt lab`: studies, which are tables of runs of the pipeline's own stages, and what the tables say."""
