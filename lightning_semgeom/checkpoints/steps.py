"""The step that names tell: step-10, step=10, step_10, step10, global_step10, checkpoint-10."""

from __future__ import annotations

import re
from collections.abc import Iterable

# As a word of its own.
_STEP = re.compile(r"(?:^|[^a-z])(?:step[-_=]?|checkpoint-)(\d+)(?![a-z\d])", re.IGNORECASE)


def named_step(names: Iterable[str]) -> int | None:
    """The step that the first name with one tells; of several in a name the last."""
    return next((int(steps[-1]) for name in names if (steps := _STEP.findall(name))), None)


def without_step(name: str) -> str:
    """A name with its steps left out: the same for all checkpoints of a run."""
    return _STEP.sub("", name)
