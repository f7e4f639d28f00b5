"""The step that names tell, as trainers and those who publish their checkpoints write it.

step-10, step=10, step_10, step10, step_20k, global_step10, checkpoint-10, checkpoint_10000,
ckpt_358, iter_0001000, ba1000; of fairseq's checkpoint_3_10000 the second number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# As a word of its own.
_STEP = re.compile(
    r"(?:^|[^a-z])(?:step[-_=]?|checkpoint[-_](?:\d+_)?|ckpt[-_]|iter[-_]|ba)(\d+)(k?)(?![a-z\d])",
    re.IGNORECASE,
)

_STAGE = re.compile(r"(?<![a-z])stage[-_]?\d.*", re.IGNORECASE)


def named_step(names: Iterable[str]) -> int | None:
    """The step that the first name with one tells; of several in a name the last."""
    for name in names:
        steps = _STEP.findall(name)
        if steps:
            number, thousands = steps[-1]
            return int(number) * (1000 if thousands else 1)
    return None


def stage_of(names: Iterable[str]) -> str | None:
    """What stands before the step from the word `stage` on, as in `stage2-ingredient1-step1000`.

    Args:
        names: of folders and file, from the outside to the inside.
    """
    path = "/".join(names)
    steps = [*_STEP.finditer(path)]
    found = _STAGE.search(path, 0, steps[-1].start()) if steps else None
    return found[0].rstrip("-_/.") if found else None


def without_step(name: str) -> str:
    """A name with its steps left out: the same for all checkpoints of a run."""
    return _STEP.sub("", name)
