"""The tokenizer of a model on the Hub, of which no weights are fetched for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.chosen import ChosenSteps
from lightning_semgeom.checkpoints.online.asking import HubError, without_token
from lightning_semgeom.checkpoints.online.path import HubPath
from lightning_semgeom.commands.analyze import read_tokenizer
from lightning_semgeom.commands.telling import warn
from lightning_semgeom.extras import needs
from lightning_semgeom.faults import attempted

_WHOLE = "tokenizer.json"
# Of tokenizers that transformers makes a whole one from.
_OTHERS = ("vocab.txt", "vocab.json", "tokenizer.model", "tokenizer_config.json")


def tokenizer_online(
    checkpoints: Sequence[Checkpoint], chosen: ChosenSteps | None, is_needed: bool
) -> Any:
    """The tokenizer of models on the Hub, of several steps that of the last, which is printed.

    Where that one has none it is that of the first, or of the main branch.

    Args:
        checkpoints: on the Hub.
        chosen: which of their steps.
        is_needed: raise where there is none, and do not answer None.

    Raises:
        ValueError: if none of these has one, or it cannot be read.
        ModuleNotFoundError: if what reads it is not installed.
        OSError: if the Hub gives none.
    """
    try:
        tokenizer, place = _found(checkpoints, _places(checkpoints, chosen))
    except (ValueError, OSError):
        if is_needed:
            raise
        return None
    warn([f"the tokenizer is that of {place}"])
    return tokenizer


def _found(checkpoints: Sequence[Checkpoint], places: Sequence[HubPath]) -> tuple[Any, HubPath]:
    faults: list[HubError] = []
    for names in ((_WHOLE,), _OTHERS):
        for place in places:
            try:
                if any((place / name).is_file() for name in names):
                    return _tokenizer_in(place, names), place
            except HubError as fault:
                faults.append(HubError(f"no tokenizer from {place}: {fault}"))
    if faults:
        raise faults[0]
    if not places:  # all have a fault
        raise ValueError(f"{checkpoints[0]}: {checkpoints[0].fault}")
    raise ValueError(
        f"there is no tokenizer in {places[0]}: no '{_WHOLE}', nor "
        f"{', '.join(map(repr, _OTHERS))}. Give one of this machine: --tokenizer PATH."
    )


def _places(checkpoints: Sequence[Checkpoint], chosen: ChosenSteps | None) -> list[HubPath]:
    """The last step, the first, and their main branches."""
    steps: dict[int, HubPath] = {}
    others: list[HubPath] = []
    for checkpoint in checkpoints:
        if isinstance(checkpoint.path, HubPath) and checkpoint.fault is None:
            place = HubPath.at(checkpoint.path.repository, checkpoint.path.revision)
            step = attempted(checkpoint.step)
            if isinstance(step, int):
                steps[step] = place
            else:
                others.append(place)
    wanted = sorted(steps if chosen is None else chosen.of(steps)[0])
    ends = [steps[step] for step in (*wanted[-1:], *wanted[:1])] + others[:1]
    return [*dict.fromkeys([*ends, *(HubPath.at(place.repository) for place in ends)])]


def _tokenizer_in(place: HubPath, names: Sequence[str]) -> Any:
    whole = cast(Path, place / _WHOLE)  # it has a Path's methods
    return read_tokenizer(whole) if names == (_WHOLE,) else _made(place)


def _made(place: HubPath) -> Any:
    """What transformers makes of the files of a tokenizer, and of no others."""
    with needs("hf"):
        from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place.repository, revision=place.commit)
    except Exception as fault:  # of any kind: it reads many formats
        raise ValueError(
            f"transformers makes no tokenizer of {place}: {without_token(fault)} Give one of this "
            "machine: --tokenizer PATH."
        ) from None
