"""What a checkpoint of any kind offers: the shapes of its tensors, and each of them or its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


class CheckpointError(ValueError):
    """What is wrong with a checkpoint, in words that go on after its path."""


class NoStepError(CheckpointError):
    """A checkpoint that tells no step."""


@dataclass(frozen=True)
class Tensors:
    """The tensors of a checkpoint; none is read before it is asked for."""

    shapes: Mapping[str, tuple[int, ...]]
    """By name, as the checkpoint calls them."""
    read: Callable[[str, int | None], Tensor]
    """Name of a tensor `[n, ...]` and a number of rows m <= n -> its first rows `[m, ...]`; None
    rows: the whole tensor, of any shape."""
    untied: str | None = None
    """Why a head that is absent is not tied to the input embedding, in words; None: it may be."""


def are_same(rows: Tensor, other: Tensor) -> bool:
    """Whether all bits are the same, in NaN, too."""
    same_kind = rows.dtype == other.dtype and rows.shape == other.shape
    ours, theirs = (found.reshape(-1).view(torch.uint8) for found in (rows, other))
    return same_kind and torch.equal(ours, theirs)
