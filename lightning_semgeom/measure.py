"""Rows and codes in, the figures of one site out: for a live run and for a checkpoint alike.

`measure` is the whole way. Where several processes hold the rows, each takes the same way with its
own part, and what they add up in between is `mean_sums` and `site_sums`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import isnan

import numpy as np
import torch
from torch import Tensor

from lightning_semgeom.attributes import AttributeTable
from lightning_semgeom.faults import UndefinedError
from lightning_semgeom.geometry.gram import cosine_gram, gram_rows
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.similarity import similarity_from_sums
from lightning_semgeom.geometry.spectrum import spectrum_from_sums
from lightning_semgeom.geometry.sums import MeanSums, RowSums, mean_sums, row_sums

SIMILARITIES = ("gap", "z", "within", "between", "strength")
SPECTRUM = ("asymmetry", "participation_ratio", "effective_rank")
COUNTS = ("rows", "skipped")


def metric_keys(names: tuple[str, ...]) -> list[str]:
    """The keys that `measure` answers with for attributes `names`, whatever it finds."""
    similarities = [
        key for metric in SIMILARITIES for key in (metric, *(f"{metric}/{name}" for name in names))
    ]
    return [*similarities, *SPECTRUM, *COUNTS]


@dataclass(frozen=True)
class SitePlan:
    """What can be prepared for the rows of a site: once where they are always the same ones."""

    codes: CodePlan
    """How rows add up to attribute values."""
    gram: Tensor
    """int64 `[m]`: the rows of a Gram picture, in attribute order."""
    bands: tuple[tuple[str, int], ...]
    """The first attribute's values along the picture's rows: name and number of rows."""


def plan_site(table: AttributeTable, row_ids: Tensor, gram_size: int) -> SitePlan:
    """Prepare for the table's rows `row_ids`, int64 `[n]`; ids past its end are not labelled."""
    codes = torch.full(
        (row_ids.shape[0], len(table.names)), -1, dtype=torch.int64, device=row_ids.device
    )
    known = row_ids < len(table)
    codes[known] = table.codes.to(row_ids.device)[row_ids[known]]
    gram = gram_rows(codes, gram_size)
    counts = Counter(codes[gram, 0].tolist())
    bands = tuple((table.values[0][code], rows) for code, rows in counts.items())
    return SitePlan(CodePlan(codes, table.num_values), gram, bands)


@dataclass(frozen=True)
class SiteSums:
    """What the figures and the picture of a site need; adds up over processes."""

    rows: RowSums
    """The sums of the site's unit vectors."""
    pictured: Tensor
    """fp64 `[m, d]`: the rows of the Gram picture."""

    def packed(self) -> Tensor:
        """All of it as one fp64 vector of `packed_size` entries."""
        return torch.cat([self.rows.packed(), self.pictured.flatten()])

    @staticmethod
    def packed_size(plan: SitePlan, width: int) -> int:
        """How many entries `packed` has."""
        return RowSums.packed_size(plan.codes, width) + plan.gram.shape[0] * width

    @classmethod
    def unpacked(cls, packed: Tensor, plan: SitePlan, width: int) -> SiteSums:
        """What `packed` holds, of rows of width `width` that `plan` belongs to."""
        end = RowSums.packed_size(plan.codes, width)
        return cls(RowSums.unpacked(packed[:end], plan.codes, width), packed[end:].view(-1, width))


def site_sums(rows: Tensor, plan: SitePlan, mean: Tensor, part: slice | None = None) -> SiteSums:
    """The sums of `rows` `[n, d]`, centred with `mean`.

    Args:
        rows: in the order of `plan`, or those of its rows that `part` says.
        plan: from `plan_site`.
        mean: fp64 `[d]`, of the whole site.
        part: where the rows stand in the site.
    """
    codes = plan.codes if part is None else plan.codes.part(part)
    sums = row_sums(rows, codes, mean)
    first, last = (0, rows.shape[0]) if part is None else (part.start, part.stop)
    here = (plan.gram >= first) & (plan.gram < last)
    pictured = sums.value_sums.new_zeros(plan.gram.shape[0], rows.shape[1])
    pictured[here] = rows[plan.gram[here] - first].to(pictured)
    return SiteSums(sums, pictured)


@dataclass(frozen=True)
class Measurement:
    """The figures of one site, and what a picture of it needs."""

    values: dict[str, float]
    """By the keys of `metric_keys`; NaN where not defined."""
    bands: tuple[tuple[str, int], ...]
    """What the rows of the picture are: names and numbers of rows."""
    pictured: Tensor
    """fp64 `[m, d]`: the rows of the picture."""
    mean: Tensor
    """fp64 `[d]`: the mean that the rows were centred with."""
    flaw: UndefinedError | None
    """Why figures are NaN that every sound site has; None: they are there."""

    def gram(self) -> np.ndarray:
        """Cosines of the pictured rows, fp32 `[m, m]`."""
        picture: np.ndarray = cosine_gram(self.pictured, self.mean).float().cpu().numpy()
        return picture


def measured(sums: SiteSums, plan: SitePlan, mean: MeanSums, names: tuple[str, ...]) -> Measurement:
    """All figures from the sums of a whole site; those over attributes without a name are means."""
    figures = similarity_from_sums(sums.rows, plan.codes.num_values)
    values: dict[str, float] = {}
    for metric in SIMILARITIES:
        column = figures[metric]
        values[metric] = column.nanmean().item()
        values |= {f"{metric}/{a}": v for a, v in zip(names, column.tolist(), strict=True)}
    if sums.rows.second is not None:
        figures = spectrum_from_sums(sums.rows.count, sums.rows.second[0], centered=True)
        values |= {metric: figures[metric].item() for metric in SPECTRUM}
    values |= {"rows": sums.rows.count.item(), "skipped": sums.rows.skipped.item()}
    return Measurement(
        values, plan.bands, sums.pictured, mean.mean, _flaw(values, mean.not_finite.item(), names)
    )


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


def measure(rows: Tensor, plan: SitePlan, names: tuple[str, ...]) -> Measurement:
    """All figures of `rows` `[n, d]`, centred with their own mean, in the order of `plan`."""
    mean = mean_sums(rows)
    return measured(site_sums(rows, plan, mean.mean), plan, mean, names)
