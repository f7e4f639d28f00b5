"""What a token's text looks like: attributes that each vocabulary has."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from lightning_semgeom.attributes.coverage import Column

_LENGTHS = ((1, "1"), (2, "2"), (4, "3-4"), (8, "5-8"))


def surface_columns(texts: Sequence[str | None]) -> dict[str, Column]:
    """The surface attributes of tokens with these texts; see `AttributeTable.surface`."""
    columns = {"space": Column([_space(text) if text else None for text in texts])}
    words = [text and text.removeprefix(" ") for text in texts]
    for name, attribute in _ATTRIBUTES.items():
        columns[name] = Column([attribute(word) if word else None for word in words])
    return columns


def _space(text: str) -> str:
    """Whether a text begins with a space: `space` or `none`."""
    return "space" if text.startswith(" ") else "none"


def case(word: str) -> str | None:
    """lower, upper, capitalised or mixed; a word that is not all letters has none.

    Nor has one in a script without cases, or a single capital, which may be upper or capitalised.
    """
    if not word.isalpha() or word.lower() == word.upper():
        return None
    if word.islower():
        return "lower"
    if word.isupper():
        return "upper" if len(word) > 1 else None
    return "capitalised" if word[0].isupper() and word[1:].islower() else "mixed"


def _digits(word: str) -> str:
    return _how_many([character.isdigit() for character in word])


def _punctuation(word: str) -> str:
    return _how_many([unicodedata.category(character)[0] in "PS" for character in word])


def _how_many(hits: Sequence[bool]) -> str:
    return "all" if all(hits) else "some" if any(hits) else "none"


def _script(word: str) -> str | None:
    """The first word of the letters' Unicode names, such as Latin; a token of several has none."""
    found = {
        unicodedata.name(character, "unnamed").split()[0].split("-")[0]
        for character in word
        if character.isalpha()
    }
    return found.pop().capitalize() if len(found) == 1 else None


def _length(word: str) -> str:
    return next((name for most, name in _LENGTHS if len(word) <= most), "9 or more")


_ATTRIBUTES: dict[str, Callable[[str], str | None]] = {
    "case": case,
    "digits": _digits,
    "punctuation": _punctuation,
    "script": _script,
    "length": _length,
}
