"""Rows and codes in, the figures of one site out: for a live run and for a checkpoint alike.

`measure` is the whole way. Where several processes hold the rows, each takes the same way with its
own part, and what they add up in between is the mean's sums and the rows'.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.geometry.careful import mean_sums, row_sums
from lightning_semgeom.geometry.quick import quick_mean, quick_sums
from lightning_semgeom.geometry.sums import MeanSums, RowSums
from lightning_semgeom.measure.figures import Measurement, figures_of
from lightning_semgeom.measure.plan import SitePlan


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
    quick = Measurement(plan, site_figures(rows, plan, careful=False).cpu().numpy())
    if quick.is_sound:
        return quick
    return Measurement(plan, site_figures(rows, plan, careful=True).cpu().numpy())


def site_figures(rows: Tensor, plan: SitePlan, careful: bool) -> Tensor:
    """All figures of `rows` `[n, d]` on their device; see `figures_of`."""
    mean = site_mean(rows, careful)
    return figures_of(site_sums(rows, plan, mean.mean, careful), plan, mean.not_finite)


def offset_figures(offsets: Tensor, plan: SitePlan, careful: bool, eigenvalues: bool) -> Tensor:
    """As `site_figures`, of differences `[n, d]` from the mean; see `figures_of`."""
    sums = site_sums(offsets, plan, None, careful)
    not_finite = mean_sums(offsets).not_finite if careful else torch.zeros_like(sums.count)
    return figures_of(sums, plan, not_finite, eigenvalues)
