"""Small whole numbers in order, and numbered anew: in time linear in them, and not by comparing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_SMALL = 1 << 16  # numpy sorts what fits into 16 bits by its digits
_SPARSE, _FEW = 8, 1 << 10  # a place for each possible number pays up to so many a number


def stable_order(numbers: Tensor, count: int) -> Tensor:
    """Where each of `numbers`, int64 `[n]` in 0..count - 1, comes from once they are sorted."""
    if numbers.device.type != "cpu" or count > _SMALL:
        return numbers.argsort(stable=True)
    order = numbers.numpy().astype(np.uint16).argsort(kind="stable")
    return torch.from_numpy(order)


def numbered(numbers: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The different ones of `numbers`, int64 `[n]` in 0..count - 1, in order, and which each is."""
    if count > _SPARSE * len(numbers) + _FEW:
        return torch.unique(numbers, return_inverse=True)  # type: ignore[no-any-return]
    is_there = torch.zeros(count, dtype=torch.bool, device=numbers.device)
    is_there[numbers] = True
    return is_there.nonzero()[:, 0], (is_there.cumsum(0) - 1)[numbers]
