"""One checkpoint for each step of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.chosen import ChosenSteps
from lightning_semgeom.checkpoints.given import GivenSteps
from lightning_semgeom.checkpoints.reading import Faults, Measuring
from lightning_semgeom.checkpoints.tensors import CheckpointError, are_same
from lightning_semgeom.faults import attempted

_LAST_NUMBER = re.compile(r"(.*?(?<!-v))\d+")  # Lightning adds -v1 to names that are taken


def by_step(
    checkpoints: Sequence[Checkpoint],
    given: GivenSteps,
    measuring: Measuring,
    faults: Faults,
    chosen: ChosenSteps | None,
) -> dict[int, Checkpoint]:
    """One checkpoint for each step; copies of the same weights, as last.ckpt is one, count once.

    Args:
        checkpoints: of one run.
        given: the steps that a user says.
        measuring: reads what is of the same step.
        faults: gets what is wrong.
        chosen: which steps; None: all.

    Raises:
        ValueError: if two that differ have one step, or `chosen` chooses none.
    """
    found: dict[int, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        step = attempted(given.of, checkpoint)
        if isinstance(step, Exception):
            faults.add(checkpoint, step)
        else:
            found.setdefault(step, []).append(checkpoint)
    if chosen is not None:
        wanted, lacking = chosen.of(found)
        found = {step: same for step, same in found.items() if step in wanted}
        faults.lines += lacking
    each = {step: _one_of(same, step, measuring, faults) for step, same in found.items()}
    return {step: checkpoint for step, checkpoint in each.items() if checkpoint is not None}


def _one_of(
    checkpoints: Sequence[Checkpoint],
    step: int,
    measuring: Measuring,
    faults: Faults,
) -> Checkpoint | None:
    """The first that can be read, of checkpoints of one step."""
    if len(checkpoints) == 1:
        return checkpoints[0]
    found: Checkpoint | None = None
    unread = []
    for checkpoint in checkpoints:
        rows = attempted(measuring.rows_of, checkpoint)
        if isinstance(rows, Exception):
            faults.add(checkpoint, rows)
            unread.append(checkpoint)
        elif found is None:
            found, first_rows = checkpoint, rows
        elif not are_same(rows, first_rows):
            raise ValueError(
                f"'{found}' and '{checkpoint}' differ, and both are of step {step}. Give the "
                "checkpoints of one run alone, or move one of the two elsewhere."
                f"{_PARTS if _are_numbered(found.path, checkpoint.path) else ''}"
            )
    if found is not None and any(_are_numbered(found.path, other.path) for other in unread):
        faults.add(found, CheckpointError(f"it is not measured without the others.{_PARTS}"))
        return None
    return found


_PARTS = (
    " Files of one step whose names differ in the last number may be parts of one checkpoint: if "
    "they are, join them into one file first."
)


def _are_numbered(path: Path, other: Path) -> bool:
    """Whether names differ in the last number alone, as `model_00001.pt` and `model_00002.pt`."""
    if path.is_dir() or path.parent != other.parent or path.suffix != other.suffix:
        return False
    ours, theirs = (_LAST_NUMBER.fullmatch(p.stem) for p in (path, other))
    return ours is not None and theirs is not None and ours[1] == theirs[1]
