"""What the figures need of second moments: their norms, and how much of them lies along a vector.

Legend: matrices C_e `[E, d, d]`, fp64 and symmetric; vectors s_a `[A, d]`, each with one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_semgeom.geometry.fused import fused_norms_and_forms, has_kernels


def norms_and_forms(second: Tensor, vectors: Tensor, index: Sequence[int]) -> tuple[Tensor, Tensor]:
    """||C_e||_F^2 of each matrix, fp64 `[E]`, and s_a . C s_a of each vector, fp64 `[A]`.

    Args:
        second: fp64 `[E, d, d]`, symmetric.
        vectors: fp64 `[A, d]`.
        index: of each vector, which matrix is its C.
    """
    if has_kernels(second.device):
        return fused_norms_and_forms(second, vectors, tuple(index))
    return torch.linalg.matrix_norm(second).square(), _forms(second, vectors, index)


def _forms(second: Tensor, vectors: Tensor, index: Sequence[int]) -> Tensor:
    found: dict[int, Tensor] = {}
    for entry in set(index):
        own = [a for a, of in enumerate(index) if of == entry]
        chosen = torch.stack([vectors[a] for a in own])
        found |= zip(own, (chosen @ second[entry] * chosen).sum(1), strict=True)
    return torch.stack([found[a] for a in range(len(index))])
