"""What the figures of a site need of its sums: few numbers, found where the rows lie.

The figures are functions of these, taken on the host for all sites of a record at once: a GPU would
be handed hundreds of operators on a few numbers for each site.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_semgeom.geometry.quadratic import norms_and_forms
from lightning_semgeom.geometry.spectrum import entropy_of
from lightning_semgeom.geometry.sums import RowSums
from lightning_semgeom.measure.plan import SitePlan
from lightning_semgeom.record.keys import EIGENSPECTRUM

_NARROW = 128  # its eigenvalues take less than 1 ms


def are_due(eigenvalues: bool, width: int) -> bool:
    """Whether a site of this width has its eigenvalues taken; `eigenvalues`: wide ones too."""
    return eigenvalues or width <= _NARROW


def reduced(
    sums: RowSums,
    plan: SitePlan,
    not_finite: Tensor,
    eigenvalues: bool = True,
    more: Sequence[Tensor] = (),
) -> Tensor:
    """What the figures need, as one fp64 vector on the device of the sums.

    Args:
        sums: of all rows of the site.
        plan: what the rows are.
        not_finite: fp64 `[]`: how many rows are not finite.
        eigenvalues: whether to take those of a wide site too, for which a step would wait.
        more: fp64 `[]`, `EIGENSPECTRUM` where it is asked for.
    """
    assert sums.second is not None  # for the type checker: a site's sums have second moments
    attributes, width = len(plan.table.names), sums.second.shape[1]
    _, cell_sums, _ = plan.split(sums.value_sums)
    grouped = plan.groups.sums(sums.value_sums)
    nan = torch.full_like(sums.count, torch.nan)
    entropy = entropy_of(sums.count, sums.second[0]) if are_due(eigenvalues, width) else nan
    counts = (sums.count, sums.skipped, not_finite, sums.unsound)
    parts = [
        torch.stack([*counts, torch.full_like(sums.count, width), entropy, *(more or (nan, nan))]),
        sums.value_counts,
        torch.linalg.vector_norm(sums.value_sums, dim=1),
        torch.linalg.vector_norm(grouped, dim=1),
        *norms_and_forms(sums.second, grouped[:attributes], sums.second_index[:attributes]),
        (cell_sums @ cell_sums.T).flatten(),
    ]
    return torch.cat(parts)


def apart(reduced: Tensor, plan: SitePlan) -> tuple[Tensor, Tensor]:
    """What is `reduced`, apart: numbers that figures are functions of, and the picture's products.

    The latter are fp64 `[m, m]`, of the sums of its cells.
    """
    cells = len(plan.cells)
    numbers, products = torch.split(reduced, [len(reduced) - cells**2, cells**2])
    return numbers, products.view(cells, cells)


def parts_of(numbers: Tensor, plan: SitePlan) -> dict[str, Tensor]:
    """What each of the numbers is; axes after the first are of several sites."""
    attributes, values = len(plan.table.names), plan.codes.offsets[-1]
    sizes = {
        "counts": 4,
        "width": 1,
        "entropy": 1,
        "eigenspectrum": len(EIGENSPECTRUM),
        "value_counts": values,
        "value_lengths": values,
        "lengths": attributes,
        "strata_lengths": sum(map(len, plan.strata or ())),
        "second": 1 + max(plan.second_index, default=0),
        "along": attributes,
    }
    return dict(zip(sizes, torch.split(numbers, [*sizes.values()]), strict=True))
