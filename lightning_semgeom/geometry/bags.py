"""Entries that are added up, bag by bag, and cells: the rows with the same values of attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from lightning_semgeom.geometry.order import stable_order


@dataclass(frozen=True)
class Bags:
    """Which entries are added up, bag by bag, as `embedding_bag` is told it."""

    order: Tensor
    """int64 `[m]`: the entries, one bag after the other."""
    starts: Tensor
    """int64 `[count + 1]`: where in `order` each bag begins, and where the last one ends."""

    @classmethod
    def of(cls, bags: Tensor, count: int) -> Bags:
        """From the bag of each entry, int64 `[n]`, -1: in none."""
        ends = torch.bincount(bags + 1, minlength=count + 1).cumsum(0)
        return cls(stable_order(bags + 1, count + 1)[ends[0] :], ends - ends[0])

    @classmethod
    def joined(cls, parts: Sequence[Bags]) -> Bags:
        """The bags of one after those of the other."""
        before = [*accumulate((len(part.order) for part in parts), initial=0)]
        starts = [part.starts[:-1] + first for part, first in zip(parts, before, strict=False)]
        end = starts[0].new_tensor(before[-1:])
        return cls(torch.cat([part.order for part in parts]), torch.cat([*starts, end]))

    def sums(self, values: Tensor) -> Tensor:
        """Sums of the rows of `values` by bag; in order, so that they are always the same."""
        # Rows may be on a device without fp64, and their sums on the host.
        order, starts = self.order.to(values.device), self.starts.to(values.device)
        return embedding_bag(order, values, starts, mode="sum", include_last_offset=True)

    def __len__(self) -> int:
        """How many bags there are."""
        return len(self.starts) - 1


@dataclass(frozen=True)
class Cells:
    """The joint values of a few attributes."""

    of_row: Tensor
    """int64 `[n]`: the cell of each row."""
    count: int
    """Number of cells."""
    values: dict[int, Tensor]
    """For each attribute the code that each cell stands for, int64 `[count]`, -1: not labelled."""
    num_values: tuple[int, ...]
    """M_a of all attributes."""

    @cached_property
    def bags(self) -> Bags:
        """The rows of each cell."""
        return Bags.of(self.of_row, self.count)

    @cached_property
    def value_bags(self) -> dict[int, Bags]:
        """The cells of each value, by attribute."""
        return {a: Bags.of(codes, self.num_values[a]) for a, codes in self.values.items()}
