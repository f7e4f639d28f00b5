"""Steps that a user says, where names tell none or others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.stores import absolute


class GivenSteps:
    """The steps of checkpoints: those that are said, and otherwise those that they tell.

    Args:
        steps: by the name of a checkpoint: that of its file or folder, with or without its ending,
            its path, or its revision in the Hub's cache.
    """

    def __init__(self, steps: Mapping[str, int]) -> None:
        self._steps = dict(steps)

    def of(self, checkpoint: Checkpoint) -> int:
        """The step of a checkpoint.

        Raises:
            CheckpointError: as `Checkpoint.step` does.
        """
        said = [self._steps[name] for name in _names(checkpoint) if name in self._steps]
        return said[0] if said else checkpoint.step()

    def check_known(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Raise a ValueError where a name is that of no checkpoint."""
        known = {name for checkpoint in checkpoints for name in _names(checkpoint)}
        unknown = [f"'{name}'" for name in self._steps if name not in known]
        if unknown:
            there = ", ".join(f"'{checkpoint.path.name}'" for checkpoint in checkpoints[:8])
            more = ", ..." if len(checkpoints) > 8 else ""
            raise ValueError(
                f"no checkpoint is called {', '.join(unknown)}; there are {there}{more}."
            )


def _names(checkpoint: Checkpoint) -> list[str]:
    path, root = absolute(checkpoint.path), absolute(checkpoint.root)
    inner = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    named = [] if checkpoint.revision is None else [checkpoint.revision]
    return [*named, str(checkpoint.path), str(path), inner, path.name, path.stem]
