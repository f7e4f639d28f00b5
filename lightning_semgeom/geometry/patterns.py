"""Rows by the attributes that label them: a row is multiplied once, for all sets that have it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

CHUNK = 128
"""Rows that a kernel of CUDA multiplies at a time."""


@dataclass(frozen=True)
class Chunks:
    """The rows of each pattern, filled up to whole chunks, and the sums they are added to.

    Sums are told as bits of a number: bit e is entry e of `Patterns.of_set`.
    """

    order: Tensor
    """int64 `[m]`: the rows, one pattern after the other; -1: none, to fill up."""
    starts: list[int]
    """Where in `order` each pattern begins, and where the last one ends."""
    entries: list[int]
    """What each pattern is added to."""
    firsts: list[int]
    """What it is the first to be added to."""
    lasts: list[int]
    """What it is the last to be added to."""


@dataclass(frozen=True)
class Patterns:
    """Rows by the attributes that label them, of those that do not label all rows."""

    order: Tensor
    """int64 `[n]`: the rows, one pattern after the other."""
    sizes: list[int]
    """How many rows each pattern has."""
    of_set: list[list[int]]
    """The patterns of all rows, then those of each label set but the one that has all."""

    @cached_property
    def chunks(self) -> Chunks:
        """The rows as a kernel takes them."""
        whole = [-(-size // CHUNK) * CHUNK for size in self.sizes]
        starts = [*accumulate(whole, initial=0)]
        order = self.order.new_full((starts[-1],), -1)
        for start, chosen in zip(starts, torch.split(self.order, self.sizes), strict=False):
            order[start : start + len(chosen)] = chosen
        entries, firsts, lasts = ([0] * len(self.sizes) for _ in range(3))
        for entry, patterns in enumerate(self.of_set):
            for pattern in patterns:
                entries[pattern] |= 1 << entry
            if patterns:
                firsts[min(patterns)] |= 1 << entry
                lasts[max(patterns)] |= 1 << entry
        return Chunks(order, starts, entries, firsts, lasts)
