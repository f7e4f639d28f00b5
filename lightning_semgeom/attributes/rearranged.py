"""Codes out of those of other tables: the first rows, shuffled rows, several side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def first_codes(codes: Tensor, n: int) -> tuple[Tensor, dict[int, list[int]]]:
    """The first `n` rows of codes int64 `[N, A]`, numbered anew without values that are gone.

    Returns:
        Codes `[min(n, N), attributes with two values or more]`, and the old codes that are left of
        each of these attributes, by its old column.

    Raises:
        ValueError: if `n` is less than 1, or no attribute is left.
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more; got {n}.")
    cut, kept = codes[:n].clone(), {}
    for a, column in enumerate(cut.T):
        left, places = torch.unique(column[column >= 0], return_inverse=True)
        column[column >= 0] = places
        if len(left) > 1:
            kept[a] = left.tolist()
    if not kept:
        raise ValueError(
            f"no attribute has two values in the first {n} of {len(codes)} rows; the table is of "
            "other rows than these."
        )
    return cut[:, [*kept]], kept


def joined_codes(codes: Sequence[Tensor], names: Sequence[Sequence[str]]) -> Tensor:
    """Codes `[rows of the longest, all attributes]` on the CPU, of tables side by side.

    Raises:
        ValueError: if an attribute is in two of them.
    """
    every = [name for own in names for name in own]
    twice = {name for name in every if every.count(name) > 1}
    if twice:
        raise ValueError(
            f"{', '.join(map(repr, sorted(twice)))} would be there twice; select(...) the "
            "attributes of one of the tables."
        )
    joined = torch.full((max(map(len, codes)), len(every)), -1, dtype=torch.int64)
    column = 0
    for own in codes:
        joined[: len(own), column : column + own.shape[1]] = own.cpu()
        column += own.shape[1]
    return joined


def positions(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Where each name stands among those that are known.

    Raises:
        ValueError: if one is unknown.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"unknown attribute {', '.join(map(repr, unknown))}; the table has "
            f"{', '.join(map(repr, known))}."
        )
    return [known.index(name) for name in names]


def shuffled_codes(codes: Tensor, seed: int) -> Tensor:
    """Codes `[N, A]` on the CPU, each attribute's permuted among the rows that it labels."""
    generator = torch.Generator().manual_seed(seed)
    codes = codes.cpu().clone()
    for column in codes.T:
        labelled = (column >= 0).nonzero()[:, 0]
        column[labelled] = column[labelled[torch.randperm(len(labelled), generator=generator)]]
    return codes
