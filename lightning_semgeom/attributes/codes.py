"""What the codes of an attribute have to be, and how to tell them from others."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from torch import Tensor


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


def fingerprint(codes: Tensor, values: Sequence[str]) -> int:
    """A number that tells an attribute, by its rows and values, from others of the same name.

    Args:
        codes: int64 `[N]`, -1 where a row is not labelled.
        values: what each code stands for.
    """
    return crc32("\n".join(values).encode(), crc32(codes.contiguous().cpu().numpy().tobytes()))
