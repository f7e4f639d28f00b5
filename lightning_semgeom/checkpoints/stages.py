"""Stages of training that each count their steps from the start: runs of their own.

Those who publish their checkpoints call them `stage1-step1000`, `stage2-ingredient1-step1000`. One
curve through all of them would jump back and forth between different weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.given import GivenSteps
from lightning_semgeom.faults import attempted


def restarted_stages(
    checkpoints: Sequence[Checkpoint], given: GivenSteps
) -> dict[str, list[Checkpoint]]:
    """The checkpoints of each stage where one begins at a step that another has gone past; else {}.

    Args:
        checkpoints: all that were found.
        given: the steps that a user says.
    """
    stages: dict[str, list[Checkpoint]] = {}
    others = []
    for checkpoint in checkpoints:
        stage = checkpoint.stage()
        if stage is None:
            others.append(checkpoint)
        else:
            stages.setdefault(stage, []).append(checkpoint)
    if len(stages) < 2 or any(isinstance(attempted(given.of, other), int) for other in others):
        return {}
    spans = sorted(_span(found, given) for found in stages.values())
    if all(end < begin for (_, end), (begin, _) in pairwise(spans)):
        return {}
    found = dict(sorted(stages.items()))
    next(iter(found.values())).extend(others)  # they tell no step, which is said once
    return found


def told_apart(stages: Mapping[str, Sequence[Checkpoint]]) -> str:
    """That `stages` are several runs, in words, with a checkpoint of each."""
    each = [f"'{name}' with {len(found)}, as '{found[0]}'" for name, found in stages.items()]
    return (
        "these are several runs, since stages of training count their steps anew. Checkpoints: "
        f"{'; '.join(each)}. Give those of one; the command `lightning-semgeom analyze` measures "
        "them all, each as a run of its own."
    )


def _span(checkpoints: Sequence[Checkpoint], given: GivenSteps) -> tuple[int, int]:
    steps = [given.of(checkpoint) for checkpoint in checkpoints]  # their names tell them
    return min(steps), max(steps)
