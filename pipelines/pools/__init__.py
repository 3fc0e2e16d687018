"""Stages on the workers of other work pools: what the flow and the worker hand to each other.

Prefect carries the parameters and the stage's entry of dvc.lock, the DVC remote carries data and models.
Nothing else is common to the two machines.
"""
