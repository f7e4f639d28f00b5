"""The texts that stand for "no value" in data: one list for dicts, files, words and numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable

# What pandas.read_csv, R, numpy and spreadsheets take or write as missing. "none" is not among
# them: people mean a value by it, as `surface` does.
MISSING = frozenset(
    (
        *("", "NA", "na", "N/A", "n/a", "N.A.", "n.a.", "<NA>", "#N/A", "#NA", "#N/A N/A", "NaT"),
        *("NaN", "nan", "NAN", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
        *("NULL", "Null", "null", "None", "--"),
    )
)
_NO_NUMBERS = ("none", "-", ".")  # values as others are, but not among numbers


def checked_missing(missing: Collection[str]) -> frozenset[str]:
    """The texts that stand for no value, the empty one among them.

    Raises:
        TypeError: if it is a single text, whose letters would be taken, or holds what is no text.
    """
    texts = () if isinstance(missing, str) else tuple(missing)
    if isinstance(missing, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(
            "missing must be a collection of the texts that stand for no value, such as "
            f"{{'NA', '?'}}; got {missing!r}."
        )
    return frozenset(text.strip() for text in texts) | {""}


def is_missing(text: str, missing: Collection[str]) -> bool:
    """Whether a text stands for no value."""
    return text.strip() in missing


def missing_numbers(missing: Iterable[str]) -> frozenset[str]:
    """The lower case of what stands for no value among numbers, where case means nothing."""
    return frozenset((*(text.lower() for text in missing), *_NO_NUMBERS))
