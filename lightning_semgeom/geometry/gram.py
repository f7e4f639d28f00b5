"""The picture of a site: cosines of some rows, in the order of an attribute.

Legend: n rows of width d; m rows chosen for the picture; codes a(i), -1: not labelled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows, unit_blocks


def gram_rows(codes: Tensor, size: int) -> Tensor:
    """Choose at most `size` rows for a Gram picture, in the order of the first attribute.

    Each value gets an equal share of the picture; where it has fewer rows, the others get what it
    leaves. Rows of one value are taken evenly from their whole range and ordered by the other
    attributes, so that finer structure shows inside a block.

    Args:
        codes: int64 `[n, A]`, A >= 1.
        size: the largest number of rows.

    Returns:
        int64 `[m]`: indices into the rows.
    """
    values = codes[:, 0].clamp(min=-1)
    found = sorted(set(values[values >= 0].tolist()))
    members = [_in_order(codes, (values == value).nonzero()[:, 0]) for value in found]
    chosen: dict[int, Tensor] = {}
    left = size
    by_size = sorted(range(len(members)), key=lambda k: members[k].shape[0])
    for served, k in enumerate(by_size):
        share = min(members[k].shape[0], left // (len(members) - served))
        chosen[k] = _evenly(members[k], share)
        left -= share
    if not chosen:
        return values.new_zeros(0)
    return torch.cat([chosen[k] for k in range(len(members))])


def _in_order(codes: Tensor, rows: Tensor) -> Tensor:
    for a in range(codes.shape[1] - 1, 0, -1):
        rows = rows[codes[rows, a].argsort(stable=True)]
    return rows


def _evenly(rows: Tensor, share: int) -> Tensor:
    steps = torch.arange(share, device=rows.device)
    return rows[steps * rows.shape[0] // max(share, 1)]


def cosine_gram(rows: Tensor, mean: Tensor | None = None) -> Tensor:
    """Cosines between all pairs of `rows`.

    Args:
        rows: `[m, d]`: few rows, since the answer has m^2 entries.
        mean: fp64 `[d]` to centre with: that of the whole site, of which these rows are a part.

    Returns:
        fp32 (fp64 for fp64 rows) `[m, m]`; NaN in the row and column of a row that is zero or not
        finite.
    """
    check_rows(rows)
    parts = []
    for _, unit, valid in unit_blocks(rows, mean):
        kept = unit.clone()  # the next block takes the place of this one
        parts.append(kept if valid is None else kept.masked_fill_(~valid[:, None], torch.nan))
    if not parts:
        return rows.new_zeros(0, 0)
    unit = torch.cat(parts)
    return unit @ unit.T
