"""The figures of sites: a vector of each on the device, and all of them in one copy to the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan

import numpy as np
import torch
from torch import Tensor

from lightning_semgeom.faults import UndefinedError
from lightning_semgeom.geometry.gram import cell_gram
from lightning_semgeom.geometry.partial import partial_gap_from_sums
from lightning_semgeom.geometry.similarity import similarity_from_sums
from lightning_semgeom.geometry.spectrum import spectrum_from_sums
from lightning_semgeom.geometry.sums import RowSums
from lightning_semgeom.measure.plan import SitePlan
from lightning_semgeom.record.keys import COUNTS, SIMILARITIES, SPECTRUM
from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.record.record import mean_of_known

_NARROW = 128  # its eigenvalues take less than 1 ms


@dataclass(frozen=True)
class Measurement:
    """The figures of one site, and what a picture of it needs."""

    plan: SitePlan
    """What the rows are."""
    figures: np.ndarray
    """What `figures_of` has found, fp64 on the host."""

    @cached_property
    def values(self) -> dict[str, float]:
        """By the keys of `metric_keys`; NaN where not defined. Without a name they are means."""
        names, found = self.plan.table.names, self._parts["similarities"]
        values: dict[str, float] = {}
        for metric, column in zip(
            SIMILARITIES, found.reshape(-1, len(names)).tolist(), strict=True
        ):
            values[metric] = mean_of_known(column)
            values |= {f"{metric}/{a}": v for a, v in zip(names, column, strict=True)}
        values |= dict(zip(SPECTRUM, self._parts["spectrum"].tolist(), strict=True))
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
        table, cells = self.plan.table, len(self.plan.cells)
        values = [
            (name, value)
            for name, found in zip(table.names, table.values, strict=True)
            for value in found
        ]
        return SitePicture(
            gram=self._parts["gram"].reshape(cells, cells).astype(np.float32),
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
    values, cells = sum(plan.table.num_values), len(plan.cells)
    return {
        "similarities": len(SIMILARITIES) * len(plan.table.names),
        "spectrum": len(SPECTRUM),
        "counts": len(COUNTS) + 2,  # and the rows that are not finite, and not sound
        "within": values,
        "value_rows": values,
        "cell_rows": cells,
        "gram": cells * cells,
    }


def figures_of(
    sums: RowSums, plan: SitePlan, not_finite: Tensor, eigenvalues: bool = True
) -> Tensor:
    """All figures from the sums of a whole site, as one fp64 vector for `Measurement`.

    Args:
        sums: of all rows of the site.
        plan: what the rows are.
        not_finite: fp64 `[]`: how many rows are not finite.
        eigenvalues: whether to take those of a wide site too, for which a step would wait.
    """
    assert sums.second is not None  # for the type checker: a site's sums have second moments
    value_counts, cell_counts, joint_counts = plan.split(sums.value_counts)
    value_sums, cell_sums, joint_sums = plan.split(sums.value_sums)
    of_values = replace(sums, value_counts=value_counts, value_sums=value_sums)
    found = similarity_from_sums(of_values, plan.table.num_values)
    if plan.joint is None:
        found["partial_gap"] = torch.full_like(found["gap"], torch.nan)
    else:
        found["partial_gap"] = partial_gap_from_sums(joint_counts, joint_sums, plan.joint)
    second = sums.second[0]
    eigenvalues = eigenvalues or len(second) <= _NARROW
    shape = spectrum_from_sums(sums.count, second, True, eigenvalues)
    parts = [
        *(found[metric] for metric in SIMILARITIES),
        torch.stack([shape[metric] for metric in SPECTRUM]),
        torch.stack([sums.count, sums.skipped, not_finite, sums.unsound]),
        found["within_value"],
        value_counts,
        cell_counts,
        cell_gram(cell_counts, cell_sums).flatten(),
    ]
    return torch.cat(parts)


def measurements(
    figures: Mapping[str, Tensor | Exception], plans: Mapping[str, SitePlan]
) -> dict[str, Measurement | Exception]:
    """What `figures_of` has found for each site, copied to the host all at once."""
    found = {site: one for site, one in figures.items() if isinstance(one, Tensor)}
    if not found:
        return {site: one for site, one in figures.items() if isinstance(one, Exception)}
    together = torch.cat([*found.values()]).cpu().numpy()
    ends = np.cumsum([len(one) for one in found.values()])
    parts = dict(zip(found, np.split(together, ends[:-1]), strict=True))
    return {
        site: Measurement(plans[site], parts[site]) if isinstance(one, Tensor) else one
        for site, one in figures.items()
    }
