"""The checkpoints of a run, and the step of each.

A checkpoint is a file, or a folder that is one checkpoint as a whole. Its step stands in its name,
in the names of folders around it, or inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from os.path import abspath
from pathlib import Path

from lightning_semgeom.checkpoints.huggingface import model_file, open_model_file, step_in_folder
from lightning_semgeom.checkpoints.pickled import step_in_pickled
from lightning_semgeom.checkpoints.sharded import METADATA, open_sharded, step_in_sharded
from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors

_SUFFIXES = (".ckpt", ".safetensors", ".pt", ".pth", ".bin")
# What lies beside weights and has none: files, and sharded folders as FSDP's `optimizer_0`.
_OTHER = (
    *("optimizer*", "scheduler*", "scaler*", "rng_state*", "random_states*", "training_args*"),
    *("*optim_states*", "sampler*", "dl_state_dict*"),
)
_DEPTH = 6  # folders below the one that was given
# step-10, step=10, step_10, step10, global_step10 and checkpoint-10, as a word of its own.
_STEP = re.compile(r"(?:^|[^a-z])(?:step[-_=]?|checkpoint-)(\d+)(?![a-z\d])", re.IGNORECASE)


@dataclass(frozen=True)
class Checkpoint:
    """Where a checkpoint is."""

    path: Path
    """Its file or folder."""
    root: Path
    """The folder that it was found in, or that holds it where it was given itself."""

    def open(self) -> Tensors:
        """Its tensors, whatever kind it is.

        Raises:
            CheckpointError: if it cannot be read.
        """
        if _is_sharded(self.path):
            return open_sharded(self.path)
        return open_model_file(model_file(self.path) or self.path)

    def step(self) -> int:
        """The optimizer steps that its weights have had.

        The names of the file and of the folders around it tell it, from the inside to the outside.
        The outermost one may be the experiment's: what stands in the file goes before it.

        Raises:
            CheckpointError: if it tells no step, or cannot be read.
        """
        root = abspath(self.root)
        inner = Path(abspath(self.path)).relative_to(root).parts
        step = _named(reversed(inner))
        step = self._step_inside() if step is None else step
        step = _named([Path(root).name]) if step is None else step
        if step is None:
            raise CheckpointError(
                "it tells no step, neither by its name nor inside. Put it into the name of the "
                "file or of its folder, as in step-100."
            )
        return step

    def _step_inside(self) -> int | None:
        if self.path.is_dir():
            read = step_in_sharded if _is_sharded(self.path) else step_in_folder
            return read(self.path)
        return None if self.path.suffix in (".safetensors", ".json") else step_in_pickled(self.path)


def find_checkpoints(paths: Iterable[Path]) -> list[Checkpoint]:
    """The checkpoints that `paths` are, or that the folders among them hold; each file once.

    What is given as a file is always one. Folders are searched for what looks like one, with the
    folders below them; what belongs to a checkpoint is not searched further.

    Raises:
        FileNotFoundError: if a path is not there, or a folder holds none; the message names it.
    """
    found = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no file or folder at '{path}'.")
        here = list(_given(path))
        if not here:
            raise FileNotFoundError(
                f"no checkpoint in '{path}': expected files *{', *'.join(_SUFFIXES)}, folders of "
                "save_pretrained, or sharded folders with '.metadata'."
            )
        found += here
    # A link, as last.ckpt may be one, has a worse name than what it leads to.
    found.sort(key=lambda checkpoint: (checkpoint.path.is_symlink(), checkpoint.path))
    each: dict[Path, Checkpoint] = {}
    for checkpoint in found:
        each.setdefault(checkpoint.path.resolve(), checkpoint)
    return list(each.values())


def _given(path: Path) -> Iterator[Checkpoint]:
    if path.is_file():
        yield Checkpoint(path, Path(abspath(path)).parent)
        return
    whole = _is_whole(path)
    if whole:
        yield Checkpoint(path, Path(abspath(path)).parent)
    # transformers' Trainer saves the last model into the folder that has all checkpoints.
    if not whole or (not _is_sharded(path) and _named([Path(abspath(path)).name]) is None):
        for below in _below(path, _DEPTH):
            yield Checkpoint(below, path)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """The checkpoints in a folder, but for the folder itself where it is one."""
    whole = _is_whole(folder)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if _is_whole(path):
                if not (_is_sharded(path) and _is_other(path)):
                    yield path
            elif depth:
                yield from _below(path, depth - 1)
        elif not whole and _looks_like_weights(path):
            yield path


def _is_whole(folder: Path) -> bool:
    return _is_sharded(folder) or model_file(folder) is not None


def _is_sharded(path: Path) -> bool:
    return (path / METADATA).is_file()


def _looks_like_weights(file: Path) -> bool:
    return file.suffix in _SUFFIXES and file.is_file() and not _is_other(file)


def _is_other(path: Path) -> bool:
    return any(fnmatchcase(path.name, pattern) for pattern in _OTHER)


def _named(parts: Iterable[str]) -> int | None:
    """The step that the first part with one tells; of several in a name the last."""
    return next((int(steps[-1]) for part in parts if (steps := _STEP.findall(part))), None)
