"""Which column names rows by their ids, and which by labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_LARGEST_ID = 10_000_000  # far above any vocabulary: a larger id is a number that is no row id
_ID = re.compile(r"(\d+)(?:\.0*)?", re.ASCII)  # pandas writes 5 as 5.0 beside a missing one
_NUMBER = re.compile(
    r"[+-]?(?:\d+|\d{1,3}(?:[,'_ ]\d{3})+)(?:[.,]\d*)?(?:e[+-]?\d+)?|[+-]?\.\d+",
    re.ASCII | re.IGNORECASE,
)


def row_ids(
    entries: Sequence[str], place: Callable[[int], str], column: str, source: str = ""
) -> list[int] | None:
    """The row that each entry names, if most of them are numbers; None: they are labels.

    Args:
        entries: a column's, or an index'.
        place: where an entry stands in it, in words, by its number, such as `line 3`.
        column: which column that is, in words.
        source: what messages begin with, such as the file.

    Raises:
        ValueError: if most are numbers and one is no row id, too large, or there twice.
    """
    if 2 * sum(map(is_number, entries)) <= len(entries):
        return None
    found: dict[int, int] = {}
    for number, entry in enumerate(entries):
        at, row = f"{source}{place(number)}, {column}", row_id(entry)
        if row is None:
            raise ValueError(
                f"{at}: '{entry.strip()}' is no row id, though most entries "
                "there are numbers; expected a whole number from 0 on, in digits alone. Correct it "
                "or leave it out; if they are labels, put a column of row ids before them."
            )
        if row > _LARGEST_ID:
            raise ValueError(
                f"{at}: {entry.strip()} is too large for a row id (at most "
                f"{_LARGEST_ID}); row ids are token or class ids, counted from 0."
            )
        if row in found:
            raise ValueError(
                f"{at}: row {row} is there already, in {place(found[row])}; each row is named once."
            )
        found[row] = number
    return list(found)


def row_id(entry: str) -> int | None:
    """The row id that an entry is, `5` or `5.0`; None if it is none."""
    found = _ID.fullmatch(entry.strip())
    return int(found[1]) if found else None


def is_number(entry: str) -> bool:
    """Whether an entry is written as a number: `5`, `5.0`, `-1`, `0.5`, `1,000`, `1e3`."""
    return _NUMBER.fullmatch(entry.strip()) is not None
