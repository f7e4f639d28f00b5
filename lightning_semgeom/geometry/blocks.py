"""Rows in blocks: each small enough to stay in the cache while it is worked on.

Legend: n rows x_i of width d; mu their mean; u_i = (x_i - mu) / ||x_i - mu||.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK_BYTES = {"cpu": 3 << 20}  # a block and what is made of it fit into the cache of one core
_BLOCK_BYTES_ACCELERATOR = 64 << 20
NEAR = 1 << 14  # times the rounding of the mean: what is shorter has lost digits to it
SHORTEST = 1e-12  # of the mean's length: what a difference taken in fp64 can be told from


def block_dtype(rows: Tensor, centered: bool = True) -> torch.dtype:
    """The dtype in which a block of `rows` is worked on: fp64 for fp64, fp32 for all narrower.

    Rows that are not centred may differ by little beside their length; what tells them apart would
    drown in fp32, so they are worked on in fp64 where the device has it.
    """
    wide = rows.dtype == torch.float64 or (not centered and sums_device(rows) == rows.device)
    return torch.float64 if wide else torch.float32


def sums_device(rows: Tensor) -> torch.device:
    """The device of the fp64 sums: that of `rows`, or the CPU where that device has no fp64."""
    return torch.device("cpu") if rows.device.type == "mps" else rows.device


def sums_zeros(rows: Tensor, *size: int) -> Tensor:
    """Room for sums of `rows` `[n, d]`, fp64 `[*size, d]` on their device."""
    return torch.zeros(*size, rows.shape[1], dtype=torch.float64, device=rows.device)


def block_slices(rows: Tensor) -> Iterator[slice]:
    """Slices that cut `rows` `[n, d]` into blocks of a size that suits its device."""
    row_bytes = rows.shape[1] * (8 if rows.dtype == torch.float64 else 4)
    block_bytes = _BLOCK_BYTES.get(rows.device.type, _BLOCK_BYTES_ACCELERATOR)
    step = max(64, block_bytes // max(row_bytes, 1))
    for start in range(0, rows.shape[0], step):
        yield slice(start, min(start + step, rows.shape[0]))


def check_rows(rows: Tensor, width: int | None = None, name: str = "rows") -> None:
    """Raise a ValueError unless `rows` is a floating point matrix `[n, width]`.

    Args:
        rows: what was given.
        width: d; None: any.
        name: of the argument.
    """
    fits = rows.ndim == 2 and rows.shape[1] > 0 and width in (None, rows.shape[1])
    if not fits or not rows.is_floating_point():
        raise ValueError(
            f"{name} must be a floating point tensor [n, {width or 'd'}]; got {rows.dtype} "
            f"{list(rows.shape)}. Flatten batch and time first: hidden.flatten(0, -2)."
        )


def block_buffer(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Room for one block: pages that are touched once a call, not once a block."""
    first = next(block_slices(rows), slice(0, 0))
    return torch.empty(first.stop, rows.shape[1], dtype=dtype, device=rows.device)


def add_rows(target: Tensor, index: Tensor, rows: Tensor) -> None:
    """Add each of `rows` `[b, ...]` to the row of `target` that `index` `[b]` says, in order."""
    if target.is_cuda:  # `index_add_` takes them in another order each time there
        target.index_put_((index,), rows, accumulate=True)
    else:
        target.index_add_(0, index, rows)


def finite_rows(block: Tensor) -> Tensor:
    """Which rows have finite entries alone, bool `[b]`."""
    return torch.isfinite(block).all(1)


def valid_rows(block: Tensor) -> Tensor:
    """Which rows are finite and not zero, bool `[b]`."""
    return finite_rows(block) & (block != 0).any(1)


def has_zero_row(block: Tensor) -> bool:
    """Whether some row is zero, found without a look at every entry."""
    suspects = block[:, 0] == 0
    return bool(suspects.any()) and bool((block[suspects] == 0).all(1).any())


def first_valid_row(rows: Tensor) -> Tensor:
    """The first row that is finite and not zero, `[d]`; zeros where there is none."""
    for start in range(0, rows.shape[0], 64):
        block = rows[start : start + 64]
        valid = valid_rows(block)
        if valid.any():
            first: Tensor = block[valid.to(torch.uint8).argmax()]
            return first
    return rows.new_zeros(rows.shape[1])


def shortest_difference(mean: Tensor) -> float:
    """The length up to which a difference from `mean` is the rounding of `mean` in its dtype."""
    return 4 * torch.finfo(mean.dtype).eps * float(torch.linalg.vector_norm(mean))


def centred_blocks(rows: Tensor, mean: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Cut `rows` into blocks of differences from the mean, as long as they are.

    Args:
        rows: `[n, d]`.
        mean: fp64 `[d]`, on the device of the sums.

    Yields:
        The rows' slice, x - mu as fp64 `[b, d]` on the mean's device, zero for rows that are zero
        or not finite, and which rows are neither, bool `[b]`.
    """
    rows = rows.detach()
    for part in block_slices(rows):
        valid = valid_rows(rows[part]).to(mean.device)
        centred = rows[part].to(mean) - mean
        yield part, centred.masked_fill_(~valid[:, None], 0), valid


def _recompute_near(
    block: Tensor, mean: Tensor, unit: Tensor, length: Tensor, limit: float
) -> None:
    """Take rows that are near a long mean again, in fp64: rounding the mean would turn them.

    Changes `unit` and `length` of rows that are not longer than `limit`.
    """
    near = (length <= limit).nonzero()[:, 0]
    exact = block[near].to(mean) - mean
    lengths = torch.linalg.vector_norm(exact, dim=1)
    unit[near] = (exact / lengths[:, None]).to(unit)
    length[near] = lengths.to(length)


def unit_blocks(rows: Tensor, mean: Tensor | None) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
    """Cut `rows` into blocks that are centred and scaled to unit length.

    One buffer serves all blocks: a block is overwritten when the next one is taken. A row that is
    zero, not finite or not to be told from the mean comes out as zeros.

    Args:
        rows: `[n, d]`.
        mean: fp64 `[d]`, or None to leave the rows uncentred.

    Yields:
        The rows' slice, their unit vectors u `[b, d]`, and which of them are valid, bool `[b]`;
        None: all of them.
    """
    rows = rows.detach()
    dtype = block_dtype(rows, centered=mean is not None)
    buffer = block_buffer(rows, dtype)
    centre = None if mean is None else mean.to(device=rows.device, dtype=dtype)
    rounding = 0.0 if centre is None else shortest_difference(centre)
    for part in block_slices(rows):
        block = rows[part]
        unit = buffer[: block.shape[0]]
        if centre is None:
            unit.copy_(block)
        else:
            torch.sub(block, centre, out=unit)
        length = torch.linalg.vector_norm(unit, dim=1)
        unit.div_(length[:, None])
        shortest, longest = torch.aminmax(length)  # NaN where any length is
        floor = rounding
        if mean is not None and not shortest > NEAR * rounding:
            _recompute_near(block, mean, unit, length, NEAR * rounding)
            floor = min(rounding, SHORTEST * float(torch.linalg.vector_norm(mean)))
            shortest, longest = torch.aminmax(length)
        suspicious = centre is not None and has_zero_row(block)
        if shortest > floor and longest < torch.inf and not suspicious:
            yield part, unit, None
            continue
        valid = torch.isfinite(length) & (length > floor) & valid_rows(block)
        yield part, unit.masked_fill_(~valid[:, None], 0), valid
