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

_ZERO, _VALID, _NOT_FINITE = (tl.constexpr(state) for state in range(3))  # what a mean may be


def offsets_of(rows: Tensor, members: Bags) -> Tensor:
    """As `class_offsets`, fp32 `[K, d]`, of rows in fp32 or narrower."""
    means, states = _means_of(rows, members)
    state = states.amax(1)
    valid = (state == _VALID.value).to(means)
    centre = torch.mv(means.T, valid) / valid.sum().clamp(min=1)
    shortest = SHORTEST * torch.linalg.vector_norm(centre)
    found = torch.empty_like(means, dtype=torch.float32)
    if len(means):
        width = means.shape[1]
        _told_offsets[(len(means),)](
            means, state, centre, shortest, found, width, COLUMNS=columns_of(width)
        )
    return found


def _means_of(rows: Tensor, members: Bags) -> tuple[Tensor, Tensor]:
    """mu_k, fp64 `[K, d]`, zero where it is not finite, and its state in parts, int32 `[K, .]`."""
    width = rows.shape[1]
    columns = min(columns_of(width), 512)
    means = torch.empty(len(members), width, dtype=torch.float64, device=rows.device)
    blocks = triton.cdiv(width, columns)
    states = torch.empty(len(members), blocks, dtype=torch.int32, device=rows.device)
    if len(members):
        _class_means[len(members), blocks](
            rows,
            members.order,
            members.starts,
            means,
            states,
            rows.stride(0),
            width,
            ROWS=16,
            COLUMNS=columns,
            num_warps=2,
        )
    return means, states


@triton.jit
def _class_means(
    rows, order, starts, means, states, stride, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
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
    state = tl.where(is_finite, tl.where(mean == 0, _ZERO, _VALID), _NOT_FINITE)
    tl.store(states + of * tl.num_programs(1) + block, tl.max(state, axis=0))
    tl.store(means + of * width + column, tl.where(is_finite, mean, 0.0), mask=inside)


@triton.jit
def _told_offsets(means, states, centre, shortest, offsets, width, COLUMNS: tl.constexpr):
    """What tells mu_k from the centre: 0 where nothing does, NaN where mu_k is not finite."""
    of = tl.program_id(0).to(tl.int64)
    state = tl.load(states + of)
    squares = tl.zeros([COLUMNS], tl.float64)
    for start in range(0, width, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = column < width
        mean = tl.load(means + of * width + column, mask=inside, other=0.0)
        offset = mean - tl.load(centre + column, mask=inside, other=0.0)
        squares += offset * offset
    is_told = tl.sqrt(tl.sum(squares, axis=0)) > tl.load(shortest)
    kept = (state == _VALID) & is_told
    for start in range(0, width, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = column < width
        mean = tl.load(means + of * width + column, mask=inside, other=0.0)
        offset = mean - tl.load(centre + column, mask=inside, other=0.0)
        found = tl.where(kept, offset, tl.where(state == _NOT_FINITE, float("nan"), 0.0))
        tl.store(offsets + of * width + column, found.to(tl.float32), mask=inside)
