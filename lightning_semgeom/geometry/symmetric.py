"""Sums of u u^T, of which the half below the diagonal is not computed."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

_PANELS = 4


def add_product(target: Tensor, unit: Tensor) -> None:
    """Add u^T u to `target` `[d, d]`, all but what lies below the panels on the diagonal."""
    for own, _ in _panels(len(target)):
        target[own, own.start :].addmm_(unit[:, own].T, unit[:, own.start :])


def fill_below(target: Tensor) -> None:
    """Make `target` `[d, d]` what it is above the diagonal, below it too."""
    for own, rest in _panels(len(target)):
        square = target[own, own].triu_()
        square += square.triu(1).T
        target[rest, own] = target[own, rest].T


def _panels(width: int) -> Iterator[tuple[slice, slice]]:
    """The rows of each panel of a matrix, and those below it."""
    height = -(-width // _PANELS)
    for start in range(0, width, height):
        yield slice(start, start + height), slice(start + height, width)
