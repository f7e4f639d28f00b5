"""Rows in which the ordinary inner product is the causal one of Park, Choe & Veitch.

Legend: n rows x_i of width d; mu their mean; Sigma = mean of (x - mu)(x - mu)^T, with eigenvalues
lambda_k and eigenvectors e_k.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import block_dtype, centred_blocks, check_rows
from lightning_semgeom.geometry.covariance import scatter_of
from lightning_semgeom.kinds import checked_kinds


@checked_kinds
def whitened(rows: Tensor, ridge: float = 0.0) -> Tensor:
    """Rows that no invertible linear map of the space tells apart: the causal inner product.

    Logits do not change if the unembedding is multiplied by a matrix and the features by its
    inverse, but cosines of the unembedding's rows do. Park, Choe & Veitch, "The linear
    representation hypothesis and the geometry of large language models" (arXiv 2311.03658), choose
    the inner product <x, y> = x^T Sigma^-1 y (their equation 3.3, D = I), Sigma the covariance of
    all rows, under which concepts that may vary freely of each other are orthogonal. In

        g_i = Sigma^(-1/2) (x_i - mu)

    it is the ordinary one (centred as in their "The geometry of categorical and hierarchical
    concepts in large language models", arXiv 2406.01506), so all that takes rows takes it, too:
    `attribute_similarity` and `directions` with `whiten=True`, or on these rows.

    - `ridge` adds that share of the mean eigenvalue to each: lambda_k + ridge tr(Sigma) / d. With 0
      it is their inner product, which weighs noise in small directions as much as all else; with
      more, the result depends on the space again, and with much it is the ordinary inner product.
    - Directions in which the rows do not differ by more than rounding are dropped, as by a
      pseudo-inverse: the covariance of the result is the identity where the rows have any spread,
      and 0 elsewhere.
    - With n <= d + 1 rows in general position the result is a simplex, whatever they were, and a
      few times d is not yet many: give all rows of a vocabulary, not some.
    - `concepts` has nothing to find here: after whitening all directions are equally long. Its
      coordinates u_ij are those of whitened rows already.
    - A whitened direction is none of the features'. To steer, they add Sigma^-1 v (equation 4.1) of
      an ordinary one v: `torch.linalg.solve(torch.cov(rows.T), v)`.

    Rows that are zero or not finite count for nothing and become zero, as does a row that is mu.

    Args:
        rows: `[n, d]`, any floating point dtype: the unembedding.
        ridge: 0 or more.

    Returns:
        `[n, d]`, fp32, or fp64 where `rows` is, on the rows' device.

    Raises:
        ValueError: if `rows` is not a floating point matrix, or `ridge` is negative or not finite.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[8.0, 0.0], [-8.0, 0.0], [0.0, 0.5], [0.0, -0.5]])
        >>> whitened(rows).abs().amax(0)
        tensor([1.4142, 1.4142])
    """
    check_rows(rows)
    if not 0 <= ridge < math.inf:
        raise ValueError(
            f"ridge must be a share of the mean eigenvalue, 0 or more and finite; got {ridge}."
        )
    scatter = scatter_of(rows)
    values, vectors = scatter.eigenvectors()
    eigenvalues = values / scatter.count
    eigenvalues = eigenvalues + ridge * eigenvalues.mean()
    scales = torch.where(values > 0, eigenvalues.rsqrt(), 0.0)
    root = vectors.T @ (scales[:, None] * vectors)
    found = torch.empty(rows.shape, dtype=block_dtype(rows), device=rows.device)
    for part, centred, _ in centred_blocks(rows, scatter.mean):
        found[part] = centred @ root
    return found
