"""What is asked of captures that a rule follows, one after the other."""

from __future__ import annotations


def check_rule(patience: int, beta: float) -> None:
    """Raise a ValueError unless so many captures in a row can hold, and `beta` can average them."""
    if patience < 1:
        raise ValueError(f"patience must be 1 capture or more; got {patience}.")
    if not 0 <= beta < 1:
        raise ValueError(f"beta must lie in [0, 1); got {beta}.")


def check_increases(step: int, last: int | None) -> None:
    """Raise a ValueError unless `step` comes after the `last` one; None: it is the first."""
    if last is not None and step <= last:
        raise ValueError(f"steps must increase: {step} came after {last}.")
