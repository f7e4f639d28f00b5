"""What the tokens of a vocabulary stand for, and which words are a single token.

Byte-level BPE, SentencePiece and WordPiece each write the space before a word in their own way:
`Ġword`, `▁word`, and `##piece` where there is none. Here all of them are text: ` word`, `piece`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_BYTE_SPACE, _SENTENCE_SPACE, _CONTINUED = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}", "▁", "##"
_NO_TEXT = "\N{REPLACEMENT CHARACTER}"  # what a part of a character is decoded to
_UNUSED = re.compile(r"\[unused\d+\]")  # rooms that BERT's vocabularies keep free


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a tokenizer, by id."""

    texts: tuple[str | None, ...]
    """What each token stands for, with the space before it where it begins a word; None: special
    tokens, parts of a character, and ids without a token. WordPiece knows no spaces: what begins a
    word has one."""
    encode: Callable[[list[str]], list[list[int]]]
    """Turns texts into ids, without special tokens."""

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """The vocabulary of a tokenizer of `tokenizers` or of `transformers`.

        Raises:
            TypeError: if it is none of them.
        """
        added = _added_tokens(tokenizer)
        ids: Mapping[str, int] = tokenizer.get_vocab()
        tokens: list[str | None] = [None] * (max(ids.values(), default=-1) + 1)
        for token, number in ids.items():
            tokens[number] = token
        read = _reader([token for token in tokens if token is not None])
        texts = [None if token is None else read(token) for token in tokens]
        for number, token in added.items():
            texts[number] = None if token.special else token.content
        return cls(tuple(texts), _encoder(tokenizer))

    def single_tokens(self, words: Sequence[str]) -> list[int | None]:
        """The token that each word is: as ` word`, else as `word`, else as `Word`; or None.

        One a word, since ` word` and `Word` are alike for other reasons than what they mean.
        """
        tokens = {_bare(text) for text in self.texts if text is not None} - {""}
        known = [word for word in words if _bare(word) in tokens]
        encoded = self.encode([form for word in known for form in _forms(word)])
        found: dict[str, int | None] = dict.fromkeys(words)
        for index, word in enumerate(known):
            single = [ids[0] for ids in encoded[3 * index :][:3] if len(ids) == 1]
            # An unknown word is a single token, too, and stands for something else.
            texts = ((token, self.texts[token]) for token in single)
            meant = (token for token, text in texts if text and _bare(text) == _bare(word))
            found[word] = next(meant, None)
        return [found[word] for word in words]


def _forms(word: str) -> tuple[str, str, str]:
    return f" {word}", word, word[:1].upper() + word[1:]


def _bare(text: str) -> str:
    return text.strip().casefold()


def _added_tokens(tokenizer: Any) -> dict[int, Any]:
    """Tokens beside the model's own, with whether they are special."""
    for name in ("get_added_tokens_decoder", "added_tokens_decoder"):
        added = getattr(tokenizer, name, None)
        if added is not None and hasattr(tokenizer, "get_vocab"):
            return dict(added() if callable(added) else added)
    raise TypeError(
        f"tokenizer is a {type(tokenizer).__name__}; expected a tokenizers.Tokenizer or a "
        "tokenizer of transformers. A file is read by tokenizers.Tokenizer.from_file("
        "'tokenizer.json')."
    )


def _reader(tokens: Sequence[str]) -> Callable[[str], str | None]:
    """How the tokens of a vocabulary are read: the mark that most of them begin with tells it."""
    marks = {_BYTE_SPACE: _byte_text, _SENTENCE_SPACE: _sentence_text, _CONTINUED: _word_text}
    counts = {mark: sum(token.startswith(mark) for token in tokens) for mark in marks}
    mark = max(counts, key=lambda mark: counts[mark])
    return marks[mark] if counts[mark] else str


def _byte_text(token: str) -> str | None:
    from tokenizers import decoders

    text: str = decoders.ByteLevel().decode([token])
    return None if _NO_TEXT in text else text


def _sentence_text(token: str) -> str | None:
    from tokenizers import decoders

    # Bytes that no other token covers are written as <0x0A>.
    text: str = decoders.ByteFallback().decode([token])
    return None if _NO_TEXT in text else text.replace(_SENTENCE_SPACE, " ")


def _word_text(token: str) -> str | None:
    if _UNUSED.fullmatch(token):
        return None
    continued = token.startswith(_CONTINUED) and token != _CONTINUED
    return token.removeprefix(_CONTINUED) if continued else f" {token}"


def _encoder(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    def encode(texts: list[str]) -> list[list[int]]:
        if not hasattr(tokenizer, "encode_batch"):
            ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
            return ids
        return [
            [id_ for id_, is_text in zip(one.ids, one.attention_mask, strict=True) if is_text]
            for one in tokenizer.encode_batch(texts, add_special_tokens=False)
        ]

    return encode
