"""Rows and codes in, the figures of one site out: for a live run and for a checkpoint alike.

`measure` is the whole way. Where several processes hold the rows, each takes the same way with its
own part, and what they add up in between is the mean's sums and the rows'.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_semgeom.geometry.careful import mean_sums, row_sums
from lightning_semgeom.geometry.quick import quick_mean, quick_sums
from lightning_semgeom.geometry.sums import MeanSums, RowSums
from lightning_semgeom.measure.figures import Measurement, measurement
from lightning_semgeom.measure.plan import SitePlan
from lightning_semgeom.measure.reduced import reduced


def site_mean(rows: Tensor, careful: bool) -> MeanSums:
    """What the mean of `rows` `[n, d]` needs; it adds up over processes."""
    return mean_sums(rows) if careful else quick_mean(rows)


def site_sums(
    rows: Tensor, plan: SitePlan, mean: Tensor | None, careful: bool, part: slice | None = None
) -> RowSums:
    """The sums of `rows` `[n, d]`, centred with `mean`; they add up over processes.

    Args:
        rows: in the order of `plan`, or those of its rows that `part` says.
        plan: from `plan_site`.
        mean: fp64 `[d]`, of the whole site; None: the rows are differences from it.
        careful: whether to look at each row; else `unsound` tells whether that is needed.
        part: where the rows stand in the site.
    """
    codes = plan.codes if part is None else plan.codes.part(part)
    return (row_sums if careful else quick_sums)(rows, codes, mean)


def measure(rows: Tensor, plan: SitePlan) -> Measurement:
    """All figures of `rows` `[n, d]`, centred with their own mean, in the order of `plan`."""
    quick = _measured(rows, plan, careful=False)
    return quick if quick.is_sound else _measured(rows, plan, careful=True)


def _measured(rows: Tensor, plan: SitePlan, careful: bool) -> Measurement:
    mean = site_mean(rows, careful)
    found = reduced(site_sums(rows, plan, mean.mean, careful), plan, mean.not_finite)
    return measurement(found, plan)


def reduced_offsets(
    offsets: Tensor,
    plan: SitePlan,
    careful: bool,
    eigenvalues: bool,
    more: Sequence[Tensor] = (),
) -> Tensor:
    """As `reduced`, of differences `[n, d]` from the mean."""
    sums = site_sums(offsets, plan, None, careful)
    not_finite = mean_sums(offsets).not_finite if careful else torch.zeros_like(sums.count)
    return reduced(sums, plan, not_finite, eigenvalues, more)
