"""The same figures from checkpoints of a run that is over: one tensor out of each."""

from lightning_semgeom.checkpoints.analysis import analyze

__all__ = ["analyze"]
