"""What the losses on cosines share: unit rows with gradients, and means over pairs of them.

A Gram of all rows is never made: from rows u_i and t_i the squared differences of all pairs add up
to ||U^T U||^2 - 2 ||U^T T||^2 + ||T^T T||^2, linear in the rows. Where even that is too much, rows
are drawn, and the mean over their pairs has the mean over all pairs as its expectation.

Legend: n rows x_i of width d; mu their mean; u_i = (x_i - mu) / ||x_i - mu||; b rows drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def whole_rows(rows: Tensor, argument: str) -> Tensor:
    """`rows` `[n, d]` with its gradient, gathered where a strategy has cut it.

    Raises:
        ValueError: if it is no floating point matrix.
    """
    if rows.ndim != 2 or not rows.is_floating_point():
        raise ValueError(
            f"{argument} must be a floating point tensor [rows, d]; got {rows.dtype} "
            f"{list(rows.shape)}."
        )
    if isinstance(rows, DTensor):
        gathered: Tensor = rows.full_tensor()
        return gathered
    return rows


class RowDraw(nn.Module):
    """Draws rows uniformly without replacement, the same ones on all processes.

    A module, so that where it stands goes into the loss's `state_dict`.

    Args:
        max_rows: most rows drawn at a time.
        seed: of the draws; the global generators are left as they are.

    Raises:
        ValueError: if `max_rows` is less than 2.
    """

    def __init__(self, max_rows: int, seed: int) -> None:
        super().__init__()
        if max_rows < 2:
            raise ValueError(f"max_rows must be 2 or more, since pairs are compared: {max_rows}.")
        self.max_rows = max_rows
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, count: int, device: torch.device) -> Tensor | slice:
        """Places of the drawn rows among `count`, int64 `[b]`; all, where there is room."""
        if count <= self.max_rows:
            return slice(None)
        return torch.randperm(count, generator=self._generator)[: self.max_rows].to(device)

    def get_extra_state(self) -> Tensor:
        """Where the draws stand."""
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on where `state` was saved."""
        self._generator.set_state(state.cpu())

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """The state of a model that had no such loss yet leaves the draws where they stand."""
        state_dict.setdefault(prefix + "_extra_state", self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *arguments)


@dataclass(frozen=True)
class UnitRows:
    """Drawn rows, centred and at unit length."""

    unit: Tensor
    """u `[b, d]` with its gradient; zeros where a row is not valid."""
    valid: Tensor
    """bool `[b]`: which rows are neither zero nor equal to the mean."""
    total: Tensor
    """int64 `[]`: how many rows that are not zero there were to draw from."""


def unit_rows(rows: Tensor, drawn: Tensor | slice = slice(None)) -> UnitRows:
    """The drawn rows, centred by the mean of all that are not zero.

    In fp32, or fp64 where `rows` are that, also under autocast. The mean takes one pass over all
    rows; nothing else looks at those that are not drawn.

    Args:
        rows: `[n, d]`.
        drawn: from `RowDraw`.
    """
    dtype = torch.promote_types(rows.dtype, torch.float32)
    with torch.autocast(rows.device.type, enabled=False):
        is_row = torch.linalg.vector_norm(rows.detach(), dim=1) > 0
        total = is_row.sum()
        mean = rows.sum(0, dtype=dtype) / total.clamp(min=1)
        difference = rows[drawn].to(dtype) - mean
        length = torch.linalg.vector_norm(difference.detach(), dim=1)
        # Differences as short as the rounding of the mean have no direction of their own.
        floor = 4 * torch.finfo(dtype).eps * torch.linalg.vector_norm(mean.detach())
        valid = is_row[drawn] & (length > floor)
        # Before the length is taken, since its gradient at 0 is NaN.
        difference = torch.where(valid[:, None], difference, 1)
        unit = difference / torch.linalg.vector_norm(difference, dim=1, keepdim=True)
        return UnitRows(unit * valid[:, None], valid, total)


def gram_difference(rows: UnitRows, target: Tensor) -> Tensor:
    """Mean of (u_i . u_j - t_i . t_j)^2 over ordered pairs i != j; 0 without a pair.

    Args:
        rows: u `[b, d]`.
        target: t `[b, e]`, in the same order; a row of zeros is left out.
    """
    target = target.to(rows.unit)
    valid = rows.valid & (target != 0).any(1)
    unit, target = rows.unit * valid[:, None], target * valid[:, None]
    with torch.autocast(unit.device.type, enabled=False):
        if unit.shape[0] <= unit.shape[1] + target.shape[1]:
            difference = unit @ unit.T - target @ target.T
            total = difference.square().sum() - difference.diagonal().square().sum()
        else:
            total = (
                (unit.T @ unit).square().sum()
                - 2 * (unit.T @ target).square().sum()
                + (target.T @ target).square().sum()
                - (unit.square().sum(1) - target.square().sum(1)).square().sum()
            )
        return total / number_of_pairs(valid)


def number_of_pairs(valid: Tensor) -> Tensor:
    """Ordered pairs of different valid rows; 1 where there is none, so that it can divide."""
    count = valid.sum()
    return (count * (count - 1)).clamp(min=1)


def label_means(hidden: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mean hidden state of each label, with gradients.

    Args:
        hidden: `[m, d]`, a DTensor as well.
        labels: int64 `[m]`, negative where a row is left out; None: row i has label i.

    Returns:
        Means `[k, d]` in fp32, or fp64 where `hidden` is that, and their labels int64 `[k]`,
        increasing.

    Raises:
        ValueError: if the shapes do not fit.
    """
    hidden = whole_rows(hidden, "hidden")
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    if labels is None:
        return hidden.to(dtype), torch.arange(hidden.shape[0], device=hidden.device)
    if labels.shape != hidden.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels must be integers [{hidden.shape[0]}], one a row of hidden; got {labels.dtype} "
            f"{list(labels.shape)}."
        )
    labelled = labels >= 0
    found, place, count = torch.unique(labels[labelled], return_inverse=True, return_counts=True)
    sums = hidden.new_zeros(len(found), hidden.shape[1], dtype=dtype)
    sums = sums.index_add(0, place, hidden[labelled].to(dtype))
    return sums / count[:, None], found
