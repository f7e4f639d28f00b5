"""Concepts without attributes: the leading singular directions of the rows, and their orthants.

A direction parts the rows in two by the sign that they have along it; k directions part them in up
to 2^k orthants. The directions come from the second moment of the centred rows, so the cost is
linear in the rows; of each row only its k coordinates are kept.

Legend: n rows x_i of width d; mu their mean; X the rows x_i - mu; X = U S V^T, with the leading
right singular vectors v_j, singular values s_j and u_ij = v_j . (x_i - mu) / s_j.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import (
    SHORTEST,
    centred_blocks,
    check_rows,
)
from lightning_semgeom.geometry.covariance import Scatter, scatter_of
from lightning_semgeom.geometry.directions import checked_names
from lightning_semgeom.geometry.labelled import check_table
from lightning_semgeom.kinds import checked_kinds

if TYPE_CHECKING:
    from lightning_semgeom.attributes.table import AttributeTable


@dataclass(frozen=True)
class Orthant:
    """The rows that lie on the same side of every direction."""

    signs: tuple[int, ...]
    """1 or -1 for each direction, 0 for one that the rows do not have."""
    size: int
    """The number of its rows."""
    top: tuple[str, ...]
    """Names of the rows farthest along its diagonal, the farthest first."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far clusters of rows tell an attribute: 0 for chance, 1 for the same partition."""

    directions: Tensor
    """fp64 `[k]`: of the two sides of each direction; NaN where it is not defined."""
    orthants: float
    """Of all orthants."""


@dataclass(frozen=True, eq=False)
class Concepts:
    """The leading directions of centred rows, and the clusters of their signs.

    Example:
        >>> found = concepts(torch.tensor([[3.0, 1], [2, -1], [-3, 1], [-2, -1]]), k=1)
        >>> found.of_row.tolist(), [round(share, 2) for share in found.explained.tolist()]
        ([1, 1, 0, 0], [0.87])
    """

    directions: Tensor
    """fp64 `[k, d]`: v_j, of unit length; NaN beyond the rank of the rows."""
    singular_values: Tensor
    """fp64 `[k]`: s_j, falling; 0 beyond the rank."""
    explained: Tensor
    """fp64 `[k]`: the share of the rows' variance along each direction."""
    orthants: tuple[Orthant, ...]
    """Those with rows, the largest first."""
    of_row: Tensor
    """int64 `[n]`: the place of each row's orthant in `orthants`, -1 for a row left out."""
    agreement: dict[str, Agreement]
    """By attribute; empty without a table."""


@checked_kinds
def concepts(
    rows: Tensor,
    k: int,
    table: AttributeTable | None = None,
    names: Sequence[str] | None = None,
    top: int = 8,
) -> Concepts:
    """The leading singular directions of the centred rows, and the clusters of their signs.

    After Zhao & Thrampoulidis, "Geometry of semantics in next-token prediction" (arXiv 2505.08348):
    the singular vectors of a language model's embeddings carry concepts in the signs of their
    entries, and combined signs make finer categories (orthant-based clustering). Only the paper's
    abstract was at hand, so these details are ours:

    - two rows are in the same orthant if u_ij has the same sign for each of the k directions; 0
      counts as positive;
    - `top` of an orthant are its rows with the largest sum over j of |u_ij|: those farthest along
      its diagonal;
    - v_j has the sign with which the row of the largest |u_ij|, the first of equals, is on its
      positive side. Directions with nearly the same singular value may turn among themselves, from
      one checkpoint to the next, and their orthants with them.

    `agreement` is the adjusted mutual information (Vinh, Epps & Bailey, 2010; scikit-learn's) of
    the sides of each direction, and of the orthants, with each attribute, over the rows that the
    attribute labels: 0 is chance, and 1 the same partition, so that clusters finer than an
    attribute stay below 1. It is NaN where these rows have fewer than two values, or no side.

    Rows that are zero or not finite are left out. A row that is not to be told from mu has no sign.

    Args:
        rows: `[n, d]`, any floating point dtype. With a table, row i is row i of the table; rows
            past its end are padding and left out.
        k: how many directions, from 1 to min(d, n - 1).
        table: attributes to compare with.
        names: the rows' names, as the texts of tokens, one for each row (of the table, where one is
            given); None: their numbers.
        top: how many rows to name for each orthant.

    Returns:
        `Concepts`, with tensors on the rows' device (on the CPU where that has no fp64).

    Raises:
        ValueError: if `rows` is not a floating point matrix, `k` is out of range, the table has
            more rows, `names` has not one entry for each row, or `top` is negative.
        ModuleNotFoundError: if a table is given and scikit-learn is not installed.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[3.0, 1.0], [2.0, -1.0], [-3.0, 1.0], [-2.5, -1.0]])
        >>> found = concepts(rows, 1, names=["owl", "finch", "trout", "shark"])
        >>> [(orthant.signs, orthant.top) for orthant in found.orthants]
        [((-1,), ('trout', 'shark')), ((1,), ('owl', 'finch'))]
    """
    check_rows(rows)
    n, of_what = rows.shape[0], "row"
    if table is not None:
        check_table(rows, table)
        _scikit_learn_score()  # where it is missing, say so before the work
        n, of_what = len(table), "row of the table"
    names = checked_names(names, n, of_what)
    most = min(rows.shape[1], n - 1)
    if not 1 <= k <= most:
        raise ValueError(
            f"k must lie in 1..{most}, the number of directions that {n} centred rows of width "
            f"{rows.shape[1]} can have; got {k}."
        )
    if top < 0:
        raise ValueError(f"top must be the number of rows to name, 0 or more; got {top}.")
    padding, rows = rows.shape[0] - n, rows.detach()[:n]
    scatter = scatter_of(rows)
    vectors, values, explained = _leading(scatter, k)
    entries, placed = _entries(rows, scatter.mean, vectors, values)
    turns = _turns(entries)
    vectors, entries = vectors * turns[:, None], entries * turns
    sides = torch.where(entries < 0, -1, 1) * (values > 0)
    orthants, of_row = _orthants(entries, sides, placed, names, top)
    agreement = {} if table is None else _agreement(table, sides.cpu(), of_row.cpu())
    of_row = torch.nn.functional.pad(of_row, (0, padding), value=-1)
    return Concepts(vectors, values, explained, orthants, of_row, agreement)


def _leading(scatter: Scatter, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Directions `[k, d]`, singular values `[k]` and shares of the variance `[k]`, all fp64."""
    squares, vectors = (of[:k] for of in scatter.eigenvectors())
    vectors = torch.where((squares > 0)[:, None], vectors, torch.nan)
    return vectors, squares.sqrt(), squares / scatter.second.trace()


def _entries(rows: Tensor, mean: Tensor, vectors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """U fp64 `[n, k]`, 0 for directions beyond the rank; which rows have signs, bool `[n]`."""
    scaled = torch.where(values[:, None] > 0, vectors / values[:, None], 0.0)
    entries = mean.new_empty(rows.shape[0], len(values))
    placed = torch.empty(rows.shape[0], dtype=torch.bool, device=mean.device)
    shortest = SHORTEST * torch.linalg.vector_norm(mean)
    for part, centred, valid in centred_blocks(rows, mean):
        entries[part] = centred @ scaled.T
        placed[part] = valid & (torch.linalg.vector_norm(centred, dim=1) > shortest)
    return entries, placed


def _turns(entries: Tensor) -> Tensor:
    """For each direction 1 or -1: the sign of its largest entry, which no turn of space changes."""
    sizes = entries.abs()
    # The first of equals, of which rounding would make now one the largest and now another.
    first = (sizes >= (1 - 1e-6) * sizes.amax(0)).to(torch.uint8).argmax(0, keepdim=True)
    return torch.where(entries.gather(0, first)[0] < 0, -1.0, 1.0).to(entries)


def _orthants(
    entries: Tensor, sides: Tensor, placed: Tensor, names: Sequence[str], top: int
) -> tuple[tuple[Orthant, ...], Tensor]:
    """The orthants of the rows `placed`, the largest first, and the place of each row's."""
    of_row = torch.full_like(placed, -1, dtype=torch.int64)
    if not placed.any():
        return (), of_row
    found, clusters = torch.unique(sides[placed], dim=0, return_inverse=True)
    by_size = clusters.bincount().argsort(descending=True, stable=True)
    of_row[placed] = by_size.argsort()[clusters]
    # Orthant by orthant, and in each the farthest first.
    order = entries.abs().sum(1).argsort(descending=True, stable=True)
    order = order[of_row[order].argsort(stable=True)]
    sizes = clusters.bincount()[by_size].tolist()
    members = torch.split(order[len(order) - sum(sizes) :], sizes)
    orthants = [
        Orthant(tuple(signs), len(own), tuple(names[i] for i in own[:top].tolist()))
        for signs, own in zip(found[by_size].tolist(), members, strict=True)
    ]
    return tuple(orthants), of_row


def _scikit_learn_score() -> Callable[..., float]:
    try:
        from sklearn.metrics import adjusted_mutual_info_score
    except ModuleNotFoundError as fault:
        raise ModuleNotFoundError(
            "concepts compares with a table's attributes by scikit-learn, which is not installed: "
            "pip install 'lightning-semgeom[concepts]', or give no table."
        ) from fault
    score: Callable[..., float] = adjusted_mutual_info_score
    return score


def _agreement(table: AttributeTable, sides: Tensor, of_row: Tensor) -> dict[str, Agreement]:
    score, found = _scikit_learn_score(), {}
    for name, codes in zip(table.names, table.codes.cpu().T, strict=True):
        used = (of_row >= 0) & (codes >= 0)
        clusters = [*sides[used].T, of_row[used] + 1]
        with warnings.catch_warnings():
            # Many values of few rows look to scikit-learn like a measured quantity.
            warnings.filterwarnings("ignore", message="The number of unique classes")
            *scores, joint = (_score(score, codes[used], of) for of in clusters)
        found[name] = Agreement(torch.tensor(scores, dtype=torch.float64), joint)
    return found


def _score(score: Callable[..., float], codes: Tensor, clusters: Tensor) -> float:
    """NaN without two values, or where all of `clusters` is 0: without a side."""
    if len(torch.unique(codes)) < 2 or not clusters.any():
        return torch.nan
    return float(score(codes.numpy(), clusters.numpy()))
