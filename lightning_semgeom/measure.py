"""Rows and codes in, the figures of one site out: for a live run and for a checkpoint alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_semgeom.attributes import AttributeTable
from lightning_semgeom.geometry.gram import cosine_gram, gram_rows
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.similarity import similarity_from_sums
from lightning_semgeom.geometry.spectrum import spectrum_from_sums
from lightning_semgeom.geometry.sums import mean_sums, row_sums

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


def plan_site(table: AttributeTable, row_ids: Tensor, gram_size: int) -> SitePlan:
    """Prepare for the table's rows `row_ids`, int64 `[n]`; ids past its end are not labelled."""
    codes = torch.full(
        (row_ids.shape[0], len(table.names)), -1, dtype=torch.int64, device=row_ids.device
    )
    known = row_ids < len(table)
    codes[known] = table.codes.to(row_ids.device)[row_ids[known]]
    return SitePlan(CodePlan(codes, table.num_values), gram_rows(codes, gram_size))


@dataclass(frozen=True)
class Measurement:
    """The figures of one site."""

    values: dict[str, float]
    """By the keys of `metric_keys`; NaN where not defined."""
    mean: Tensor
    """fp64 `[d]`: the mean that the rows were centred with."""


def measure(rows: Tensor, plan: SitePlan, names: tuple[str, ...]) -> Measurement:
    """All figures of `rows` `[n, d]`, centred; those over attributes without a name are means.

    Args:
        rows: in the order of `plan`.
        plan: from `plan_site`.
        names: the attributes' names.
    """
    mean = mean_sums(rows).mean
    sums = row_sums(rows, plan.codes, mean)
    figures = similarity_from_sums(sums, plan.codes.num_values)
    values: dict[str, float] = {}
    for metric in SIMILARITIES:
        column = figures[metric]
        values[metric] = column.nanmean().item()
        values |= {f"{metric}/{a}": v for a, v in zip(names, column.tolist(), strict=True)}
    if sums.second is not None:
        figures = spectrum_from_sums(sums.count, sums.second[0], centered=True)
        values |= {metric: figures[metric].item() for metric in SPECTRUM}
    values |= {"rows": sums.count.item(), "skipped": sums.skipped.item()}
    return Measurement(values, mean)


def gram_picture(rows: Tensor, plan: SitePlan, mean: Tensor) -> np.ndarray:
    """Cosines of the plan's chosen rows, fp32 `[m, m]`."""
    picture: np.ndarray = cosine_gram(rows[plan.gram], mean).float().cpu().numpy()
    return picture


def gram_bands(plan: SitePlan, values: tuple[str, ...]) -> list[tuple[str, int]]:
    """The first attribute's values along the picture's rows: name and number of rows."""
    counts = Counter(plan.codes.codes[plan.gram, 0].tolist())
    return [(values[code], rows) for code, rows in counts.items()]
