"""Models without steps, each looked at on its own: one final model, or several to compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.hidden import HiddenAsked
from lightning_semgeom.checkpoints.reading import Faults, Measured, Measuring, left_notes
from lightning_semgeom.checkpoints.tensors import NoStepError
from lightning_semgeom.faults import attempted
from lightning_semgeom.measure.figures import Measurement
from lightning_semgeom.record.places import without_common_start
from lightning_semgeom.record.snapshot import SiteFound, SiteRows, Snapshot


@dataclass(frozen=True)
class Look:
    """What one model gave."""

    name: str
    """As much of its path as tells it from the others."""
    snapshots: Mapping[str, Snapshot]
    """By the name of the table that it was measured with."""


def are_without_steps(checkpoints: Sequence[Checkpoint]) -> bool:
    """Whether no checkpoint tells a step, and one can be read."""
    is_one_readable = False
    for checkpoint in checkpoints:
        step = attempted(checkpoint.step)
        if isinstance(step, int):  # the others need not be opened for this
            return False
        is_one_readable |= isinstance(step, NoStepError)
    return is_one_readable


def look_at(
    checkpoints: Sequence[Checkpoint],
    tables: Mapping[str, AttributeTable],
    tensor: str | None,
    asked: HiddenAsked | None = None,
    tell: Callable[[str], object] | None = None,
) -> tuple[list[Look], list[str]]:
    """Measure each model with several tables of one length, and say what was wrong with others.

    Args:
        checkpoints: of models that do not belong together.
        tables: by the name that is the root of all keys.
        tensor: name of the weight; None: the head, or the input embedding that it is tied to.
        asked: which hidden states, beside the weight; their rows are not kept.
        tell: gets what these cost, in words, before the work begins, and at its end what may be
            wrong.

    Raises:
        ValueError: if none can be measured.
    """
    measuring, faults, found = Measuring(tables, tensor, asked), Faults(), []
    left: dict[str, None] = {}
    if tell is not None and measuring.hidden is not None:
        tell(measuring.hidden.told(len(checkpoints)))
    for name, checkpoint in zip(
        _names(checkpoints), tqdm(checkpoints, unit="model", disable=None), strict=True
    ):
        read = attempted(measuring.measured, checkpoint)
        if isinstance(read, Exception):
            faults.add(checkpoint, read)
            continue
        snapshots = {
            root: Snapshot(root, tables[root].names, _found(read, sites))
            for root, sites in read.figures.items()
        }
        found.append(Look(name, snapshots))
        faults.add_flaws(checkpoint, read.flaws)
        left |= dict.fromkeys(read.left)
    if not found:
        raise ValueError(f"no checkpoint could be measured: {faults.short()}")
    if tell is not None:
        for note in (*faults.notes, *left_notes(left)):
            tell(note)
    return found, faults.lines


def _found(read: Measured, sites: Mapping[str, Measurement]) -> dict[str, SiteFound]:
    """The sites of a snapshot, of which the weight alone has its rows."""
    rows = read.rows
    of_weight = SiteRows.of(rows, torch.arange(len(rows)))
    none = SiteRows.of(rows[:0], torch.arange(0))
    return {
        site: SiteFound(one.values, one.picture(), none if number else of_weight)
        for number, (site, one) in enumerate(sites.items())
    }


def _names(checkpoints: Sequence[Checkpoint]) -> list[str]:
    parts = [checkpoint.path.resolve().parts for checkpoint in checkpoints]
    return ["/".join(path) for path in without_common_start(parts)]
