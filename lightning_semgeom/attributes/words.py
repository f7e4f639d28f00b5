"""From values of words to values of tokens."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_semgeom.attributes.coverage import Column, LeftOut
from lightning_semgeom.attributes.vocabulary import Vocabulary


def token_columns(
    words: Mapping[str, Mapping[str, set[str]]], vocabulary: Vocabulary
) -> dict[str, Column]:
    """Give each token the value of the word that it is, where that is one value.

    Args:
        words: for each attribute the values of each word.
        vocabulary: the tokens; the columns have an entry for each.
    """
    known = [*dict.fromkeys(word for of_attribute in words.values() for word in of_attribute)]
    tokens = dict(zip(known, vocabulary.single_tokens(known), strict=True))
    count = len(vocabulary.texts)
    return {name: _column(found, tokens, count) for name, found in words.items()}


def _column(
    words: Mapping[str, set[str]], token_of: Mapping[str, int | None], count: int
) -> Column:
    values_of: dict[int, set[str]] = {}
    for word, values in words.items():
        if (token := token_of[word]) is not None:
            # Two words may be one token, as where a tokenizer knows lower case alone.
            values_of.setdefault(token, set()).update(values)
    column: list[str | None] = [None] * count
    for token, values in values_of.items():
        if len(values) == 1:
            (column[token],) = values
    tokens = {word: token_of[word] for word in words}
    ambiguous = (w for w, token in tokens.items() if token is not None and column[token] is None)
    no_token = (word for word, token in tokens.items() if token is None)
    return Column(column, LeftOut(ambiguous=tuple(ambiguous), no_token=tuple(no_token)))
