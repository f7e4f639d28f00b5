"""A probe chosen for a table: windows of texts in which each value is met often enough.

Windows by chance have the frequent tokens many times and most values of a table hardly ever: what
is known of those in hidden states is then noise, or nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_semgeom.attributes.coverage import listed
from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.attributes.vocabulary import encoder_of
from lightning_semgeom.capture.asked import check_least
from lightning_semgeom.capture.cover import Numbers, Stream, Values, greedy_cover
from lightning_semgeom.kinds import checked_kinds

_CHARACTERS = 1 << 20  # encoded at once: what a tokenizer tells of each token is large
_NO_LABEL = -100


@dataclass(frozen=True, eq=False)
class TableProbe:
    """Batches as a probe takes them; printed, they say what they meet."""

    batches: tuple[dict[str, Tensor], ...]
    """`input_ids` and `labels`, int64 `[batch, context]` each."""
    met: Mapping[str, Mapping[str, int]]
    """Of each attribute how often each value is met."""
    asked: Mapping[str, Mapping[str, int]]
    """How often it was to be met."""
    shift_labels: bool
    """Whether the labels are the inputs themselves."""

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self.batches)

    @property
    def positions(self) -> int:
        """How many labels there are."""
        of_each = (batch["labels"][:, int(self.shift_labels) :] for batch in self.batches)
        return sum(int((labels >= 0).sum()) for labels in of_each)

    def check_use(self, shift_labels: bool, max_positions: int) -> None:
        """Raise a ValueError where labels would be those of other positions, or not all be read."""
        if shift_labels != self.shift_labels:
            raise ValueError(
                f"the batches of probe_from were made with shift_labels={self.shift_labels}, and "
                f"here shift_labels={shift_labels}: give both the same."
            )
        if max_positions < self.positions:
            raise ValueError(
                f"the batches of probe_from have {self.positions} labels, of which "
                f"max_positions={max_positions} would leave out some: give max_positions="
                f"{self.positions} here, or a smaller one to probe_from."
            )

    def lacking(self) -> list[str]:
        """The values that are met less often than asked, such as `colour=red 3 of 16`."""
        return [
            f"{name}={value} {met} of {self.asked[name][value]}"
            for name, values in self.met.items()
            for value, met in values.items()
            if met < self.asked[name][value]
        ]

    def __str__(self) -> str:
        windows = sum(len(batch["input_ids"]) for batch in self.batches)
        length = self.batches[0]["input_ids"].shape[1]
        lines = [f"{windows} window{'s' if windows > 1 else ''} of {length} tokens"]
        for name, met in self.met.items():
            short = [v for v, count in met.items() if count < self.asked[name][v]]
            enough = len(met) - len(short)
            told = [f"{v} {met[v]} of {self.asked[name][v]}" for v in short]
            lines.append(
                f"  {name}: {enough} of {len(met)} values as often as asked"
                + (f"; {listed(told)}" if told else "")
            )
        return "\n".join(lines)


@checked_kinds
def probe_from(
    texts: Iterable[str],
    tokenizer: Any,
    table: AttributeTable,
    *,
    per_value: int = 16,
    per_token: int = 1,
    context: int = 128,
    shift_labels: bool = False,
    max_positions: int = 8192,
    batch_size: int = 8,
) -> TableProbe:
    """Pick windows of texts that meet each value of a table: a probe for hidden states.

    The texts' tokens, one text after the other and without special tokens, are cut into windows in
    which each of them but the very first is the label of one position. Taken are as few windows as
    a greedy cover needs, the best one first. Nothing is drawn: the same texts give the same probe
    in all processes. It takes one pass over the texts, which may be a generator, and 4 bytes a
    token of them (8 for a moment).

    A hidden site has one row for each token that is a label, so a value needs several tokens.

    Args:
        texts: such as documents of the training text, or better of text that is held out.
        tokenizer: the model's, of `tokenizers` or `transformers`.
        table: which token has which value of which attribute; row i is token id i.
        per_value: how many labels of each value are wanted, of all that its tokens can give.
        per_token: how many of them may be of one token: 1 asks for as many different tokens. With
            `per_token=3` and a `per_value` above all, each labelled token is met three times.
        context: tokens a window.
        shift_labels: as the probe's user has it: True where labels are the inputs themselves, False
            where the label of each position is the next token.
        max_positions: most labels of the whole probe: no more than its user takes.
        batch_size: windows a batch.

    Returns:
        Batches for `SemanticGeometry(probe=...)` and `snapshot(data=...)`: dicts of `input_ids` and
        `labels`, int64 `[batch, context]`. Its `met` and `asked` say how often values are met and
        were to be; where they are met less often, a warning names them.

    Raises:
        ValueError: if the texts are none, or have too few tokens for a window, or none that the
            table labels, or a number is too small.
        TypeError: if the tokenizer is none.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> words = {word: number for number, word in enumerate(["ant", "bee", "ash", "elm"])}
        >>> tokenizer = Tokenizer(models.WordLevel(words, unk_token="ant"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> table = AttributeTable.from_dict({"kind": ["animal", "animal", "plant", "plant"]})
        >>> texts = ["ant ant ant ant", "ant bee ash elm ash"]
        >>> probe = probe_from(texts, tokenizer, table, per_value=2, context=4)
        >>> probe.batches[0]["labels"]
        tensor([[1, 2, 3, 2],
                [0, 0, 0, 0]])
        >>> probe.met
        {'kind': {'animal': 2, 'plant': 2}}
    """
    check_least(
        "probe_from",
        per_value=(per_value, 1),
        per_token=(per_token, 1),
        context=(context, 2),
        batch_size=(batch_size, 1),
    )
    labels = context - 1 if shift_labels else context
    if max_positions < labels:
        raise ValueError(
            f"probe_from: max_positions must be {labels} or more, the labels of one window of "
            f"context={context}: {max_positions}."
        )
    stream = Stream(_encoded(texts, encoder_of(tokenizer)), labels)
    if len(stream.tokens) <= labels:
        raise ValueError(
            f"probe_from: the texts have {len(stream.tokens)} tokens, and a window of "
            f"context={context} takes {labels + 1}. Give more text or a smaller context."
        )
    values = Values(table.codes.cpu().numpy(), table.num_values, per_token)
    there = values.within(stream.tokens[1:])
    if not there.any():
        raise ValueError(
            f"probe_from: none of the {len(stream.tokens)} tokens of the texts has a value in the "
            f"table of {len(table)} rows. Was it made for another tokenizer?"
        )
    asked = np.minimum(values.sizes() * per_token, per_value)
    values.ask(np.minimum(asked, there))
    taken = greedy_cover(stream, values, max_positions // labels)
    batches = tuple(
        _batch(stream, taken[first : first + batch_size], shift_labels)
        for first in range(0, len(taken), batch_size)
    )
    met, wanted = _by_value(table, values.met), _by_value(table, asked)
    probe = TableProbe(batches, met, wanted, bool(shift_labels))
    if lacking := probe.lacking():
        advice = []
        if (there < asked).any():
            advice.append("The texts do not have all of them: give more text.")
        if values.left.any():
            advice.append(
                f"max_positions={max_positions} has no room for more: give a larger one here and "
                "where the probe is used."
            )
        warnings.warn(
            f"probe_from: {len(lacking)} of {values.count} values are met less often than asked: "
            f"{listed(lacking)}. {' '.join(advice)}",
            stacklevel=3,
        )  # `checked_kinds` lies between
    return probe


def _by_value(table: AttributeTable, counts: Numbers) -> dict[str, dict[str, int]]:
    """Counts `[V]` by attribute and value."""
    left = iter(counts.tolist())
    return {
        name: {value: next(left) for value in values}
        for name, values in zip(table.names, table.values, strict=True)
    }


def _batch(stream: Stream, windows: list[int], shift_labels: bool) -> dict[str, Tensor]:
    tokens = torch.from_numpy(stream.spans(windows))
    inputs, labels = (tokens, tokens.clone()) if shift_labels else (tokens[:, :-1], tokens[:, 1:])
    labels = labels.clone()
    first = labels.shape[1] - stream.labels  # where labels are the inputs, nothing predicts one
    for row, repeated in enumerate(stream.repeated(windows).tolist()):
        labels[row, : first + repeated if repeated else 0] = _NO_LABEL
    return {"input_ids": inputs.contiguous(), "labels": labels}


def _encoded(
    texts: Iterable[str], encode: Callable[[list[str]], list[list[int]]]
) -> NDArray[np.int32]:
    """The tokens of all texts, int32 `[n]`."""
    if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
        advice = ": texts=[text]" if isinstance(texts, str) else ""
        raise ValueError(
            "probe_from: texts must be several texts, as a list or a generator has them; got a "
            f"{type(texts).__name__}{advice}."
        )
    parts = [
        np.fromiter(chain.from_iterable(encode(group)), dtype=np.int32) for group in _groups(texts)
    ]
    return np.concatenate([np.zeros(0, dtype=np.int32), *parts])


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in their order, so many at once that they are about `_CHARACTERS` long."""
    group, size = [], 0
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"probe_from: each of texts must be a str; number {number} is a "
                f"{type(text).__name__}."
            )
        for piece in _pieces(text):
            group.append(piece)
            size += len(piece)
            if size >= _CHARACTERS:
                yield group
                group, size = [], 0
    if group:
        yield group


def _pieces(text: str) -> Iterator[str]:
    """A text that is too long to be encoded at once, cut at ends of lines where it has them."""
    start = 0
    while len(text) - start > _CHARACTERS:
        end = text.rfind("\n", start, start + _CHARACTERS) + 1
        if end <= start:
            end = start + _CHARACTERS
        yield text[start:end]
        start = end
    yield text[start:]
