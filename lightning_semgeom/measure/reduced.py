"""What the figures of a site need of its sums: few numbers, found where the rows lie.

The figures are functions of these, taken on the host for all sites of a record at once: a GPU would
be handed hundreds of operators on a few numbers for each site.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.geometry.gram import cell_gram
from lightning_semgeom.geometry.similarity import squared_lengths, squares_with
from lightning_semgeom.geometry.spectrum import entropy_of, rank_of
from lightning_semgeom.geometry.sums import RowSums
from lightning_semgeom.measure.plan import SitePlan

_NARROW = 128  # its eigenvalues take less than 1 ms


def reduced(sums: RowSums, plan: SitePlan, not_finite: Tensor, eigenvalues: bool = True) -> Tensor:
    """What the figures need, as one fp64 vector on the device of the sums.

    Args:
        sums: of all rows of the site.
        plan: what the rows are.
        not_finite: fp64 `[]`: how many rows are not finite.
        eigenvalues: whether to take those of a wide site too, for which a step would wait.
    """
    assert sums.second is not None  # for the type checker: a site's sums have second moments
    value_counts, cell_counts, joint_counts = plan.split(sums.value_counts)
    value_squares, _, joint_squares = plan.split(squared_lengths(sums.value_sums))
    _, cell_sums, _ = plan.split(sums.value_sums)
    attributes, grouped = len(plan.table.names), plan.groups.sums(sums.value_sums)
    squares = squares_with(sums, value_counts, value_squares, grouped[:attributes])
    entropy = torch.full_like(sums.count, torch.nan)
    if eigenvalues or sums.second.shape[1] <= _NARROW:
        entropy = entropy_of(sums.count, sums.second[0])
    rank = rank_of(sums.count, sums.second.shape[1], centered=True)
    parts = [
        torch.stack([sums.count, sums.skipped, not_finite, sums.unsound]),
        torch.stack([rank, squares.whole, entropy]),
        squares.counts,
        squares.of_values,
        squares.of_all,
        squares.second,
        squares.along,
        joint_counts,
        joint_squares,
        squared_lengths(grouped[attributes:]),
        cell_counts,
        cell_gram(cell_counts, cell_sums).flatten(),
    ]
    return torch.cat(parts)


def parts_of(found: Tensor, plan: SitePlan) -> dict[str, Tensor]:
    """What `reduced` has put together, told apart; axes after the first are of several sites."""
    attributes, cells = len(plan.table.names), len(plan.cells)
    values, strata = sum(plan.table.num_values), plan.strata or ()
    joint = plan.codes.offsets[-1] - values - cells
    sizes = {
        "counts": 4,
        "spectrum": 3,
        "value_counts": values,
        "value_squares": values,
        "squares": attributes,
        "second": attributes,
        "along": attributes,
        "joint_counts": joint,
        "joint_squares": joint,
        "strata": sum(map(len, strata)),
        "cell_counts": cells,
        "gram": cells * cells,
    }
    return dict(zip(sizes, torch.split(found, [*sizes.values()]), strict=True))
