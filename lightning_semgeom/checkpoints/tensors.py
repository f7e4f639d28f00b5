"""What a checkpoint of any kind offers: the shapes of its tensors, and the first rows of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor


class CheckpointError(ValueError):
    """What is wrong with a checkpoint, in words that go on after its path."""


@dataclass(frozen=True)
class Tensors:
    """The tensors of a checkpoint; none is read before it is asked for."""

    shapes: Mapping[str, tuple[int, ...]]
    """By name, as the checkpoint calls them."""
    read: Callable[[str, int], Tensor]
    """Name of a tensor `[n, d]` and a number of rows m <= n -> its first rows `[m, d]`."""
