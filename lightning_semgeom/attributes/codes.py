"""Values as codes, what codes have to be, and how to tell them from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

import torch
from torch import Tensor


def coded(
    columns: Mapping[str, Sequence[str | None]],
) -> tuple[Tensor, tuple[tuple[str, ...], ...]]:
    """Codes int64 `[N, A]` of columns of one length, and the values in order of appearance."""
    values = []
    rows = max(map(len, columns.values()), default=0)
    codes = torch.full((rows, len(columns)), -1, dtype=torch.int64)
    for a, column in enumerate(columns.values()):
        found: dict[str, int] = {}
        column_codes = [
            -1 if value is None else found.setdefault(value, len(found)) for value in column
        ]
        codes[:, a] = torch.tensor(column_codes, dtype=torch.int64)
        values.append(tuple(found))
    return codes, tuple(values)


def check_parts(codes: Tensor, names: Sequence[str], values: Sequence[tuple[str, ...]]) -> None:
    """Check codes `[N, A]`, names and values of a table against each other.

    Raises:
        ValueError: if they do not fit, or as `check_column` says.
    """
    columns = len(names)
    if codes.ndim != 2 or codes.dtype != torch.int64 or codes.shape[1] != columns:
        raise ValueError(
            f"codes must be int64 [rows, {columns}], one column for each of the {columns} "
            f"names; got {codes.dtype} {list(codes.shape)}."
        )
    if columns == 0:
        raise ValueError("an AttributeTable needs at least one attribute; names is empty.")
    if len(set(names)) < columns or not all(names):
        raise ValueError(f"names must be different and not empty; got {list(names)}.")
    if len(values) != columns:
        raise ValueError(f"values must have {columns} entries, as names; got {len(values)}.")
    for a, (name, own) in enumerate(zip(names, values, strict=True)):
        check_column(name, codes[:, a], own)


def check_column(name: str, codes: Tensor, values: tuple[str, ...]) -> None:
    """Check the codes int64 `[N]` of one attribute against its values.

    Raises:
        ValueError: if it has fewer than two values, labels no row, or a code is none of a value.
    """
    if len(set(values)) < len(values):
        raise ValueError(f"attribute '{name}' has a value twice: {list(values)}.")
    if codes.numel() == 0 or int(codes.max()) < 0:
        raise ValueError(
            f"attribute '{name}' labels no row at all; label some rows, or leave it out."
        )
    if len(values) < 2:
        raise ValueError(
            f"attribute '{name}' has a single value, {list(values)}: nothing can be compared. Give "
            "it a second value, or leave it out."
        )
    low, high = int(codes.min()), int(codes.max())
    if low < -1 or high >= len(values):
        raise ValueError(
            f"the codes of attribute '{name}' must lie in -1..{len(values) - 1}, as it has "
            f"{len(values)} values; found {low}..{high}."
        )


def fingerprints(
    names: Sequence[str], codes: Tensor, values: Sequence[Sequence[str]]
) -> dict[str, int]:
    """Of each attribute a number that tells its rows and values from others."""
    return {name: fingerprint(*of) for name, *of in zip(names, codes.T, values, strict=True)}


def fingerprint(codes: Tensor, values: Sequence[str]) -> int:
    """A number that tells an attribute, by its rows and values, from others of the same name.

    Args:
        codes: int64 `[N]`, -1 where a row is not labelled.
        values: what each code stands for.
    """
    return crc32("\n".join(values).encode(), crc32(codes.contiguous().cpu().numpy().tobytes()))
