"""Wide attribute files: a header, the row's id or label first, then one column an attribute."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

_LARGEST_ID = 10_000_000  # far above any vocabulary: a larger id is a number that is no row id


def read_columns(path: Path) -> dict[str, list[str | None]]:
    """Read a wide CSV or TSV file into one list an attribute, None where a cell is empty.

    The first column names the rows. Where all its entries are whole numbers they are row ids: lines
    may come in any order, and rows without a line are not labelled. Otherwise they are labels, and
    the first line after the header is row 0. The separator is a tab in .tsv and .tab files, a comma
    in .csv files, and in others a tab where the header has one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such table; the message names file, line and column.
    """
    header, lines = _read(path)
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
    for number, cells in lines:
        if len(cells) != len(header):
            raise ValueError(
                f"{path}, line {number}: {len(cells)} columns, but the header has {len(header)}."
            )
    if not lines:
        raise ValueError(f"{path}: there is no line after the header.")
    rows = _rows(path, header[0], [(number, cells[0].strip()) for number, cells in lines])
    columns: dict[str, list[str | None]] = {name: [None] * (max(rows) + 1) for name in names}
    for row, (_, cells) in zip(rows, lines, strict=True):
        for name, cell in zip(names, cells[1:], strict=True):
            columns[name][row] = cell.strip() or None
    _check_columns(path, columns)
    return columns


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each further line that is not blank with its number."""
    if not path.is_file():
        raise FileNotFoundError(f"no attribute file at '{path}'.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=_separator(path, first), strict=True)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError as fault:
        raise ValueError(f"{path}: not a UTF-8 text file ({fault}); save it as UTF-8.") from None
    except csv.Error as fault:
        raise ValueError(f"{path}, line {reader.line_num}: {fault}.") from None
    if not lines:
        raise ValueError(f"{path}: the file is empty; expected a header and one line a row.")
    return lines[0][1], lines[1:]


def _separator(path: Path, first_line: str) -> str:
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    return "\t" if path.suffix.lower() != ".csv" and "\t" in first_line else ","


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
    if not all(entry.isascii() and entry.isdigit() for _, entry in entries):
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


def _check_columns(path: Path, columns: dict[str, list[str | None]]) -> None:
    for name, cells in columns.items():
        values = {cell for cell in cells if cell is not None}
        if not values:
            raise ValueError(f"{path}, column '{name}': labels no row at all; all cells are empty.")
        if len(values) == 1:
            raise ValueError(
                f"{path}, column '{name}': has a single value, '{values.pop()}': nothing can be "
                "compared."
            )
