"""How far the cosines of pairs of rows reach to the right: structure where no attribute is known.

Legend: m rows u_i, centred and at unit length; g_ij = u_i . u_j; g their mean over all pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows
from lightning_semgeom.geometry.careful import mean_sums
from lightning_semgeom.geometry.full_precision import full_precision
from lightning_semgeom.geometry.pairs import pair_tiles, unit_rows
from lightning_semgeom.kinds import checked_kinds


@checked_kinds
def cosine_third_moment(rows: Tensor, counts: Tensor | None = None, share: float = 0.7) -> Tensor:
    """The third central moment of the cosines of pairs of rows: mean of (g_ij - g)^3.

    Rows that share a meaning are few among all pairs, and much more alike than others: they are the
    right tail of the cosines. What sets all rows apart by a little, as frequency does in a language
    model, makes the cosines broad and no tail. So this figure peaks about where the mean gap of
    attributes does, without knowing one, where `asymmetry`, a second moment, peaks far earlier in
    language models. It is ours; what it was chosen from, how near it comes, and where it does not,
    are on the page "Is there a peak without attributes?".

    Rare tokens have hardly moved or all moved alike, so give `counts`: then the most frequent rows
    count that together make `share` of all counts.

    Args:
        rows: `[n, d]`, any floating point dtype; zero and not finite ones are left out.
        counts: `[n]`, how often each row's token is in the training text, 0 or more; None: all rows
            count.
        share: of the counts, above 0 and up to 1. Rows as frequent as the last one count as well.

    Returns:
        fp64 `[]`, on the device of `rows` (on the CPU where that has no fp64): about 0 for random
        directions; NaN with fewer than three rows. Time is quadratic in the rows that count, memory
        linear.

    Raises:
        ValueError: if a shape or a dtype does not fit, a count is negative or not finite, or
            `share` is out of range.

    Example:
        >>> import torch
        >>> axes = torch.eye(6)
        >>> pairs = axes[[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]]  # six meanings, two rows each
        >>> round(cosine_third_moment(axes).item(), 4), round(cosine_third_moment(pairs).item(), 4)
        (0.0, 0.1168)
    """
    check_rows(rows)
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1]; got {share}.")
    rows = rows.detach()
    if counts is not None:
        rows = rows[most_frequent(counts, len(rows), share).to(rows.device)]
    unit, valid = unit_rows(rows, mean_sums(rows).mean)
    unit = unit[valid]
    m = len(unit)
    if m < 3:
        return torch.full((), torch.nan, dtype=torch.float64, device=unit.device)
    pairs = m * (m - 1)
    mean = (unit.sum(0, dtype=torch.float64).square().sum() - m) / pairs
    total = torch.zeros_like(mean)
    for first, second in pair_tiles(unit):
        with full_precision(unit.device):
            cosines = unit[first] @ unit[second].T
        tail = cosines.sub_(mean.to(cosines)).pow_(3)
        if first == second:
            tail.fill_diagonal_(0)
        total += tail.sum(dtype=total.dtype) * (1 if first == second else 2)
    return total / pairs


def most_frequent(counts: Tensor, rows: int, share: float) -> Tensor:
    """Which rows together make `share` of the counts, bool `[n]` on the host."""
    if counts.shape != (rows,):
        raise ValueError(
            f"counts must have one number for each of the {rows} rows; got {list(counts.shape)}."
        )
    known = counts.detach().cpu().double()
    if not (known.isfinite() & (known >= 0)).all():
        raise ValueError("counts must be 0 or more, and finite: how often each row's token occurs.")
    ordered = known.sort(descending=True).values
    reached = ordered.cumsum(0) >= share * ordered.sum() * (1 - 1e-12)
    last = ordered[int(reached.to(torch.uint8).argmax())] if len(ordered) else known.new_zeros(())
    return (known >= last) & (known > 0)
