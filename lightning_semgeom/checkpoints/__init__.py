"""The same figures from checkpoints of a run that is over: one tensor out of each."""
