"""What the tokens of a vocabulary stand for, and which words are a single token.

Byte-level BPE, SentencePiece and WordPiece each write the space before a word in their own way:
`Ġword`, `▁word`, and `##piece` where there is none. Here all of them are text: ` word`, `piece`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightning_semgeom.extras import needs

_BYTE_SPACE, _SENTENCE_SPACE, _CONTINUED = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}", "▁", "##"
_WORD_END = "</w>"
_FEWEST_MARKED = 0.01  # of all tokens; vocabularies of characters have each mark as one of them
_NO_TEXT = "\N{REPLACEMENT CHARACTER}"  # what a part of a character is decoded to
_UNUSED = re.compile(r"[\[<]unused\d+[\]>]")  # rooms that BERT's and Gemma's vocabularies keep free


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
            TypeError: if it is none of them, or writes its tokens in another way.
        """
        added = _added_tokens(tokenizer)
        ids: Mapping[str, int] = tokenizer.get_vocab()
        texts: list[str | None] = [None] * (max(ids.values(), default=-1) + 1)
        read = _reader(tokenizer, [*ids])
        for token, number in ids.items():
            texts[number] = None if _UNUSED.fullmatch(token) else read(token)
        for number, token in added.items():
            # SentencePiece writes runs of spaces as added tokens, in its own way.
            text = read(token.content) if read is _sentence_text else token.content
            is_none = token.special or _UNUSED.fullmatch(token.content)
            texts[number] = None if is_none else text
        for number in getattr(tokenizer, "all_special_ids", ()):
            texts[number] = None
        return cls(tuple(texts), _encoder(tokenizer))

    def single_tokens(self, words: Sequence[str]) -> list[int | None]:
        """The token that each word is: as ` word`, else as `word`, else as `Word`; or None.

        One a word, since ` word` and `Word` are alike for other reasons than what they mean.
        """
        known = [word for word in words if self.has_in_some_case(word)]
        forms = [form for word in known for form in _forms(word)]
        encoded = self.encode(forms) if forms else []  # transformers takes no empty list
        found: dict[str, int | None] = dict.fromkeys(words)
        for index, word in enumerate(known):
            single = [ids[0] for ids in encoded[3 * index : 3 * index + 3] if len(ids) == 1]
            # An unknown word is a single token, too, and stands for something else.
            texts = ((token, self.texts[token]) for token in single)
            meant = (token for token, text in texts if text and _bare(text) == _bare(word))
            found[word] = next(meant, None)
        return [found[word] for word in words]

    def has_in_some_case(self, word: str) -> bool:
        """Whether a token is the word but for its case and the space before it."""
        return _bare(word) in self._bare_texts

    @cached_property
    def _bare_texts(self) -> set[str]:
        return {_bare(text) for text in self.texts if text is not None} - {""}


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


def _reader(tokenizer: Any, tokens: Sequence[str]) -> Callable[[str], str | None]:
    """How the tokens of a vocabulary are read: the mark that most of them begin with tells it."""
    marks = {_BYTE_SPACE: _byte_text, _SENTENCE_SPACE: _sentence_text, _CONTINUED: _word_text}
    counts = {mark: sum(token.startswith(mark) for token in tokens) for mark in marks}
    mark = max(counts, key=lambda mark: counts[mark])
    ends = sum(token.endswith(_WORD_END) for token in tokens)
    if counts[mark] < max(_FEWEST_MARKED * len(tokens), ends):
        raise TypeError(
            f"the tokens of this {type(tokenizer).__name__} do not say where words begin: read are "
            f"byte-level BPE ('{_BYTE_SPACE}word'), SentencePiece ('{_SENTENCE_SPACE}word') and "
            f"WordPiece ('{_CONTINUED}piece'), and here are {sorted(tokens)[:3]}. Make the table "
            "by AttributeTable.from_dict or from a file of token ids."
        )
    return marks[mark]


def _byte_text(token: str) -> str | None:
    with needs("hf"):
        from tokenizers import decoders

    text: str = decoders.ByteLevel().decode([token])
    return None if _NO_TEXT in text else text


def _sentence_text(token: str) -> str | None:
    with needs("hf"):
        from tokenizers import decoders

    # Bytes that no other token covers are written as <0x0A>.
    text: str = decoders.ByteFallback().decode([token])
    return None if _NO_TEXT in text else text.replace(_SENTENCE_SPACE, " ")


def _word_text(token: str) -> str | None:
    continued = token.startswith(_CONTINUED) and token != _CONTINUED
    return token.removeprefix(_CONTINUED) if continued else f" {token}"


def encoder_of(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    """What turns texts into ids, without special tokens, and whole: neither cut nor padded.

    Raises:
        TypeError: if `tokenizer` is none of `tokenizers` or of `transformers`.
    """
    _added_tokens(tokenizer)
    return _encoder(tokenizer)


def _encoder(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    def encode(texts: list[str]) -> list[list[int]]:
        if not hasattr(tokenizer, "encode_batch"):
            # Said without `verbose`: a text is longer than what the model takes.
            told: Any = tokenizer(texts, add_special_tokens=False, verbose=False)
            ids: list[list[int]] = told["input_ids"]
            return ids
        with _whole(tokenizer):
            return [one.ids for one in tokenizer.encode_batch(texts, add_special_tokens=False)]

    return encode


@contextmanager
def _whole(tokenizer: Any) -> Iterator[None]:
    """Have a tokenizer cut and pad nothing; after it, it is as it was."""
    truncation, padding = tokenizer.truncation, tokenizer.padding
    tokenizer.no_truncation()
    tokenizer.no_padding()
    try:
        yield
    finally:
        if truncation is not None:
            tokenizer.enable_truncation(**truncation)
        if padding is not None:
            tokenizer.enable_padding(**padding)
