"""All checkpoints of a run, measured one after the other as a live run measures its weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from tqdm.auto import tqdm

from lightning_semgeom.attributes.given import Attributes, table_of
from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.capture.asked import check_batches, check_least
from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.chosen import ChosenSteps
from lightning_semgeom.checkpoints.contents import Contents, content_of
from lightning_semgeom.checkpoints.each_step import by_step
from lightning_semgeom.checkpoints.given import GivenSteps
from lightning_semgeom.checkpoints.hidden import HiddenAsked
from lightning_semgeom.checkpoints.reading import Faults, Measuring, left_notes, reason_of
from lightning_semgeom.checkpoints.resume import (
    Done,
    Progress,
    fingerprint_of,
    identity_of,
    record_hash,
)
from lightning_semgeom.checkpoints.runs import find_checkpoints
from lightning_semgeom.checkpoints.stages import restarted_stages, told_apart
from lightning_semgeom.checkpoints.tensors import CheckpointError
from lightning_semgeom.faults import attempted
from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.record.history import History
from lightning_semgeom.record.recorder import Recorder
from lightning_semgeom.stores import place

NAME = "semgeom"


@checked_kinds
def analyze(
    paths: str | Path | Sequence[str | Path],
    attributes: Attributes,
    tensor: str | None = None,
    folder: str | Path | None = None,
    step_of: Mapping[str, int] | None = None,
    *,
    steps: str | None = None,
    build: Callable[[], nn.Module] | None = None,
    hidden: str | Sequence[str] = (),
    data: Iterable[Any] | None = None,
    forward: Callable[[Any, Any], object] | None = None,
    labels: str | int | Callable[[Any], Tensor] = "labels",
    positions: Literal["all", "last"] = "all",
    shift_labels: bool = False,
    max_positions: int = 8192,
) -> History:
    """Measure the checkpoints of a run that is over, as SemanticGeometry measures a live one.

    Reads Lightning checkpoints, whole or sharded, other folders of torch.distributed.checkpoint,
    safetensors, folders of `save_pretrained`, files of torch.save, shards and files of layers, and
    the Hub's cache, and of each one tensor alone. Parts of a checkpoint are read as the whole, or
    refused with what is missing.
    Nothing in a pickle is run. The step of each stands in its name or in that of a folder
    (`step-10`, `step=10`, `step10`, `global_step10`, `checkpoint-10`), or inside. A checkpoint that
    cannot be read is left out with a warning.

    With `build` and `data` the hidden states of the same batches are measured, too: the model is
    built once, and the weights of each checkpoint, which is read whole, are put into it.

    Where `folder` has what an earlier call with the same arguments left, as one that was
    interrupted, the first checkpoints that are as they were then are not read again.

    Args:
        paths: checkpoints of one run, or folders that are searched for them.
        attributes: which token or class has which value of which attribute; of a dict a table is
            made. Rows beyond the table are padding: not read, and no part of the mean.
        tensor: name of the weight `[rows, d]`; None: the head, or the input embedding where the
            head is tied and absent. An input embedding that is named gives the site `embedding`,
            all else `unembedding`.
        folder: where to write history and pictures, here or in a store; None: nowhere.
        step_of: the step of checkpoints whose names tell none, or another: by the name of the file
            or folder, with or without its ending, or by its path.
        steps: which of those that there are to measure, as `"0:512,1000:143000:10"`: all from 0 to
            512, and every tenth that there is from 1000 to 143000; None: all.
        build: makes the model for hidden states; where it has its parameters is where it runs.
        hidden: names or globs of modules, as for `snapshot`; none: all layers.
        data: batches, as for `snapshot`; read once.
        forward: as for `snapshot`. An interrupted call knows it by its name alone: give another
            function another folder.
        labels: as for `snapshot`.
        positions: as for `snapshot`.
        shift_labels: as for `snapshot`.
        max_positions: as for `snapshot`.

    Raises:
        FileNotFoundError: if a path is not there, or a folder holds no checkpoint.
        ValueError: if no checkpoint can be read, two that differ have one step, or stages of
            training make several runs of them; the message says which, and why. If `step_of` has a
            name that none has, if `steps` chooses none, if `attributes` is neither an
            AttributeTable nor a dict, and if `build`, `hidden` and `data` contradict each other.

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
    hidden = (hidden,) if isinstance(hidden, str) else tuple(hidden)
    check_least("analyze", max_positions=(max_positions, 2))
    asked = None
    if build is not None and data is not None:
        check_batches(data, labels, "data")
        asked = HiddenAsked(
            build, hidden, data, labels, positions, shift_labels, forward, max_positions
        )
    elif build is not None or data is not None or hidden:
        raise ValueError(
            "analyze: hidden states come from a model and from data, so build=function and "
            f"data=[batches] are given together; got hidden={list(hidden)}, "
            f"{'no build' if build is None else 'build'} and "
            f"{'no data' if data is None else 'data'}."
        )
    folders = {} if folder is None else {NAME: place(folder)}
    paths = [paths] if isinstance(paths, str | Path) else paths
    if not paths:
        raise ValueError("paths is empty: give checkpoints, or folders that hold some.")
    chosen = None if steps is None else ChosenSteps(steps)
    checkpoints, given = find_checkpoints(map(place, paths)), GivenSteps(step_of or {})
    given.check_known(checkpoints)
    stages = restarted_stages(checkpoints, given)
    if stages:
        raise ValueError(told_apart(stages))
    found = analyze_with(checkpoints, {NAME: table}, tensor, folders, given, asked, chosen=chosen)
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
    checkpoints: Sequence[Checkpoint],
    tables: Mapping[str, AttributeTable],
    tensor: str | None,
    folders: Mapping[str, Path],
    given: GivenSteps,
    asked: HiddenAsked | None = None,
    tell: Callable[[str], object] | None = None,
    chosen: ChosenSteps | None = None,
) -> Analysis:
    """Measure with several tables of one length; each tensor is read once.

    Args:
        checkpoints: of one run.
        tables: by the name that is the root of all keys.
        tensor: as for `analyze`.
        folders: where to write, by the names of all tables; an empty dict: nowhere.
        given: the steps that a user says.
        asked: which hidden states, beside the weight.
        tell: gets what these cost, in words, before the work begins.
        chosen: which steps; None: all.

    Raises:
        ValueError: if none can be read, two that differ have one step, or `chosen` chooses none.
        OSError: if a history cannot be written.
    """
    faults, contents, left = Faults(), Contents(), dict[str, None]()
    measuring = Measuring(tables, tensor, asked)
    each = sorted(by_step(checkpoints, given, measuring, faults, chosen).items())
    identities = {step: identity_of(checkpoint) for step, checkpoint in each}
    fingerprint = fingerprint_of(tables, tensor, measuring.sites, measuring.hidden)
    progress = Progress(folders, fingerprint, [*identities.items()])
    histories = {name: History() for name in tables} | progress.begin()
    recorders = {
        name: Recorder(name, measuring.sites, table.names, histories[name])
        for name, table in tables.items()
    }

    def tell_of(done: Done, checkpoint: Checkpoint) -> None:
        if done.fault is not None:
            faults.lines.append(f"{checkpoint}: {done.fault}")
            return
        contents.add(done.step, done.content)
        faults.add_flaws(checkpoint, done.flaws)
        left.update(dict.fromkeys(done.left))

    for done, (_, checkpoint) in zip(progress.done, each, strict=False):
        tell_of(done, checkpoint)
    begin = len(progress.done)
    if tell is not None and measuring.hidden is not None and begin < len(each):
        tell(measuring.hidden.told(len(each) - begin))
    bar = {"initial": begin, "total": len(each), "unit": "checkpoint", "disable": None}
    for step, checkpoint in tqdm(each[begin:], **bar):
        identity, found = identities[step], attempted(measuring.measured, checkpoint)
        if isinstance(found, Exception):
            done = Done(step, identity, fault=reason_of(found))
        else:
            for name, recorder in recorders.items():
                if not len(recorder.history) and name in folders:
                    recorder.history.open(folders[name])
                recorder.begin(step)
                for site, one in found.figures[name].items():
                    recorder.add(site, one.values, one.picture())
                recorder.finish(keep_pictures=True)
                recorder.write()
            records = [record_hash(history.records[-1]) for history in histories.values()]
            content = content_of(found.rows)
            done = Done(step, identity, content, found.flaws, found.left, records)
        tell_of(done, checkpoint)
        # What is wrong with a file stays so; what a model raised may not, as too little memory.
        if not isinstance(found, Exception) or isinstance(found, CheckpointError):
            progress.add(done)
    if not all(map(len, histories.values())):
        raise ValueError(f"no checkpoint could be measured: {faults.short()}")
    return Analysis(histories, faults.lines, [*faults.notes, *contents.notes(), *left_notes(left)])
