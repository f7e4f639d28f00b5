"""The figures of sites, from their sums as they are `reduced` on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan

import numpy as np
import torch
from torch import Tensor

from lightning_semgeom.faults import UndefinedError
from lightning_semgeom.geometry.gram import cell_gram
from lightning_semgeom.geometry.partial import partial_gap_of
from lightning_semgeom.geometry.similarity import Squares, similarity_of
from lightning_semgeom.geometry.spectrum import rank_of, spectrum_of
from lightning_semgeom.measure.plan import SitePlan
from lightning_semgeom.measure.reduced import apart, parts_of
from lightning_semgeom.record.keys import COUNTS, EIGENSPECTRUM, SIMILARITIES, SPECTRUM
from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.record.record import mean_of_known


@dataclass(frozen=True)
class Measurement:
    """The figures of one site, and what a picture of it needs."""

    plan: SitePlan
    """What the rows are."""
    figures: np.ndarray
    """All of them, fp64 on the host, as `_sizes` says."""
    products: Tensor
    """fp64 `[m, m]`, of the sums of the picture's cells."""

    @cached_property
    def values(self) -> dict[str, float]:
        """By the keys of `metric_keys`; NaN where not defined. Without a name they are means.

        `EIGENSPECTRUM` is there where it is known.
        """
        names, found = self.plan.table.names, self._parts["similarities"]
        values: dict[str, float] = {}
        for metric, column in zip(
            SIMILARITIES, found.reshape(-1, len(names)).tolist(), strict=True
        ):
            values[metric] = mean_of_known(column)
            values |= {f"{metric}/{a}": v for a, v in zip(names, column, strict=True)}
        values |= dict(zip(SPECTRUM, self._parts["spectrum"].tolist(), strict=True))
        more = zip(EIGENSPECTRUM, self._parts["eigenspectrum"].tolist(), strict=True)
        values |= {metric: value for metric, value in more if not isnan(value)}
        return values | dict(zip(COUNTS, self._parts["counts"].tolist(), strict=False))

    @property
    def is_sound(self) -> bool:
        """Whether the quick way was right; else the site is to be measured carefully."""
        return not self._parts["counts"][-1]

    @cached_property
    def flaw(self) -> UndefinedError | None:
        """Why figures are NaN that every sound site has; None: they are there."""
        values, names = self.values, self.plan.table.names
        rows, not_finite = values["rows"] + values["skipped"], self._parts["counts"][-2]
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
        if not lacking:
            return None
        return UndefinedError("no pair", f"no two of {rows:.0f} rows have {'; '.join(lacking)}.")

    def picture(self) -> SitePicture:
        """The Gram of the picture's cells, and how alike the rows of each value are."""
        table, counts = self.plan.table, torch.from_numpy(self._parts["cell_rows"])
        values = [
            (name, value)
            for name, found in zip(table.names, table.values, strict=True)
            for value in found
        ]
        return SitePicture(
            gram=cell_gram(counts, self.products).float().numpy(),
            rows=self._parts["cell_rows"].astype(np.int64),
            labels=self.plan.cell_labels,
            attributes=np.array(table.names, dtype=np.str_),
            values=np.array(values, dtype=np.str_).reshape(-1, 2),
            value_rows=self._parts["value_rows"].astype(np.int64),
            value_within=self._parts["within"],
        )

    @cached_property
    def _parts(self) -> dict[str, np.ndarray]:
        sizes = _sizes(self.plan)
        ends = np.cumsum([*sizes.values()])[:-1]
        return dict(zip(sizes, np.split(self.figures, ends), strict=True))


def _sizes(plan: SitePlan) -> dict[str, int]:
    """How many numbers each part of a site's figures has, in their order."""
    values = sum(plan.table.num_values)
    return {
        "similarities": len(SIMILARITIES) * len(plan.table.names),
        "spectrum": len(SPECTRUM),
        "eigenspectrum": len(EIGENSPECTRUM),
        "counts": len(COUNTS) + 2,  # and the rows that are not finite, and not sound
        "within": values,
        "value_rows": values,
        "cell_rows": len(plan.cells),
    }


def measurements(
    reduced: Mapping[str, Tensor | Exception], plans: Mapping[str, SitePlan]
) -> dict[str, Measurement | Exception]:
    """The figures of each site from its `reduced` sums, copied to the host all at once.

    Sites with the same plan are taken together: what is done to few numbers costs as much as what
    is done to many.
    """
    measured: dict[str, Measurement | Exception] = {}
    alike: dict[int, list[str]] = {}
    for site, one in reduced.items():
        if isinstance(one, Exception):
            measured[site] = one
        else:
            alike.setdefault(id(plans[site]), []).append(site)
    order = [site for sites in alike.values() for site in sites]
    found = [one for site in order if isinstance(one := reduced[site], Tensor)]
    together = torch.cat(found).cpu() if found else torch.empty(0)
    parts = iter(torch.split(together, [len(one) for one in found]))
    for sites in alike.values():
        own = _measured([next(parts) for _ in sites], plans[sites[0]])
        measured |= zip(sites, own, strict=True)
    return {site: measured[site] for site in reduced}


def measurement(reduced: Tensor, plan: SitePlan) -> Measurement:
    """The figures of one site from its `reduced` sums."""
    return _measured([reduced.cpu()], plan)[0]


def _measured(reduced: Sequence[Tensor], plan: SitePlan) -> list[Measurement]:
    numbers, products = zip(*(apart(one, plan) for one in reduced), strict=True)
    figures = _figures(torch.stack(numbers, dim=1), plan).T.contiguous().numpy()
    return [Measurement(plan, *one) for one in zip(figures, products, strict=True)]


def _figures(numbers: Tensor, plan: SitePlan) -> Tensor:
    """The figures of sites `[F, sites]`, as `_sizes` says, from numbers as `parts_of` says."""
    parts, attributes = parts_of(numbers, plan), len(plan.table.names)
    counts, cell_counts, joint_counts = plan.split(parts["value_counts"])
    squares, _, joint_squares = plan.split(parts["value_lengths"].square())
    second = parts["second"]
    found = similarity_of(
        Squares(
            counts,
            squares,
            parts["lengths"].square(),
            second[[*plan.second_index[:attributes]]],
            parts["along"],
            second[0],
        ),
        plan.table.num_values,
    )
    if plan.strata is None:
        found["partial_gap"] = torch.full_like(found["gap"], torch.nan)
    else:
        of_strata = parts["strata_lengths"].square()
        found["partial_gap"] = partial_gap_of(joint_counts, joint_squares, of_strata, plan.strata)
    rows = parts["counts"][0]
    rank = rank_of(rows, parts["width"][0], centered=True)
    shape = spectrum_of(rows, rank, second[0], parts["entropy"][0])
    return torch.cat(
        [
            *(found[metric] for metric in SIMILARITIES),
            torch.stack([shape[metric] for metric in SPECTRUM]),
            parts["eigenspectrum"],
            parts["counts"],
            found["within_value"],
            counts,
            cell_counts,
        ]
    )
