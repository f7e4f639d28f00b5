"""Attribute files: a line for each row or word, or one for each word, attribute and value."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from lightning_semgeom.attributes.coverage import Column
from lightning_semgeom.attributes.numbers import Cut

_Cells = dict[str, list[tuple[str, str | None]]]
"""For each attribute the first entry of each line, and the line's value."""
_LONG = ["word", "attribute", "value"]
_LARGEST_ID = 10_000_000  # far above any vocabulary: a larger id is a number that is no row id


def read_columns(path: Path, cut: Cut | None) -> dict[str, Column]:
    """Read a wide CSV or TSV file into one column an attribute, None where a cell is empty.

    The first column names the rows. Where all its entries are whole numbers they are row ids: lines
    may come in any order, and rows without a line are not labelled. Otherwise they are labels, and
    the first line after the header is row 0. The separator is a tab in .tsv and .tab files, a comma
    in .csv files, and in others a tab where the header has one. With commas, quotes are quotes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such table; the message names file, line and column.
    """
    header, lines = _read(path)
    if _is_long(header):
        raise ValueError(
            f"{path}: a file of words ('{' '.join(header)}') needs a tokenizer, which knows their "
            "tokens: AttributeTable.from_file(path, tokenizer=...)."
        )
    cells = _cut(path, _wide_cells(path, header, lines), cut)
    rows = _rows(path, header[0], [(number, entries[0]) for number, entries in lines])
    columns = {}
    for name, column in cells.items():
        values: list[str | None] = [None] * (max(rows) + 1)
        for row, (_, value) in zip(rows, column, strict=True):
            values[row] = value
        _check_values(path, name, values)
        columns[name] = Column(values)
    return columns


def read_words(path: Path, cut: Cut | None) -> dict[str, dict[str, set[str]]]:
    """Read the values that each attribute gives to words.

    The file is long, with the columns `word`, `attribute` and `value`, or wide: the word, then one
    column an attribute. The separator is found as in `read_columns`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such table; the message names file, line and column.
    """
    header, lines = _read(path)
    cells = _cut(path, (_long_cells if _is_long(header) else _wide_cells)(path, header, lines), cut)
    _check_words(path, [(number, entries[0].strip()) for number, entries in lines])
    found: dict[str, dict[str, set[str]]] = {name: {} for name in cells}
    for name, column in cells.items():
        for word, value in column:
            if value is not None:
                found[name].setdefault(word, set()).add(value)
    return found


def _is_long(header: Sequence[str]) -> bool:
    return [name.strip().lower() for name in header] == _LONG


def _wide_cells(
    path: Path, header: Sequence[str], lines: Sequence[tuple[int, list[str]]]
) -> _Cells:
    """Those of a file with a column for each attribute."""
    names = [name.strip() for name in header[1:]]
    if not names:
        raise ValueError(
            f"{path}, line 1: only {len(header)} column; expected the row's id or label and at "
            "least one attribute, separated by commas (.csv) or tabs (.tsv)."
        )
    for column, name in enumerate(names, start=2):
        if not name:
            raise ValueError(f"{path}, line 1, column {column}: the attribute has no name.")
        if name in names[: column - 2]:
            raise ValueError(f"{path}, line 1, column {column}: '{name}' is there twice.")
    _check_widths(path, header, lines)
    return {
        name: [(entries[0].strip(), entries[column].strip() or None) for _, entries in lines]
        for column, name in enumerate(names, start=1)
    }


def _long_cells(
    path: Path, header: Sequence[str], lines: Sequence[tuple[int, list[str]]]
) -> _Cells:
    """Those of a file with a line for each word and attribute."""
    _check_widths(path, header, lines)
    cells: _Cells = {}
    for number, entries in lines:
        word, name, value = (entry.strip() for entry in entries)
        if not name:
            raise ValueError(f"{path}, line {number}, column 2: the attribute has no name.")
        cells.setdefault(name, []).append((word, value or None))
    return cells


def _check_widths(
    path: Path, header: Sequence[str], lines: Sequence[tuple[int, list[str]]]
) -> None:
    for number, entries in lines:
        if len(entries) != len(header):
            raise ValueError(
                f"{path}, line {number}: {len(entries)} columns, but the header has {len(header)}."
            )
    if not lines:
        raise ValueError(f"{path}: there is no line after the header.")


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each further line that is not blank with its number."""
    if not path.is_file():
        raise FileNotFoundError(f"no attribute file at '{path}'.")
    lines, began = [], 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            if _has_tabs(path, first):
                # A quote is a token like others, and files with tabs have no need to quote.
                reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            else:
                reader = csv.reader(file, strict=True)
            for cells in reader:
                if cells:
                    lines.append((reader.line_num, cells))
                began = reader.line_num + 1
    except UnicodeDecodeError as fault:
        raise ValueError(f"{path}: not a UTF-8 text file ({fault}); save it as UTF-8.") from None
    except csv.Error as fault:
        raise ValueError(f"{path}, in the entry that begins in line {began}: {fault}.") from None
    if not lines:
        raise ValueError(f"{path}: the file is empty; expected a header and one line a row.")
    return lines[0][1], lines[1:]


def _has_tabs(path: Path, first_line: str) -> bool:
    if path.suffix.lower() in (".tsv", ".tab"):
        return True
    return path.suffix.lower() != ".csv" and "\t" in first_line


def _rows(path: Path, name: str, entries: Sequence[tuple[int, str]]) -> list[int]:
    """The row that each line is about."""
    seen: dict[str, int] = {}
    for number, entry in entries:
        if entry in seen:
            raise ValueError(
                f"{path}, line {number}, column '{name}': '{entry}' is there already, in line "
                f"{seen[entry]}; each row has one line."
            )
        seen[entry] = number
    if not all(_is_id(entry.strip()) for _, entry in entries):
        return list(range(len(entries)))
    ids: dict[int, int] = {}
    for number, entry in entries:
        row = int(entry)
        if row > _LARGEST_ID:
            raise ValueError(
                f"{path}, line {number}, column '{name}': {entry} is too large for a row id (at "
                f"most {_LARGEST_ID}); row ids are token or class ids, counted from 0."
            )
        if row in ids:
            raise ValueError(
                f"{path}, line {number}, column '{name}': row {row} is there already, in line "
                f"{ids[row]}; each row has one line."
            )
        ids[row] = number
    return list(ids)


def _cut(path: Path, cells: _Cells, cut: Cut | None) -> _Cells:
    """The cells with their numbers cut in two."""
    if cut is None:
        return cells
    values = {name: cut.applied([value for _, value in cells[name]]) for name in cells}
    if not any(values.values()):
        raise ValueError(
            f"{path}: threshold and quantile cut columns of numbers, and there is none; each has "
            "an entry that is no number."
        )
    return {
        name: [(entry, value) for (entry, _), value in zip(column, values[name] or (), strict=True)]
        if values[name]
        else column
        for name, column in cells.items()
    }


def _check_words(path: Path, words: Sequence[tuple[int, str]]) -> None:
    for number, word in words:
        if not word:
            raise ValueError(f"{path}, line {number}, column 1: the word is missing.")
    if all(_is_id(word) for _, word in words):
        raise ValueError(
            f"{path}: its first column has whole numbers alone, which are row ids and no words. "
            "Leave the tokenizer out."
        )


def _is_id(entry: str) -> bool:
    return entry.isascii() and entry.isdigit()


def _check_values(path: Path, name: str, column: Sequence[str | None]) -> None:
    values = {value for value in column if value is not None}
    if not values:
        raise ValueError(f"{path}, column '{name}': labels no row at all; all cells are empty.")
    if len(values) == 1:
        raise ValueError(
            f"{path}, column '{name}': has a single value, '{values.pop()}': nothing can be "
            "compared."
        )
