"""Rows and codes in, the figures of one site out: for a live run and for a checkpoint alike.

`measure` is the whole way. Where several processes hold the rows, each takes the same way with its
own part, and what they add up in between is `mean_sums` and `site_sums`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan

import numpy as np
import torch
from torch import Tensor

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.faults import UndefinedError
from lightning_semgeom.geometry.gram import cell_gram, picture_cells
from lightning_semgeom.geometry.partial import JointValues, joint_values, partial_gap_from_sums
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.similarity import similarity_from_sums
from lightning_semgeom.geometry.spectrum import spectrum_from_sums
from lightning_semgeom.geometry.sums import MeanSums, RowSums, mean_sums, row_sums
from lightning_semgeom.record.keys import SIMILARITIES, SPECTRUM
from lightning_semgeom.record.picture import SitePicture, labels_of
from lightning_semgeom.record.record import mean_of_known


@dataclass(frozen=True)
class SitePlan:
    """What can be prepared for the rows of a site: once where they are always the same ones."""

    table: AttributeTable
    """The attributes."""
    codes: CodePlan
    """How rows add up to attribute values and, as two attributes more, to picture cells and joint
    values."""
    cells: Tensor
    """int64 `[m, A]`: the codes of the picture's cells."""
    joint: JointValues | None
    """What the partial gap compares; None: there are too many joint values."""

    def split(self, values: Tensor) -> list[Tensor]:
        """Tell apart what sums have of attribute values, of picture cells and of joint values."""
        sizes = [sum(self.table.num_values), len(self.cells)]
        return list(torch.split(values, [*sizes, len(values) - sum(sizes)]))


def plan_site(table: AttributeTable, row_ids: Tensor, gram_size: int) -> SitePlan:
    """Prepare for the table's rows `row_ids`, int64 `[n]`."""
    codes = table.codes.to(row_ids.device)[row_ids]
    cells = picture_cells(codes, gram_size)
    columns, num_values = [codes, cells.of_row[:, None]], [*table.num_values, len(cells.codes)]
    joint = joint_values(codes)
    if joint is not None:
        columns.append(joint.of_row[:, None])
        num_values.append(len(joint.codes))
    return SitePlan(table, CodePlan(torch.cat(columns, dim=1), num_values), cells.codes, joint)


def site_sums(rows: Tensor, plan: SitePlan, mean: Tensor, part: slice | None = None) -> RowSums:
    """The sums of `rows` `[n, d]`, centred with `mean`; they add up over processes.

    Args:
        rows: in the order of `plan`, or those of its rows that `part` says.
        plan: from `plan_site`.
        mean: fp64 `[d]`, of the whole site.
        part: where the rows stand in the site.
    """
    return row_sums(rows, plan.codes if part is None else plan.codes.part(part), mean)


@dataclass(frozen=True)
class Measurement:
    """The figures of one site, and what a picture of it needs."""

    values: dict[str, float]
    """By the keys of `metric_keys`; NaN where not defined."""
    flaw: UndefinedError | None
    """Why figures are NaN that every sound site has; None: they are there."""
    plan: SitePlan
    """What the rows are."""
    sums: RowSums
    """Those of the whole site."""
    within: Tensor
    """fp64 `[V]`: mean cosine within each value, attribute after attribute."""

    def picture(self) -> SitePicture:
        """The Gram of the picture's cells, and how alike the rows of each value are."""
        table = self.plan.table
        value_rows, cell_rows, _ = self.plan.split(self.sums.value_counts)
        gram = cell_gram(cell_rows, self.plan.split(self.sums.value_sums)[1])
        values = [
            (name, value)
            for name, found in zip(table.names, table.values, strict=True)
            for value in found
        ]
        return SitePicture(
            gram=gram.float().cpu().numpy(),
            rows=cell_rows.long().cpu().numpy(),
            labels=labels_of(self.plan.cells.tolist(), table.values),
            attributes=np.array(table.names, dtype=np.str_),
            values=np.array(values, dtype=np.str_).reshape(-1, 2),
            value_rows=value_rows.long().cpu().numpy(),
            value_within=self.within.cpu().numpy(),
        )


def measured(sums: RowSums, plan: SitePlan, mean: MeanSums) -> Measurement:
    """All figures from the sums of a whole site; those over attributes without a name are means."""
    names, num_values = plan.table.names, plan.table.num_values
    value_counts, _, joint_counts = plan.split(sums.value_counts)
    value_sums, _, joint_sums = plan.split(sums.value_sums)
    of_values = replace(sums, value_counts=value_counts, value_sums=value_sums)
    figures = similarity_from_sums(of_values, num_values)
    figures["partial_gap"] = torch.full_like(figures["gap"], torch.nan)
    if plan.joint is not None:
        figures["partial_gap"] = partial_gap_from_sums(joint_counts, joint_sums, plan.joint)
    within = figures["within_value"]
    values: dict[str, float] = {}
    for metric in SIMILARITIES:
        column = figures[metric].tolist()
        values[metric] = mean_of_known(column)
        values |= {f"{metric}/{a}": v for a, v in zip(names, column, strict=True)}
    if sums.second is not None:
        figures = spectrum_from_sums(sums.count, sums.second[0], centered=True)
        values |= {metric: figures[metric].item() for metric in SPECTRUM}
    values |= {"rows": sums.count.item(), "skipped": sums.skipped.item()}
    flaw = _flaw(values, mean.not_finite.item(), names)
    return Measurement(values, flaw, plan, sums, within)


def _flaw(
    values: dict[str, float], not_finite: float, names: tuple[str, ...]
) -> UndefinedError | None:
    rows = values["rows"] + values["skipped"]
    if not_finite:
        return UndefinedError(
            "not finite", f"{not_finite:.0f} of {rows:.0f} rows are NaN or infinite."
        )
    if rows < 2:
        return UndefinedError(
            "too few", f"{rows:.0f} labelled rows were found, and a pair needs two."
        )
    if values["rows"] < 2:
        return UndefinedError(
            "no direction", f"all {rows:.0f} rows are zero or equal to each other."
        )
    lacking = [
        f"{pair} of attribute '{name}'"
        for metric, pair in (("within", "the same value"), ("between", "different values"))
        for name in names
        if isnan(values[f"{metric}/{name}"])
    ]
    if lacking:
        return UndefinedError("no pair", f"no two of {rows:.0f} rows have {'; '.join(lacking)}.")
    return None


def measure(rows: Tensor, plan: SitePlan) -> Measurement:
    """All figures of `rows` `[n, d]`, centred with their own mean, in the order of `plan`."""
    mean = mean_sums(rows)
    return measured(site_sums(rows, plan, mean.mean), plan, mean)
