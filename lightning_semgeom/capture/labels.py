"""Which rows of a hidden state belong to which row of the attribute table.

Legend: B sequences of T positions, width d; hidden `[B, d]` or `[B, T, d]`; labels `[B]` or
`[B, T]`: for each position the row of the table, negative where it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_semgeom.geometry.moved import sent

LabelSource = str | int | Callable[[Any], Tensor]

_NAMED = 3  # entries of a batch in a message


@dataclass(frozen=True)
class Share:
    """Which of a batch's labelled positions are kept here."""

    limit: int
    """The largest number taken of the batch, evenly over it."""
    part: int = 0
    """Of those every `parts`-th from `part` on, where several processes see the same batch."""
    parts: int = 1


@dataclass(frozen=True)
class LabelReader:
    """How the labels of a batch are found and lined up with the positions of a hidden state."""

    source: LabelSource
    """Key or index into the batch, or a function of the batch."""
    positions: Literal["all", "last"]
    """All positions, or the last one with a label in each sequence; where a sequence has one label,
    the last one that the batch's `attention_mask` does not call padding."""
    shift: bool
    """Whether the label of position t stands at t + 1, as where labels are the inputs."""

    def read(self, batch: Any) -> Tensor:
        """The labels of `batch` as they stand in it, int64 on the host.

        There it is looked up which positions are kept: a forward then waits for nothing.

        Raises:
            ValueError: if the batch has none; the message says what it has.
        """
        if callable(self.source):
            labels = self.source(batch)
        elif isinstance(self.source, str) and isinstance(batch, Mapping):
            if self.source not in batch:
                raise ValueError(
                    f"labels='{self.source}' is not a key of the batch. Its keys: "
                    f"{', '.join(repr(key) for key in batch)}."
                )
            labels = batch[self.source]
        elif isinstance(self.source, int) and isinstance(batch, Sequence):
            if not -len(batch) <= self.source < len(batch):
                raise ValueError(
                    f"labels={self.source} is out of range: the batch has {len(batch)} entries."
                )
            labels = batch[self.source]
        else:
            raise ValueError(
                f"labels={self.source!r} does not fit {_described(batch)}. Give a key of a dict, "
                "an index of a tuple (labels=1: its second entry), or a function batch -> labels."
            )
        if (
            not isinstance(labels, Tensor)
            or labels.is_floating_point()
            or labels.ndim not in (1, 2)
        ):
            raise ValueError(
                f"labels must be an integer tensor [B] or [B, T]; labels={self.source!r} gave "
                f"{_described(labels)}."
            )
        return labels.detach().to("cpu", torch.int64, copy=True)

    def ends(self, batch: Any) -> Tensor | None:
        """The last position of each sequence that is no padding, int64 `[B]`; None: not known."""
        mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
        if self.positions == "all" or not isinstance(mask, Tensor) or mask.ndim != 2:
            return None
        return _last_position(mask > 0)[:, 0]

    def count(self, batch: Any) -> int:
        """How many positions of `batch` have a label."""
        labels = self.read(batch)
        if labels.ndim == 2:
            labels = self._aligned(labels)
        return int((labels >= 0).sum())

    def select(
        self, hidden: Tensor, labels: Tensor, share: Share, ends: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The share's rows `[m, d]` of `hidden`, with their labels int64 `[m]` on the host.

        Args:
            hidden: `[B, d]` or `[B, T, d]`.
            labels: from `read`.
            share: which of the positions are kept.
            ends: from `ends`, of the same batch.

        Raises:
            ValueError: if the shapes of hidden and labels do not belong together.
        """
        if hidden.ndim == 3 and labels.ndim == 2 and hidden.shape[:2] == labels.shape:
            hidden, labels = hidden.flatten(0, 1), self._aligned(labels).flatten()
        elif hidden.ndim == 3 and labels.shape == hidden.shape[:1] and self.positions == "last":
            if ends is None or ends.shape != labels.shape:
                hidden = hidden[:, -1]
            else:
                ends = ends.to(hidden.device).clamp(0, hidden.shape[1] - 1)
                hidden = hidden[torch.arange(len(ends), device=hidden.device), ends]
        elif not (hidden.ndim == 2 and labels.shape == hidden.shape[:1]):
            raise ValueError(
                f"labels {list(labels.shape)} do not fit a hidden state {list(hidden.shape)}. "
                "Expected [B] for [B, d], [B, T] for [B, T, d], or [B] for [B, T, d] with "
                "positions='last'."
            )
        chosen = (labels >= 0).nonzero()[:, 0]
        if chosen.shape[0] > share.limit:
            steps = torch.arange(share.limit, device=chosen.device)
            chosen = chosen[steps * chosen.shape[0] // share.limit]
        chosen = chosen[share.part :: share.parts]
        return hidden[sent(chosen, hidden.device)], labels[chosen]

    def _aligned(self, labels: Tensor) -> Tensor:
        """Labels `[B, T]` as they belong to the positions of a hidden state, those wanted alone."""
        if self.shift:
            labels = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=-1)
        if self.positions == "all":
            return labels
        position = torch.arange(labels.shape[1], device=labels.device)
        return torch.where(position == _last_position(labels >= 0), labels, -1)


def _last_position(chosen: Tensor) -> Tensor:
    """Where bool `[B, T]` is true for the last time in each row, int64 `[B, 1]`; -1: nowhere."""
    position = torch.arange(chosen.shape[1], device=chosen.device)
    return torch.where(chosen, position, -1).amax(1, keepdim=True)


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, list | tuple):
        entries = [_described(entry) for entry in value[:_NAMED]] + ["..."] * (len(value) > _NAMED)
        return f"a {type(value).__name__} of {', '.join(entries) or 'nothing'}"
    return f"a {type(value).__name__}"
