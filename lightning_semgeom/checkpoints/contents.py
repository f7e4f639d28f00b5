"""Steps whose weights are the same to the bit.

Public suites have served the weights of one step under the names of others, and nobody noticed.
"""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor

from lightning_semgeom.record.record import listed


class Contents:
    """Remembers what was measured at which step."""

    def __init__(self) -> None:
        self._steps: dict[str, list[int]] = {}

    def add(self, step: int, content: str) -> None:
        """Remember the `content_of` a step's rows."""
        self._steps.setdefault(content, []).append(step)

    def notes(self) -> list[str]:
        """A line for each group of steps with the same weights."""
        return [
            f"steps {listed(steps)} have bit-identical weights: what is called by one of them may "
            "be a copy of another."
            for steps in self._steps.values()
            if len(steps) > 1
        ]


def content_of(rows: Tensor) -> str:
    """A hash of rows `[n, d]`, of which equal ones are the same to the bit."""
    known = blake2b(f"{rows.dtype} {list(rows.shape)}".encode(), digest_size=16)
    # In pieces: rows of a mapped file are never in memory as a whole.
    for piece in torch.split(rows, 1 << 12):
        known.update(piece.contiguous().view(torch.uint8).numpy().data)
    return known.hexdigest()
