"""Norms of second moments and their forms, in Triton: on CUDA, as `kernels`.

Legend: as in `quadratic`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

_SIDE = 64


def norms_and_forms_of(
    second: Tensor, vectors: Tensor, index: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """As `norms_and_forms`, in one pass over what is on and above the diagonal."""
    (count, width, _), sides = second.shape, triton.cdiv(second.shape[1], _SIDE)
    found = second.new_zeros(count + len(vectors), sides * sides)
    _norms_and_forms[sides, sides, count](
        second,
        vectors,
        _told(index, second.device),
        found,
        count,
        len(vectors),
        width,
        SIDE=_SIDE,
    )
    norms, forms = torch.split(found.sum(1), [count, len(vectors)])
    return norms, forms


@lru_cache(maxsize=32)  # so that the host waits for the copy once
def _told(index: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(index, device=device, dtype=torch.int32)


@triton.jit(do_not_specialize=["count", "vectors_count"])
def _norms_and_forms(
    second, vectors, index, found, count, vectors_count, width, SIDE: tl.constexpr
):
    """Each program has a tile of one C; those beside the diagonal stand for two."""
    top, left, entry = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    if top <= left:
        tiles = tl.num_programs(0) * tl.num_programs(1)
        place = top * tl.num_programs(1) + left
        own, other = top * SIDE + tl.arange(0, SIDE), left * SIDE + tl.arange(0, SIDE)
        inside = (own < width)[:, None] & (other < width)[None, :]
        at = own.to(tl.int64)[:, None] * width + other[None, :]
        tile = second + tl.cast(entry, tl.int64) * width * width
        c = tl.load(tile + at, mask=inside, other=0.0)
        times = tl.where(top == left, 1.0, 2.0).to(tl.float64)
        norm = tl.sum(tl.sum(c * c, axis=1), axis=0)
        tl.store(found + entry * tiles + place, norm * times)
        for vector in range(vectors_count):
            if tl.load(index + vector) == entry:
                s = vectors + tl.cast(vector, tl.int64) * width
                s_own = tl.load(s + own, mask=own < width, other=0.0)
                s_other = tl.load(s + other, mask=other < width, other=0.0)
                form = tl.sum(tl.sum(c * s_other[None, :], axis=1) * s_own, axis=0)
                tl.store(found + (count + vector) * tiles + place, form * times)
