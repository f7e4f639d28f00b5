"""Which attributes can be read off others, as a part of speech off its subclass.

Legend: as in `plan`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_MOST_LEADERS = 32  # the finest attributes alone are asked what follows: else quadratic in A
_ROWS_TO_REFUTE = 256  # one attribute seldom follows from another, and few rows tell that


@dataclass(frozen=True)
class Follows:
    """Says that the code of one attribute can be read off another's."""

    leader: int
    """The other attribute."""
    code_of: Tensor
    """int64 `[1 + M]`: the code that goes with the leader's codes -1, 0, ..."""


def followers(codes: Tensor, num_values: tuple[int, ...]) -> dict[int, Follows]:
    """The attributes that follow from one with at least as many values.

    Only the first `_MOST_LEADERS` that follow from no other are asked.
    """
    leaders: list[int] = []
    found: dict[int, Follows] = {}
    for a in sorted(range(len(num_values)), key=lambda a: -num_values[a]):
        follows = _follows(a, leaders, codes, num_values)
        if follows is not None:
            found[a] = follows
        elif len(leaders) < _MOST_LEADERS:
            leaders.append(a)
    return found


def _follows(
    a: int, leaders: list[int], codes: Tensor, num_values: tuple[int, ...]
) -> Follows | None:
    """What the codes of `a` can be read off, if the codes of one of `leaders` tell them."""
    if not leaders:
        return None
    few = codes[:: 1 + len(codes) // _ROWS_TO_REFUTE]
    size = num_values[leaders[0]] + 1  # the largest
    place = few[:, leaders] + 1 + size * torch.arange(len(leaders), device=codes.device)
    told = codes.new_empty(size * len(leaders))
    told[place] = few[:, a, None].expand_as(place)
    possible = (told[place] == few[:, a, None]).all(0).tolist()
    for leader in (
        leader for leader, is_possible in zip(leaders, possible, strict=True) if is_possible
    ):
        code_of = codes.new_full((num_values[leader] + 1,), -1)
        code_of[codes[:, leader] + 1] = codes[:, a]
        if torch.equal(code_of[codes[:, leader] + 1], codes[:, a]):
            return Follows(leader, code_of)
    return None
