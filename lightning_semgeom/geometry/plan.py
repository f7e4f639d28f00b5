"""Which rows add up to which attribute value: computed once for a table, used at each capture.

Several attributes are merged into joint cells, so that a row is added once a group of attributes
instead of once an attribute; the cells are added up to values at the end. An attribute that follows
from another, as a part of speech from its subclass, needs no cells of its own.

Legend: n rows; attribute a of A gives row i the code a(i) in 0..M_a-1, or -1: not labelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod

import torch
from torch import Tensor

from lightning_semgeom.geometry.bags import Cells
from lightning_semgeom.geometry.follows import Follows, followers
from lightning_semgeom.geometry.moved import moved
from lightning_semgeom.geometry.order import numbered, stable_order
from lightning_semgeom.geometry.patterns import Patterns
from lightning_semgeom.geometry.pieces import Pieces, in_pieces

_ROWS_PER_CELL = 32  # on average, so that the merged cells stay small beside the rows
_MOST_CELLS = 1 << 10  # each has a sum of its own
_MOST_PARTIAL_SETS, _MOST_PATTERNS = 32, 16  # each pattern has a matrix of its own


@dataclass(frozen=True)
class LabelSet:
    """Attributes that label the same rows."""

    attributes: tuple[int, ...]
    """Their indices."""
    everywhere: bool
    """Whether they label all rows."""


class CodePlan:
    """How to add up rows by attribute value.

    Args:
        codes: int64 `[n, A]`, -1 where a row is not labelled.
        num_values: M_a of each attribute.
        whole: the plan that these rows are a part of; None: they are the whole.

    Raises:
        ValueError: if `codes` has another shape or dtype, or a code is out of range.
    """

    def __init__(
        self,
        codes: Tensor,
        num_values: Sequence[int],
        whole: CodePlan | None = None,
    ) -> None:
        check_codes(codes, num_values)
        self.codes = codes
        self.num_values = tuple(num_values)
        self.offsets = tuple(accumulate(num_values, initial=0))
        # Of the whole in each part, so that the sums of all parts are laid out alike.
        self.label_sets: tuple[LabelSet, ...] = whole.label_sets if whole else _label_sets(codes)
        self._followers: dict[int, Follows] = (
            whole._followers if whole else followers(codes, self.num_values)
        )
        self._parts: dict[tuple[int, int], CodePlan] = {}

    def to(self, device: torch.device) -> CodePlan:
        """The same plan and its parts on `device`, prepared here: nothing is asked there."""
        if self.codes.device == device:
            return self
        for cells in self.cells:
            _ = cells.bags, cells.value_bags
        _ = self.value_counts, self.labelled, self.pieces
        _ = self.patterns.chunks if self.patterns else None
        plan, parts = copy(self), {key: part.to(device) for key, part in self._parts.items()}
        vars(plan).update(moved(vars(self) | {"_parts": {}}, device) | {"_parts": parts})
        return plan

    def part(self, rows: slice) -> CodePlan:
        """The plan of some of the rows, for sums that add up to those of the whole."""
        key = rows.start, rows.stop
        if key == (0, len(self.codes)):
            return self
        if key not in self._parts:
            self._parts[key] = CodePlan(self.codes[rows], self.num_values, self)
        return self._parts[key]

    @cached_property
    def value_counts(self) -> Tensor:
        """int64 `[V]`: how many rows have each value, attribute after attribute."""
        every_row = torch.ones(self.codes.shape[0], dtype=torch.bool, device=self.codes.device)
        return self.count(every_row)

    def count(self, chosen: Tensor) -> Tensor:
        """As `value_counts`, of the rows `chosen`, bool `[n]`."""
        codes = self.codes[chosen]
        counts = [
            torch.bincount(codes[:, a] + 1, minlength=m + 1)[1:]
            for a, m in enumerate(self.num_values)
        ]
        return torch.cat(counts) if counts else codes.new_zeros(0)

    @cached_property
    def labelled(self) -> list[tuple[tuple[int, ...], Tensor | None]]:
        """The rows of each label set: sorted int64 `[m]`; None: all."""
        return [
            (
                chosen.attributes,
                None
                if chosen.everywhere
                else (self.codes[:, chosen.attributes[0]] >= 0).nonzero()[:, 0],
            )
            for chosen in self.label_sets
        ]

    @cached_property
    def patterns(self) -> Patterns | None:
        """The rows by pattern; None: there are many patterns."""
        sets = [a for (a, *_), labelled in self.labelled if labelled is not None]
        if len(sets) > _MOST_PARTIAL_SETS:
            return None
        bits = torch.arange(len(sets), device=self.codes.device)
        pattern = ((self.codes[:, sets] >= 0).long() << bits).sum(1)
        found, number = numbered(pattern, 1 << len(sets))
        if len(found) > _MOST_PATTERNS:
            return None
        counts = torch.bincount(number, minlength=len(found))
        masks = found.tolist()
        of_set = [[p for p, m in enumerate(masks) if m >> k & 1] for k in range(len(sets))]
        every = [*range(len(masks))]
        order = stable_order(number, len(found))
        return Patterns(order, counts.tolist(), [every, *of_set])

    @cached_property
    def cells(self) -> list[Cells]:
        """The attributes in groups whose joint values are few beside the rows."""
        everywhere = {
            a for chosen in self.label_sets if chosen.everywhere for a in chosen.attributes
        }
        radix = [m if a in everywhere else m + 1 for a, m in enumerate(self.num_values)]
        alone = [a for a in range(len(radix)) if a not in self._followers]
        groups = _first_fit(alone, radix, room=min(len(self.codes) // _ROWS_PER_CELL, _MOST_CELLS))
        following: dict[int, list[int]] = {}
        for a, found in self._followers.items():
            following.setdefault(found.leader, []).append(a)
        return [self._merge(group, radix, following) for group in groups]

    @cached_property
    def pieces(self) -> list[Pieces]:
        """The rows of `cells` in pieces of a few."""
        return in_pieces(self.cells, self.offsets)

    def _merge(self, group: list[int], radix: list[int], following: dict[int, list[int]]) -> Cells:
        device = self.codes.device
        of_row = torch.zeros(self.codes.shape[0], dtype=torch.int64, device=device)
        for a in group:
            not_labelled = radix[a] - self.num_values[a]
            of_row = of_row * radix[a] + self.codes[:, a] + not_labelled
        count = prod(radix[a] for a in group)
        rest = torch.arange(count, device=device)
        values = {}
        for a in reversed(group):
            values[a] = rest % radix[a] - (radix[a] - self.num_values[a])
            rest = rest // radix[a]
        for leader in group:
            for a in following.get(leader, ()):
                values[a] = self._followers[a].code_of[values[leader] + 1]
        return Cells(of_row, count, values, self.num_values)


def _first_fit(attributes: list[int], radix: list[int], room: int) -> list[list[int]]:
    """Each attribute, the largest first, into the first group whose cells it keeps within `room`.

    A group that one attribute does not fit has no room for others of its size either, so that each
    size looks at a group once.
    """
    groups: list[list[int]] = []
    cells: list[int] = []
    last_size, first = 0, 0
    for a in sorted(attributes, key=lambda a: -radix[a]):
        if radix[a] != last_size:
            last_size, first = radix[a], 0
        while first < len(groups) and cells[first] * radix[a] > room:
            first += 1
        if first == len(groups):
            groups.append([])
            cells.append(1)
        groups[first].append(a)
        cells[first] *= radix[a]
    return groups


def _label_sets(codes: Tensor) -> tuple[LabelSet, ...]:
    """The attributes by the rows that they label, in the order of the first ones."""
    masks = (codes >= 0).T.contiguous().cpu().numpy()
    found: dict[bytes, list[int]] = {}
    for a, mask in enumerate(masks):
        found.setdefault(mask.tobytes(), []).append(a)
    return tuple(
        LabelSet(tuple(attributes), bool(masks[attributes[0]].all()))
        for attributes in found.values()
    )


def check_codes(codes: Tensor, num_values: Sequence[int]) -> None:
    """Refuse codes of another shape or dtype, or out of range, with a ValueError."""
    attributes = len(num_values)
    if codes.ndim != 2 or codes.dtype != torch.int64 or codes.shape[1] != attributes:
        raise ValueError(
            f"codes must be int64 [n, {attributes}], one column for each of the {attributes} "
            f"entries of num_values; got {codes.dtype} {list(codes.shape)}."
        )
    if codes.numel() == 0:
        return
    low, high = (ends.tolist() for ends in torch.aminmax(codes, dim=0))
    for a, (least, most, values) in enumerate(zip(low, high, num_values, strict=True)):
        if least < -1 or most >= values:
            raise ValueError(
                f"codes[:, {a}] must lie in -1..{values - 1} (num_values[{a}] = {values}, and -1 "
                f"is not labelled); found {least}..{most}."
            )
