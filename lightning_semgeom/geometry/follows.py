"""Which attributes can be read off others, as a part of speech off its subclass.

Legend: as in `plan`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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
    columns = codes.cpu().numpy().T.copy()  # torch takes longer to begin than numpy to be done
    for a in sorted(range(len(num_values)), key=lambda a: -num_values[a]):
        follows = _follows(a, leaders, columns, num_values)
        if follows is not None:
            leader, code_of = follows
            found[a] = Follows(leader, torch.from_numpy(code_of).to(codes.device))
        elif len(leaders) < _MOST_LEADERS:
            leaders.append(a)
    return found


def _follows(
    a: int, leaders: list[int], columns: np.ndarray, num_values: tuple[int, ...]
) -> tuple[int, np.ndarray] | None:
    """What the codes of `a` can be read off, if the codes of one of `leaders` tell them."""
    if not leaders:
        return None
    few = columns[:, :: 1 + columns.shape[1] // _ROWS_TO_REFUTE]
    size = num_values[leaders[0]] + 1  # the largest
    place = few[leaders] + 1 + size * np.arange(len(leaders))[:, None]
    told = np.empty(size * len(leaders), dtype=np.int64)
    told[place] = few[a]
    possible = (told[place] == few[a]).all(1)
    for leader in (one for one, is_possible in zip(leaders, possible, strict=True) if is_possible):
        code_of = np.full(num_values[leader] + 1, -1, dtype=np.int64)
        code_of[columns[leader] + 1] = columns[a]
        if np.array_equal(code_of[columns[leader] + 1], columns[a]):
            return leader, code_of
    return None
