"""All checkpoints of a run, measured one after the other as a live run measures its weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lightning_semgeom.attributes import AttributeTable
from lightning_semgeom.checkpoints.names import find_tensor, site_of
from lightning_semgeom.checkpoints.runs import Checkpoint, find_checkpoints
from lightning_semgeom.checkpoints.tensors import CheckpointError
from lightning_semgeom.faults import attempted
from lightning_semgeom.history import History
from lightning_semgeom.measure import Measurement, SitePlan, measure, plan_site
from lightning_semgeom.recorder import Recorder

NAME = "semgeom"
_GRAM_SIZE = 96  # as a live run's


def analyze(
    paths: str | Path | Sequence[str | Path],
    attributes: AttributeTable,
    tensor: str | None = None,
    folder: str | Path | None = None,
) -> History:
    """Measure the checkpoints of a run that is over, as SemanticGeometry measures a live one.

    Reads Lightning checkpoints, whole or sharded, other folders of torch.distributed.checkpoint,
    safetensors, folders of `save_pretrained` and files of torch.save, and of each one tensor alone.
    Nothing in a pickle is run. The step of each stands in its name or in that of a folder
    (`step-10`, `step=10`, `step10`, `global_step10`, `checkpoint-10`), or inside. A checkpoint that
    cannot be read is left out with a warning.

    Args:
        paths: checkpoints of one run, or folders that are searched for them.
        attributes: which token or class has which value of which attribute. Rows beyond the table
            are padding: not read, and no part of the mean.
        tensor: name of the weight `[rows, d]`; None: the head, or the input embedding where the
            head is tied and absent. An input embedding that is named gives the site `embedding`,
            all else `unembedding`.
        folder: where to write history and pictures; None: nowhere.

    Raises:
        FileNotFoundError: if a path is not there, or a folder holds no checkpoint.
        ValueError: if no checkpoint can be read, or two that differ have one step; the message says
            which, and why.

    Example:
        >>> from tempfile import TemporaryDirectory
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
    folders = {} if folder is None else {NAME: Path(folder)}
    paths = [paths] if isinstance(paths, str | Path) else paths
    found = analyze_with(paths, {NAME: attributes}, tensor, folders)
    for fault in found.faults:
        warnings.warn(fault, stacklevel=2)
    return found.histories[NAME]


@dataclass(frozen=True)
class Analysis:
    """What checkpoints gave."""

    histories: dict[str, History]
    """By the name of the table that they were measured with."""
    faults: list[str]
    """What was wrong, one line each."""


def analyze_with(
    paths: Sequence[str | Path],
    tables: Mapping[str, AttributeTable],
    tensor: str | None,
    folders: Mapping[str, Path],
) -> Analysis:
    """Measure with several tables of one length; each tensor is read once.

    Args:
        paths: as for `analyze`.
        tables: by the name that is the root of all keys.
        tensor: as for `analyze`.
        folders: where to write, for the names whose history is to be on disk.

    Raises:
        FileNotFoundError, ValueError: as `analyze` does.
        OSError: if a history cannot be written.
    """
    if not paths:
        raise ValueError("paths is empty: give checkpoints, or folders that hold some.")
    site, num_rows = site_of(tensor), len(next(iter(tables.values())))
    row_ids = torch.arange(num_rows)
    plans = {name: plan_site(table, row_ids, _GRAM_SIZE) for name, table in tables.items()}
    recorders = {name: Recorder(name, [site], table.names) for name, table in tables.items()}
    faults = _Faults()
    checkpoints = _by_step(find_checkpoints(map(Path, paths)), tensor, num_rows, faults)
    for step, checkpoint in tqdm(sorted(checkpoints.items()), unit="checkpoint", disable=None):
        found = attempted(_measured, checkpoint, tensor, plans)
        if isinstance(found, Exception):
            faults.add(checkpoint, found)
            continue
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
    return Analysis(histories, faults.lines)


class _Faults:
    """What was wrong with which checkpoint, in words."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._flaws: set[str] = set()

    def add(self, checkpoint: Checkpoint, fault: Exception) -> None:
        if isinstance(fault, ModuleNotFoundError):  # of no checkpoint: all of its kind need it
            raise fault
        named = "" if isinstance(fault, CheckpointError) else f"{type(fault).__name__}: "
        self.lines.append(f"{checkpoint.path}: {named}{' '.join(str(fault).split())}")

    def add_flaw(self, checkpoint: Checkpoint, found: Measurement) -> None:
        """Tell why figures are NaN; as in a live run, once."""
        if found.flaw is not None and found.flaw.kind not in self._flaws:
            self._flaws.add(found.flaw.kind)
            self.lines.append(f"{checkpoint.path}: figures are missing. {found.flaw}")

    def short(self, limit: int = 3) -> str:
        rest = f" And {len(self.lines) - limit} more." if len(self.lines) > limit else ""
        return " ".join(self.lines[:limit]) + rest


def _by_step(
    checkpoints: Sequence[Checkpoint], tensor: str | None, num_rows: int, faults: _Faults
) -> dict[int, Checkpoint]:
    """One checkpoint for each step; copies of the same weights, as last.ckpt is one, count once."""
    found: dict[int, Checkpoint] = {}
    for checkpoint in checkpoints:
        step = attempted(checkpoint.step)
        if isinstance(step, Exception):
            faults.add(checkpoint, step)
            continue
        other = found.setdefault(step, checkpoint)
        if other is checkpoint:
            continue
        rows, other_rows = (attempted(_rows, c, tensor, num_rows) for c in (checkpoint, other))
        if isinstance(rows, Exception):
            faults.add(checkpoint, rows)
        elif isinstance(other_rows, Exception):
            faults.add(other, other_rows)
            found[step] = checkpoint
        elif not _are_same(rows, other_rows):
            raise ValueError(
                f"'{other.path}' and '{checkpoint.path}' differ, and both are of step {step}. Give "
                "the checkpoints of one run alone, or move one of the two elsewhere."
            )
    return found


def _measured(
    checkpoint: Checkpoint, tensor: str | None, plans: Mapping[str, SitePlan]
) -> dict[str, Measurement]:
    num_rows = len(next(iter(plans.values())).table)
    rows = _rows(checkpoint, tensor, num_rows)
    return {name: measure(rows, plan) for name, plan in plans.items()}


def _rows(checkpoint: Checkpoint, tensor: str | None, num_rows: int) -> Tensor:
    """The first `num_rows` rows of the tensor."""
    opened = checkpoint.open()
    name = find_tensor(opened.shapes, tensor, num_rows)
    rows = opened.read(name, num_rows)
    if not rows.is_floating_point() or rows.element_size() < 2:
        raise CheckpointError(f"'{name}' is {rows.dtype}; expected floats of 16 bits or more.")
    return rows


def _are_same(rows: Tensor, other: Tensor) -> bool:
    """Whether all bits are the same, in NaN, too."""
    same_kind = rows.dtype == other.dtype and rows.shape == other.shape
    ours, theirs = (found.contiguous().view(torch.uint8) for found in (rows, other))
    return same_kind and torch.equal(ours, theirs)
