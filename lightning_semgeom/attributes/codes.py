"""What the codes of an attribute have to be."""

from __future__ import annotations

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
