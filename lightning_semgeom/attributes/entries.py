"""The entries that a dict, a DataFrame or a Series has for each row, in the order of rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lightning_semgeom.attributes.row_ids import row_ids

_AS_LISTS = "Give one list an attribute, as df.to_dict(orient='list') does."


@dataclass(frozen=True)
class _Entries:
    """One attribute's."""

    entries: list[Any]
    rows: list[int] | None
    """The row of each, where an index of row ids says it; None: they stand in order."""

    @property
    def are_in_order(self) -> bool:
        return self.rows is None or self.rows == list(range(len(self.entries)))


def entries_of(columns: Any) -> dict[str, list[Any]]:
    """One list an attribute with an entry for each row; None where an index lacks the row.

    Args:
        columns: a mapping of names to sequences, Series or dicts of row ids; a DataFrame; a Series.

    Raises:
        TypeError: if it is nothing of this kind, as a string in place of a column.
        ValueError: if lengths differ, or an index is faulty.
    """
    found = {name: _entries(name, column) for name, column in _named(columns)}
    if all(one.are_in_order for one in found.values()):
        lengths = {name: len(one.entries) for name, one in found.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"'{name}' has {length}" for name, length in lengths.items())
            raise ValueError(f"all attributes must have one entry a row, the same number: {told}.")
        return {name: one.entries for name, one in found.items()}
    plain = [name for name, one in found.items() if one.rows is None]
    if plain:
        other = next(name for name, one in found.items() if not one.are_in_order)
        raise ValueError(
            f"the index of '{other}' has row ids that are not 0, 1, 2, ..., and '{plain[0]}' has "
            "none, so which of its entries belongs to which row is unknown. Give all of them one "
            "index, or none."
        )
    size = max(max(one.rows or (), default=-1) for one in found.values()) + 1
    placed: dict[str, list[Any]] = {}
    for name, one in found.items():
        placed[name] = [None] * size
        for row, entry in zip(one.rows or (), one.entries, strict=True):
            placed[name][row] = entry
    return placed


def _named(columns: Any) -> list[tuple[str, Any]]:
    """The name and the column of each attribute."""
    if isinstance(columns, Mapping):
        pairs = list(columns.items())
    elif hasattr(columns, "to_frame") and hasattr(columns, "name"):  # a Series
        if columns.name is None:
            raise TypeError("the Series has no name; give {'the attribute's name': series}.")
        pairs = [(columns.name, columns)]
    elif hasattr(columns, "columns") and hasattr(columns, "__getitem__"):  # a DataFrame
        names = list(columns.columns)
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the DataFrame has columns of one name: {', '.join(twice)}.")
        pairs = [(name, columns[name]) for name in names]
    else:
        raise TypeError(
            "columns must be a dict of one sequence an attribute, or a DataFrame; got a "
            f"{type(columns).__name__}. A file is read by AttributeTable.from_file. {_AS_LISTS}"
        )
    return [(str(name), column) for name, column in pairs]


def _entries(name: str, column: Any) -> _Entries:
    index: Any = None
    if isinstance(column, str | bytes | AbstractSet) or not isinstance(column, Iterable):
        raise TypeError(
            f"attribute '{name}' is a {type(column).__name__}, {str(column)[:40]!r}; expected a "
            f"sequence with one entry a row. {_AS_LISTS}"
        )
    if isinstance(column, Mapping):
        index, entries = list(column), list(column.values())
    else:
        entries = column.tolist() if isinstance(column, Tensor) else list(column)
        index = getattr(column, "index", None)  # lists have a method of this name
        index = None if callable(index) else index
    rows = None if index is None else _index(name, [str(label) for label in index])
    if isinstance(column, Mapping) and rows is None and entries:
        raise ValueError(
            f"attribute '{name}' is a dict whose keys are no row ids, such as {index[0]!r}; "
            f"expected 0, 1, 2, ... {_AS_LISTS} A file of words is read by "
            "AttributeTable.from_file(path, tokenizer=...)."
        )
    for row, entry in enumerate(entries):
        if not _is_nothing(entry) and not isinstance(entry, Hashable):
            raise TypeError(
                f"attribute '{name}', row {row}: a {type(entry).__name__}, {str(entry)[:40]}, is "
                f"no value; each row has one or none. {_AS_LISTS}"
            )
    return _Entries(entries, rows)


def _index(name: str, labels: Sequence[str]) -> list[int] | None:
    """The row ids of an index, where it has some; labels of another kind stand in order."""
    try:
        return row_ids(labels, lambda entry: f"entry {entry}", f"the index of '{name}'")
    except ValueError as fault:
        raise ValueError(
            f"{fault} If the entries are in the order of rows, drop the index: "
            "df.reset_index(drop=True)."
        ) from None


def _is_nothing(entry: object) -> bool:
    """Whether an object is no value: None, NaN, NaT, pandas.NA, a masked cell."""
    if entry is None or entry is np.ma.masked:
        return True
    try:
        return bool(entry != entry)  # NaN and NaT differ from themselves
    except TypeError:  # pandas.NA does not say whether it does
        return type(entry).__name__ == "NAType"
    except ValueError:  # an array says it for each element
        return False


def texts_of(entries: Iterable[Any]) -> list[str | None]:
    """The name of each entry's value; None where it has none, as None, NaN, NaT and NA have."""
    plain = (entry.item() if isinstance(entry, Tensor) else entry for entry in entries)
    known = [None if _is_nothing(entry) else entry for entry in plain]
    numbers = [entry for entry in known if isinstance(entry, float | np.floating)]
    # Beside a missing or a whole number pandas makes 1.0 of 1, which is the same value still.
    is_made = any(entry is None or _is_whole(entry) for entry in known)
    as_whole = is_made and all(float(number).is_integer() for number in numbers)
    return [_text(entry, as_whole) for entry in known]


def _is_whole(entry: object) -> bool:
    return isinstance(entry, int | np.integer) and not isinstance(entry, bool)


def _text(entry: object, as_whole: bool) -> str | None:
    if isinstance(entry, bytes):
        return entry.decode(errors="replace")
    if isinstance(entry, float | np.floating) and as_whole:
        return str(int(entry))
    return None if entry is None else str(entry)
