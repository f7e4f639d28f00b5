"""One checkpoint: what opens it, and the step of its weights.

A checkpoint is a file, files that are its parts, or a folder that is one checkpoint as a whole. Its
step stands in its name, in the names of folders around it, or inside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lightning_semgeom.capture.names import listed
from lightning_semgeom.checkpoints import hub
from lightning_semgeom.checkpoints.assembled import opener_of
from lightning_semgeom.checkpoints.huggingface import (
    Sufficient,
    model_file,
    open_model_file,
    step_in_folder,
    untied_in_folder,
)
from lightning_semgeom.checkpoints.online.path import HubPath
from lightning_semgeom.checkpoints.parts import Kind, Parts
from lightning_semgeom.checkpoints.pickled import step_in_pickled
from lightning_semgeom.checkpoints.sharded import (
    is_cut_off,
    is_sharded,
    open_sharded,
    step_in_sharded,
)
from lightning_semgeom.checkpoints.steps import named_step, stage_of
from lightning_semgeom.checkpoints.tensors import CheckpointError, NoStepError, Tensors
from lightning_semgeom.checkpoints.unreadable import raise_if_unreadable
from lightning_semgeom.stores import absolute


@dataclass(frozen=True)
class Checkpoint:
    """Where a checkpoint is."""

    path: Path
    """Its file or folder; of several parts their pattern."""
    root: Path
    """The folder that it was found in, or that holds it where it was given itself."""
    parts: Parts | None = None
    """The files that are one checkpoint together; None: it is no such thing."""
    revision: str | None = None
    """What the Hub's cache calls it; None: it is elsewhere, or has no name there."""
    fault: OSError | None = None
    """Why it cannot be looked at; None: that is not known."""

    def __str__(self) -> str:
        return str(self.path) if self.revision is None else f"{self.path} ({self.revision})"

    def open(self, sufficient: Sufficient | None = None) -> Tensors:
        """Its tensors, whatever kind it is.

        Args:
            sufficient: as for `open_model_file`.

        Raises:
            CheckpointError: if it cannot be read.
        """
        self._raise_if_none()
        if self._is_of_shards():
            return open_sharded(self.path)
        if self.parts is not None:
            found = opener_of(self.parts)()
        else:
            found = open_model_file(model_file(self.path) or self.path, sufficient)
        folder = self.path if self.path.is_dir() else self.path.parent
        return replace(found, untied=found.untied or untied_in_folder(folder))

    def step(self) -> int:
        """The optimizer steps that its weights have had.

        The names of the file and of the folders around it tell it, from the inside to the outside.
        The outermost one may be the experiment's: what stands in the file goes before it. In the
        Hub's cache the name of a revision stands for the folder that is called by its hash.

        Raises:
            NoStepError: if it tells no step.
            CheckpointError: if it cannot be read.
        """
        step = named_step(reversed(self._names()))
        if step is None:
            self._raise_if_none()
            step = self._step_inside()
        step = named_step([absolute(self.root).name]) if step is None else step
        if step is None and hub.repository_of(self.path) is not None:
            hub.raise_for_unnamed(self.revision)
        if step is None:
            raise NoStepError(
                "it tells no step, neither by its name nor inside. Put it into the name of the "
                "file or of its folder, as in step-100, or say it: --step-of NAME=STEP, "
                "analyze(step_of={NAME: STEP})."
            )
        return step

    def stage(self) -> str | None:
        """The stage of training that its name tells, as `stage2-ingredient1`; None: it tells none.

        Stages may each count their steps from the start.
        """
        return stage_of(self._names())

    def _names(self) -> tuple[str, ...]:
        """The names inside the root that may tell a step, from the outside to the inside."""
        if isinstance(self.path, HubPath):
            return self.path.names
        root, path = absolute(self.root), absolute(self.path)
        repository = hub.repository_of(path)
        if repository is None:
            return path.relative_to(root).parts
        around = repository.relative_to(root).parts
        named = () if self.revision is None else self.revision.split("/")
        return (*around, *named, *path.relative_to(repository).parts[2:])

    def _is_of_shards(self) -> bool:
        return is_sharded(self.path) or is_cut_off(self.path)

    def _raise_if_none(self) -> None:
        """What names and first bytes tell, in words better than a reader's."""
        if self.fault is not None:
            raise self.fault
        repository = hub.repository_of(self.path)
        if self.parts is not None:
            opener_of(self.parts)
        elif self._is_of_shards() or model_file(self.path) is not None:
            return
        elif repository is not None and not (self.path.is_file() or self.path.is_symlink()):
            hub.raise_for_missing(repository)
        elif isinstance(self.path, HubPath) and self.path.is_dir():
            names = listed(path.name for path in self.path.iterdir())
            raise CheckpointError(
                "it has no weights that are known: expected model.safetensors, pytorch_model.bin, "
                f"or an index of several; it has {names}."
            )
        else:
            raise_if_unreadable(self.path)

    def _step_inside(self) -> int | None:
        if self.path.is_dir():
            return (
                step_in_sharded(self.path) if is_sharded(self.path) else step_in_folder(self.path)
            )
        if self.parts is not None and self.parts.kind is Kind.SHARDS:
            return step_in_folder(self.path.parent)
        file = self.path if self.parts is None else next(iter(self.parts.files.values()))
        return None if file.suffix in (".safetensors", ".json") else step_in_pickled(file)
