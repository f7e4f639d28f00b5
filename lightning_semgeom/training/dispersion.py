"""GramDispersion: push rows apart, towards the symmetric state of neural collapse.

Legend: n rows of width d; u their centred unit vectors; C = sum of u u^T; S = sum of u.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.training.pairs import (
    RowDraw,
    label_means,
    number_of_pairs,
    unit_rows,
    whole_rows,
)


class GramDispersion(nn.Module):
    r"""Mean squared difference between the rows' centred cosines and those of a simplex ETF.

    The mean of (u_i . u_j + 1/(n-1))^2 over pairs of different rows. It is 0 for a simplex ETF,
    where all classes are equally far apart (Papyan, Han & Donoho, "Prevalence of neural collapse",
    2020); where n - 1 rows are more than d dimensions, as in every real vocabulary, its least value
    belongs to a unit tight frame. The opposite of the other two losses, for those who want
    collapse. It acts on the unembedding, on hidden states (then on the mean of each label in the
    batch), or on both, whose losses are added.

    Of more than `max_rows` rows so many are drawn, without bias and with the variance that
    `GramAnchor` tells.

    Args:
        num_rows: rows of the unembedding that count, from the first on; None: all of them.
        max_rows: most rows compared at a time.
        seed: of the draws.

    Raises:
        ValueError: if an argument is less than 2.

    Example:
        >>> import torch
        >>> disperse = GramDispersion()
        >>> f"{disperse(torch.eye(4)).item():.3f}"
        '0.000'
        >>> disperse(torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])).item() > 0.8
        True
    """

    @checked_kinds
    def __init__(self, num_rows: int | None = None, max_rows: int = 4096, seed: int = 0) -> None:
        super().__init__()
        if num_rows is not None and num_rows < 2:
            raise ValueError(f"num_rows must be 2 or more, or None for all; got {num_rows}.")
        self.num_rows = num_rows
        self._draw = RowDraw(max_rows, seed)

    def forward(
        self,
        unembedding: Tensor | None = None,
        hidden: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """The loss of the sites that are given.

        Args:
            unembedding: `[n, d]`, a DTensor as well.
            hidden: `[m, d']`.
            labels: int64 `[m]`: what each of them is of, negative: left out; None: row i is of i.

        Returns:
            The loss `[]`, in fp32, or fp64 where the rows are that.

        Raises:
            ValueError: if nothing is given, or the shapes do not fit.
        """
        losses = []
        if unembedding is not None:
            losses.append(self._loss(whole_rows(unembedding, "unembedding")[: self.num_rows]))
        if hidden is not None:
            means, _ = label_means(hidden, labels)
            losses.append(self._loss(means))
        if not losses:
            raise ValueError("GramDispersion needs rows: give unembedding, hidden or both.")
        return torch.stack(losses).sum()

    def _loss(self, rows: Tensor) -> Tensor:
        drawn = unit_rows(rows, self._draw(len(rows), rows.device))
        unit, count = drawn.unit, drawn.valid.sum()
        shift = 1 / (drawn.total - 1).clamp(min=1).to(unit)
        with torch.autocast(unit.device.type, enabled=False):
            squares = (unit.T @ unit).square().sum() - count
            cosines = unit.sum(0).square().sum() - count
            pairs = count * (count - 1)
            total = squares + 2 * shift * cosines + pairs * shift.square()
            return total / number_of_pairs(drawn.valid)
