"""The phases of a run: which method a step trains with, and what ends a phase and the run.

Both are decided by the record of the steps before, so that a resumed run needs no state but its metrics.
"""
