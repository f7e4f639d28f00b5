"""What a token is in Python source, from the interpreter's own lists."""

from __future__ import annotations

import builtins
import keyword
import string
import sys
from collections.abc import Sequence

from lightning_semgeom.attributes.coverage import Column


def python_columns(texts: Sequence[str | None]) -> dict[str, Column]:
    """The kind of tokens with these texts; see `AttributeTable.python_tokens`."""
    return {"kind": Column([None if text is None else _kind(text) for text in texts])}


def _kind(text: str) -> str | None:
    return "indentation" if text.isspace() else word_kind(text.removeprefix(" "))


def word_kind(word: str) -> str | None:
    """keyword, exception, builtin, module, number or operator; other words have none."""
    found = getattr(builtins, word, None)
    if keyword.iskeyword(word):
        return "keyword"
    if isinstance(found, type) and issubclass(found, BaseException):
        return "exception"
    if found is not None and not word.startswith("_"):
        return "builtin"
    if word in sys.stdlib_module_names and not word.startswith("_"):
        return "module"
    if word and all(character in string.digits for character in word):
        return "number"
    if word and all(character in string.punctuation for character in word):
        return "operator"
    return None
