"""Means of classes and what tells them apart, in Triton: on CUDA, as `kernels`.

Legend: K classes; class k has n_k rows of width d with mean mu_k.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.blocks import SHORTEST
from lightning_semgeom.geometry.kernels import columns_of

_ROWS, _COLUMNS = 8, 128  # a tile of one warp, so that rows are added up within a thread


def offsets_of(rows: Tensor, members: Bags) -> Tensor:
    """As `class_offsets`, fp32 `[K, d]`, of rows in fp32 or narrower."""
    count, width = len(members), rows.shape[1]
    found = torch.empty(count, width, dtype=torch.float32, device=rows.device)
    if not count:
        return found
    blocks = triton.cdiv(width, _COLUMNS)
    means = torch.empty(count, width, dtype=torch.float64, device=rows.device)
    states = torch.empty(count, blocks, dtype=torch.float64, device=rows.device)
    _class_means[count, blocks](
        rows,
        members.order,
        members.starts,
        means,
        states,
        rows.stride(0),
        width,
        ROWS=_ROWS,
        COLUMNS=_COLUMNS,
        num_warps=1,
    )
    state = states.amax(1)
    valid = state.nan_to_num(0)
    total, there = torch.mv(means.T, valid), valid.sum()
    _told_offsets[(count,)](
        means, state, total, there, found, width, SHORTEST=SHORTEST, COLUMNS=columns_of(width)
    )
    return found


@triton.jit
def _class_means(
    rows, order, starts, means, states, stride, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """mu_k, 0 where it is not finite, and its state: 0 if it is zero, 1, or NaN if not finite."""
    of, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    column = block * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < width
    first, last = tl.load(starts + of), tl.load(starts + of + 1)
    total = tl.zeros([COLUMNS], tl.float64)
    for start in range(first, last, ROWS):
        place = start + tl.arange(0, ROWS)
        row = tl.load(order + place, mask=place < last, other=0)
        there = (place < last)[:, None] & inside[None, :]
        x = tl.load(rows + row[:, None] * stride + column[None, :], mask=there, other=0.0)
        total += tl.sum(x.to(tl.float64), axis=0)
    mean = total / tl.maximum(last - first, 1).to(tl.float64)
    is_finite = tl.abs(mean) < float("inf")
    worst = tl.max(tl.where(is_finite, tl.where(mean == 0, 0, 1), 2), axis=0)
    state = tl.where(worst == 2, float("nan"), worst.to(tl.float64))
    tl.store(states + of * tl.num_programs(1) + block, state)
    tl.store(means + of * width + column, tl.where(is_finite, mean, 0.0), mask=inside)


@triton.jit
def _told_offsets(
    means, states, total, there, offsets, width, SHORTEST: tl.constexpr, COLUMNS: tl.constexpr
):
    """What tells mu_k from the mean of all: 0 where nothing does, NaN where mu_k is not finite."""
    of = tl.program_id(0).to(tl.int64)
    state, count = tl.load(states + of), tl.maximum(tl.load(there), 1.0)
    squares, of_centre = tl.zeros([COLUMNS], tl.float64), tl.zeros([COLUMNS], tl.float64)
    for start in range(0, width, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = column < width
        centre = tl.load(total + column, mask=inside, other=0.0) / count
        offset = tl.load(means + of * width + column, mask=inside, other=0.0) - centre
        squares += offset * offset
        of_centre += centre * centre
    is_told = tl.sum(squares, axis=0) > tl.sum(of_centre, axis=0) * (SHORTEST * SHORTEST)
    for start in range(0, width, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = column < width
        centre = tl.load(total + column, mask=inside, other=0.0) / count
        offset = tl.load(means + of * width + column, mask=inside, other=0.0) - centre
        found = tl.where((state == 1) & is_told, offset, state * 0)
        tl.store(offsets + of * width + column, found.to(tl.float32), mask=inside)
