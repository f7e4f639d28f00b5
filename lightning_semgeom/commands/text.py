"""A text file as batches for a language model: as much as is needed, in contexts of one length.

Legend: b contexts of T tokens a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROWS = 4
"""Contexts of a batch."""
MASKED_EVERY = 7
"""Of how many positions one is hidden from a model of masked tokens."""
_MASKS = ("[MASK]", "<mask>")
_FIRST = 8  # characters read for each token that is needed, at first
Batch = dict[str, Tensor]


def text_batches(
    file: Path, tokenizer: Any, context: int, batches: int, masked: bool
) -> tuple[list[Batch], str | None]:
    """Batches of `input_ids` and `labels` `[b, T]`, and what there is too little of, in words.

    Where tokens are predicted from those before, the labels are the tokens; they go to the position
    before (`shift_labels`). `masked`: each seventh one is replaced by the mask and is a label.
    Special tokens are no labels.

    Raises:
        OSError, ValueError: if `file` is no text, or too short for one context, or the tokenizer
            has no mask.
    """
    wanted = ROWS * batches
    found = _contexts(file, tokenizer, context, wanted)
    mask = _mask_of(tokenizer) if masked else None
    rows = [_row(ids, special, mask) for ids, special in found]
    made = [
        {
            "input_ids": torch.tensor([ids for ids, _ in part]),
            "labels": torch.tensor([labels for _, labels in part]),
        }
        for part in _parts(rows)
    ]
    if len(rows) == wanted:
        return made, None
    return made, f"--text: '{file}' gives {len(rows)} of the {wanted} contexts of {context} tokens."


def _contexts(
    file: Path, tokenizer: Any, context: int, wanted: int
) -> list[tuple[list[int], list[int]]]:
    """Ids and marks of special tokens of the first contexts that are whole."""
    found: list[tuple[list[int], list[int]]] = []
    tokens, size = 0, _FIRST * context * wanted
    # More is read until there is enough: how many characters a token has is not known before.
    while True:
        text, is_all = _start_of(file, size)
        encoded = _encoded(tokenizer, text, context)
        tokens = sum(len(one.ids) for one in encoded)
        found = [(one.ids, one.special_tokens_mask) for one in encoded if len(one.ids) == context]
        if is_all or len(found) > wanted:  # the last word may be cut
            break
        size *= 2
    if not found:
        raise ValueError(
            f"--text: '{file}' has {tokens} tokens; a context has {context}. Give a longer text or "
            "a shorter --context."
        )
    return found[:wanted]


def _start_of(file: Path, size: int) -> tuple[str, bool]:
    """The first `size` characters, and whether that is all."""
    try:
        with file.open(encoding="utf-8") as lines:
            text = lines.read(size)
    except UnicodeDecodeError:
        raise ValueError(f"--text: '{file}' cannot be read as UTF-8 text.") from None
    return text, len(text) < size


def _encoded(tokenizer: Any, text: str, context: int) -> list[Any]:
    """The encodings of one context each; the tokenizer is afterwards as it was."""
    truncation, padding = tokenizer.truncation, tokenizer.padding
    try:
        tokenizer.no_padding()
        tokenizer.enable_truncation(context)
        first = tokenizer.encode(text)
    finally:
        tokenizer.no_truncation()
        if truncation is not None:
            tokenizer.enable_truncation(**truncation)
        if padding is not None:
            tokenizer.enable_padding(**padding)
    return [first, *first.overflowing]


def _row(
    ids: Sequence[int], special: Sequence[int], mask: int | None
) -> tuple[list[int], list[int]]:
    """Inputs and labels of a context."""
    if mask is None:
        return [*ids], [-100 if s else i for i, s in zip(ids, special, strict=True)]
    inputs, labels = [*ids], [-100] * len(ids)
    usual = [position for position, s in enumerate(special) if not s]
    for position in usual[MASKED_EVERY - 1 :: MASKED_EVERY]:
        labels[position], inputs[position] = ids[position], mask
    return inputs, labels


def _mask_of(tokenizer: Any) -> int:
    for name in _MASKS:
        found: int | None = tokenizer.token_to_id(name)
        if found is not None:
            return found
    raise ValueError(
        f"--text: the model predicts tokens that are masked, and the tokenizer has no "
        f"{' or '.join(_MASKS)}."
    )


def _parts(rows: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(rows)
    while part := [*islice(left, ROWS)]:
        yield part
