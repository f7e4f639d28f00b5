"""From values of words to values of tokens."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_semgeom.attributes.coverage import Column
from lightning_semgeom.attributes.vocabulary import Vocabulary


def token_column(words: Mapping[str, set[str]], vocabulary: Vocabulary) -> Column:
    """Give each token the value of the word that it is, where that is one value.

    Args:
        words: the values of each word.
        vocabulary: the tokens; the column has an entry for each.
    """
    tokens = dict(zip(words, vocabulary.single_tokens([*words]), strict=True))
    values_of: dict[int, set[str]] = {}
    for word, token in tokens.items():
        if token is not None:
            # Two words may be one token, as where a tokenizer knows lower case alone.
            values_of.setdefault(token, set()).update(words[word])
    values: list[str | None] = [None] * len(vocabulary.texts)
    for token, found in values_of.items():
        if len(found) == 1:
            (values[token],) = found
    ambiguous = (w for w, token in tokens.items() if token is not None and values[token] is None)
    no_token = (word for word, token in tokens.items() if token is None)
    return Column(values, tuple(ambiguous), tuple(no_token))
