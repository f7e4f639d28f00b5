"""Records as a few tensors and strings, as a checkpoint keeps them.

Legend: n records, k keys. Keys whose value is often another one than in the record before have a
column; of the others the changes alone are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

import torch
from torch import Tensor

from lightning_semgeom.record.lines import grouped, long_pictures, short_pictures, ungrouped
from lightning_semgeom.record.record import Record


def packed_records(records: Sequence[Record], keys: Sequence[str]) -> dict[str, Any]:
    """`records`, with the keys that any of them has."""
    rows = [[record.values.get(key, nan) for key in keys] for record in records]
    values = torch.tensor(rows, dtype=torch.float64).view(len(records), len(keys))
    changed = _changes(values)
    dense = 3 * changed.sum(0) > len(records)  # a change takes its place besides its value
    where = (changed & ~dense).nonzero()
    return {
        "groups": grouped(keys),
        "steps": torch.tensor([record.step for record in records], dtype=torch.int64),
        "columns": dense.nonzero()[:, 0].int(),
        "values": values[:, dense],
        "changes": where.int(),
        "changed": values[where[:, 0], where[:, 1]],
        "pictures": [short_pictures(record) for record in records],
    }


def _changes(values: Tensor) -> Tensor:
    """Where values `[n, k]` are not, to the bit, those of the row before; NaN before the first."""
    before = torch.cat([values.new_full((1, values.shape[1]), nan), values])[:-1]
    same = values.view(torch.int64) == before.view(torch.int64)
    return ~(same | (values.isnan() & before.isnan()))


def unpacked_records(state: dict[str, Any]) -> tuple[list[Record], list[str]]:
    """The records that `state` holds, and their keys; also of version 0.1, which packed nothing."""
    keys = list(state["keys"]) if "keys" in state else ungrouped(state["groups"])
    values = state["values"]
    if "changes" in state:
        values = _unpacked(state, len(keys))
    rows = zip(state["steps"].tolist(), values.tolist(), state["pictures"], strict=True)
    records = [
        Record(step, dict(zip(keys, row, strict=True)), long_pictures(pictures, step))
        for step, row, pictures in rows
    ]
    return records, keys


def _unpacked(state: dict[str, Any], keys: int) -> Tensor:
    n = len(state["steps"])
    columns, (at, key) = state["columns"].long(), state["changes"].long().T
    values = torch.full((n, keys), nan, dtype=torch.float64)
    # For each row that of the last change, or one more row of NaN where there was none.
    last = torch.zeros(n, keys, dtype=torch.int64)
    last[at, key] = at + 1
    known = torch.cat([values.new_full((1, keys), nan), values])
    known[at + 1, key] = state["changed"]
    values = known.gather(0, last.cummax(0).values) if n else values
    values[:, columns] = state["values"]
    return values
