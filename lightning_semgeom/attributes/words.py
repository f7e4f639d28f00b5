"""From values of words to values of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightning_semgeom.attributes.coverage import Column, LeftOut
from lightning_semgeom.attributes.vocabulary import Vocabulary


@dataclass(frozen=True)
class Words:
    """What one attribute says about words."""

    values: Mapping[str, set[str]]
    """The values of each word that has one."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """Texts that stand for no value: how many entries had them."""


def token_columns(words: Mapping[str, Words], vocabulary: Vocabulary) -> dict[str, Column]:
    """Give each token the value of the word that it is, where that is one value.

    A word that is no single token as it is written stands for the token of its lower case, if no
    other word does.

    Args:
        words: what each attribute says about words.
        vocabulary: the tokens; the columns have an entry for each.
    """
    known = [
        *dict.fromkeys(word for of_attribute in words.values() for word in of_attribute.values)
    ]
    tokens = dict(zip(known, vocabulary.single_tokens(known), strict=True))
    others = [word for word, token in tokens.items() if token is None and word != word.lower()]
    own = {token for token in tokens.values() if token is not None}
    for word, token in zip(
        others, vocabulary.single_tokens([word.lower() for word in others]), strict=True
    ):
        tokens[word] = token if token not in own else None
    unknown = [word for word, token in tokens.items() if token is None]
    other_case = {word for word in unknown if vocabulary.has_in_some_case(word)}
    return {name: _column(found, tokens, other_case, vocabulary) for name, found in words.items()}


def _column(
    words: Words,
    token_of: Mapping[str, int | None],
    other_case: set[str],
    vocabulary: Vocabulary,
) -> Column:
    values_of: dict[int, set[str]] = {}
    for word, values in words.values.items():
        if (token := token_of[word]) is not None:
            # Two words may be one token, as where a tokenizer knows lower case alone.
            values_of.setdefault(token, set()).update(values)
    column: list[str | None] = [None] * len(vocabulary.texts)
    for token, values in values_of.items():
        if len(values) == 1:
            (column[token],) = values
    tokens = {word: token_of[word] for word in words.values}
    ambiguous = (w for w, token in tokens.items() if token is not None and column[token] is None)
    unknown = [word for word, token in tokens.items() if token is None]
    return Column(
        column,
        LeftOut(
            ambiguous=tuple(ambiguous),
            no_token=tuple(word for word in unknown if word not in other_case),
            other_case=tuple(word for word in unknown if word in other_case),
            missing=words.missing,
        ),
    )
