"""What `analyze --text` asks for: a model, a text that goes through it, and where to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.hidden import HiddenAsked
from lightning_semgeom.commands.built import Built
from lightning_semgeom.commands.text import text_batches


@dataclass(frozen=True)
class TextChosen:
    """The options of the command."""

    file: Path
    hidden: Sequence[str]
    """Names or globs; none: the layers."""
    context: int
    """Tokens of a context."""
    batches: int
    """Most batches."""


def hidden_of(
    chosen: TextChosen, tokenizer: Any, checkpoints: Sequence[Checkpoint]
) -> tuple[HiddenAsked, list[str]]:
    """What is to be measured, and what there is too little of, a line each.

    Raises:
        ValueError, OSError: if the model cannot be built, or the text gives no context for it.
    """
    built = Built.of(checkpoints)
    built.check_context(chosen.context)
    batches, note = text_batches(
        chosen.file, tokenizer, chosen.context, chosen.batches, built.masked
    )
    asked = HiddenAsked(
        built.maker(), chosen.hidden, batches, shift_labels=not built.masked, check=built.check
    )
    return asked, [] if note is None else [note]
