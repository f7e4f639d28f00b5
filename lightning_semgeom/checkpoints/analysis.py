"""All checkpoints of a run, measured one after the other as a live run measures its weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from lightning_semgeom.attributes.given import Attributes, table_of
from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.contents import Contents
from lightning_semgeom.checkpoints.given import GivenSteps
from lightning_semgeom.checkpoints.names import site_of
from lightning_semgeom.checkpoints.reading import Faults, measured, rows_of, site_plans
from lightning_semgeom.checkpoints.runs import find_checkpoints
from lightning_semgeom.checkpoints.stages import restarted_stages
from lightning_semgeom.checkpoints.tensors import CheckpointError, are_same
from lightning_semgeom.faults import attempted
from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.record.history import History
from lightning_semgeom.record.recorder import Recorder
from lightning_semgeom.stores import place

NAME = "semgeom"
_LAST_NUMBER = re.compile(r"(.*?(?<!-v))\d+")  # Lightning adds -v1 to names that are taken


@checked_kinds
def analyze(
    paths: str | Path | Sequence[str | Path],
    attributes: Attributes,
    tensor: str | None = None,
    folder: str | Path | None = None,
    steps: Mapping[str, int] | None = None,
) -> History:
    """Measure the checkpoints of a run that is over, as SemanticGeometry measures a live one.

    Reads Lightning checkpoints, whole or sharded, other folders of torch.distributed.checkpoint,
    safetensors, folders of `save_pretrained`, files of torch.save, shards and files of layers, and
    the Hub's cache, and of each one tensor alone. Parts of a checkpoint are read as the whole, or
    refused with what is missing.
    Nothing in a pickle is run. The step of each stands in its name or in that of a folder
    (`step-10`, `step=10`, `step10`, `global_step10`, `checkpoint-10`), or inside. A checkpoint that
    cannot be read is left out with a warning.

    Args:
        paths: checkpoints of one run, or folders that are searched for them.
        attributes: which token or class has which value of which attribute; of a dict a table is
            made. Rows beyond the table are padding: not read, and no part of the mean.
        tensor: name of the weight `[rows, d]`; None: the head, or the input embedding where the
            head is tied and absent. An input embedding that is named gives the site `embedding`,
            all else `unembedding`.
        folder: where to write history and pictures; None: nowhere.
        steps: the step of checkpoints whose names tell none, or another: by the name of the file or
            folder, with or without its ending, or by its path.

    Raises:
        FileNotFoundError: if a path is not there, or a folder holds no checkpoint.
        ValueError: if no checkpoint can be read, two that differ have one step, or stages of
            training make several runs of them; the message says which, and why. If `steps` has a
            name that none has, and if `attributes` is neither an AttributeTable nor a dict.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import torch
        >>> table = AttributeTable.from_dict({"colour": ["red", "red", "blue", "blue"]})
        >>> start = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> alike = torch.tensor([[0.1], [0.1], [-0.1], [-0.1]])
        >>> with TemporaryDirectory() as run:
        ...     for step in (0, 10, 20):
        ...         torch.save({"lm_head.weight": start + step * alike}, f"{run}/step-{step}.pt")
        ...     history = analyze(run, table)
        >>> steps, gaps = history.curve("semgeom_unembedding/gap/colour")
        >>> steps.tolist(), gaps.round(2).tolist()
        ([0, 10, 20], [-1.0, 1.09, 1.8])
    """
    table = table_of(attributes, "analyze")
    folders = {} if folder is None else {NAME: Path(folder)}
    paths = [paths] if isinstance(paths, str | Path) else paths
    found = analyze_with(paths, {NAME: table}, tensor, folders, steps)
    for told in (*found.faults, *found.notes):
        warnings.warn(told, stacklevel=3)  # `checked_kinds` lies between
    return found.histories[NAME]


@dataclass(frozen=True)
class Analysis:
    """What checkpoints gave."""

    histories: dict[str, History]
    """By the name of the table that they were measured with."""
    faults: list[str]
    """What was wrong, one line each."""
    notes: list[str]
    """What may be wrong and was measured all the same, one line each."""


def analyze_with(
    paths: Sequence[str | Path],
    tables: Mapping[str, AttributeTable],
    tensor: str | None,
    folders: Mapping[str, Path],
    steps: Mapping[str, int] | None = None,
    stage: str | None = None,
) -> Analysis:
    """Measure with several tables of one length; each tensor is read once.

    Args:
        paths: as for `analyze`.
        tables: by the name that is the root of all keys.
        tensor: as for `analyze`.
        folders: where to write, for the names whose history is to be on disk.
        steps: as for `analyze`.
        stage: which of several runs to measure, as `stages_in` calls it.

    Raises:
        FileNotFoundError, ValueError: as `analyze` does.
        OSError: if a history cannot be written.
    """
    if not paths:
        raise ValueError("paths is empty: give checkpoints, or folders that hold some.")
    site, num_rows = site_of(tensor), len(next(iter(tables.values())))
    plans = site_plans(tables)
    recorders = {name: Recorder(name, [site], table.names) for name, table in tables.items()}
    faults, contents = Faults(), Contents()
    found_there, given = find_checkpoints(map(place, paths)), GivenSteps(steps or {})
    given.check_known(found_there)
    stages = restarted_stages(found_there, given)
    if stages and stage is None:
        raise ValueError(_SEVERAL.format("; ".join(map(_told, stages.items()))))
    checkpoints = _by_step(stages.get(stage or "", found_there), given, tensor, num_rows, faults)
    for step, checkpoint in tqdm(sorted(checkpoints.items()), unit="checkpoint", disable=None):
        read = attempted(measured, checkpoint, tensor, plans)
        if isinstance(read, Exception):
            faults.add(checkpoint, read)
            continue
        rows, found = read
        contents.add(step, rows)
        for name, recorder in recorders.items():
            if not len(recorder.history) and name in folders:
                recorder.history.open(folders[name])
            recorder.begin(step)
            recorder.add(site, found[name].values, found[name].picture())
            recorder.finish(keep_pictures=True)
        faults.add_flaw(checkpoint, found[next(iter(tables))])
    histories = {name: recorder.history for name, recorder in recorders.items()}
    if not all(map(len, histories.values())):
        raise ValueError(f"no checkpoint could be measured: {faults.short()}")
    return Analysis(histories, faults.lines, contents.notes())


_SEVERAL = (
    "these are several runs, since stages of training count their steps anew. Checkpoints: {}. "
    "Give those of one; the command `lightning-semgeom analyze` measures them all, each as a run "
    "of its own."
)


def _told(stage: tuple[str, Sequence[Checkpoint]]) -> str:
    name, found = stage
    return f"'{name}' with {len(found)}, as '{found[0]}'"


def _by_step(
    checkpoints: Sequence[Checkpoint],
    given: GivenSteps,
    tensor: str | None,
    num_rows: int,
    faults: Faults,
) -> dict[int, Checkpoint]:
    """One checkpoint for each step; copies of the same weights, as last.ckpt is one, count once."""
    by_step: dict[int, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        step = attempted(given.of, checkpoint)
        if isinstance(step, Exception):
            faults.add(checkpoint, step)
        else:
            by_step.setdefault(step, []).append(checkpoint)
    chosen = {step: _one_of(same, step, tensor, num_rows, faults) for step, same in by_step.items()}
    return {step: checkpoint for step, checkpoint in chosen.items() if checkpoint is not None}


def _one_of(
    checkpoints: Sequence[Checkpoint],
    step: int,
    tensor: str | None,
    num_rows: int,
    faults: Faults,
) -> Checkpoint | None:
    """The first that can be read, of checkpoints of one step."""
    if len(checkpoints) == 1:
        return checkpoints[0]
    found: Checkpoint | None = None
    unread = []
    for checkpoint in checkpoints:
        rows = attempted(rows_of, checkpoint, tensor, num_rows)
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
