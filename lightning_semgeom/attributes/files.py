"""Attribute files: a line for each row or word, or one for each word, attribute and value."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from lightning_semgeom.attributes.coverage import Column
from lightning_semgeom.attributes.delimited import Line, check_header, read_lines
from lightning_semgeom.attributes.numbers import Cut
from lightning_semgeom.attributes.row_ids import row_id, row_ids
from lightning_semgeom.attributes.values import columns_of
from lightning_semgeom.attributes.words import Words

_LONG = ["word", "attribute", "value"]
_ID_NAMES = {"id", "ids", "row", "row_id", "token_id", "tokenid", "class_id", "class"}


def read_columns(path: Path, missing: frozenset[str], cut: Cut | None) -> dict[str, Column]:
    """Read a wide CSV or TSV file into one column an attribute, None where there is no value.

    The first column names the rows. Where most of its entries are numbers they are row ids: lines
    may come in any order, and rows without a line are not labelled. Otherwise they are labels, and
    the first line after the header is row 0. Blank lines are no rows. Separators and quotes are
    those of `delimited.read_lines`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such table; the message names file, line and column.
    """
    header, lines = read_lines(path)
    if _is_long(header) or (_is_index(header, lines) and _is_long(header[1:])):
        raise ValueError(
            f"{path}: a file of words ('{' '.join(header).strip()}') needs a tokenizer, which "
            "knows their tokens: AttributeTable.from_file(path, tokenizer=...)."
        )
    _check_names(path, header)
    lines, rows = _rows(path, header, lines)
    check_header(path, header, lines)
    _check_index(path, header, lines, rows)
    found = _valued(path, header, lines, missing, cut)
    columns = {}
    for name, column in found.items():
        values: list[str | None] = [None] * (max(rows) + 1)
        for row, value in zip(rows, column.values, strict=True):
            values[row] = value
        _check_values(path, name, values)
        columns[name] = Column(values, column.left_out)
    return columns


def read_words(path: Path, missing: frozenset[str], cut: Cut | None) -> dict[str, Words]:
    """Read the values that each attribute gives to words.

    The file is long, with the columns `word`, `attribute` and `value`, or wide: the word, then one
    column an attribute. An index without a name before them, as pandas writes it, is passed over.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such table; the message names file, line and column.
    """
    header, lines = read_lines(path)
    lines = [line for line in lines if not line.is_blank]
    if _is_index(header, lines):
        header, lines = header[1:], [Line(line.number, line.cells[1:]) for line in lines]
    _check_words(path, lines)
    if _is_long(header):
        return _long(path, lines, missing, cut)
    _check_names(path, header)
    check_header(path, header, lines)
    words = [line.cells[0].strip() for line in lines]
    found = {}
    for name, column in _valued(path, header, lines, missing, cut).items():
        found[name] = _words(words, column)
    return found


def _long(
    path: Path, lines: Sequence[Line], missing: frozenset[str], cut: Cut | None
) -> dict[str, Words]:
    """Those of a file with a line for each word and attribute."""
    of_attribute: dict[str, list[Line]] = {}
    for line in lines:
        name = line.cells[1].strip()
        if not name:
            raise ValueError(f"{path}, line {line.number}, column 2: the attribute has no name.")
        of_attribute.setdefault(name, []).append(line)
    columns = columns_of(
        {name: [line.cells[2].strip() for line in found] for name, found in of_attribute.items()},
        missing,
        cut,
        lambda name, entry: f"{path}, line {of_attribute[name][entry].number}, column 3",
    )
    return {
        name: _words([line.cells[0].strip() for line in of_attribute[name]], column)
        for name, column in columns.items()
    }


def _words(words: Sequence[str], column: Column) -> Words:
    found: dict[str, set[str]] = {}
    for word, value in zip(words, column.values, strict=True):
        if value is not None:
            found.setdefault(word, set()).add(value)
    return Words(found, column.left_out.missing)


def _valued(
    path: Path,
    header: Sequence[str],
    lines: Sequence[Line],
    missing: frozenset[str],
    cut: Cut | None,
) -> dict[str, Column]:
    """The values of the columns after the first."""
    return columns_of(
        {
            name.strip(): [line.cells[column].strip() for line in lines]
            for column, name in enumerate(header[1:], start=1)
        },
        missing,
        cut,
        lambda name, entry: f"{path}, line {lines[entry].number}, column '{name}'",
    )


def _is_long(header: Sequence[str]) -> bool:
    return [name.strip().lower() for name in header] == _LONG


def _is_index(header: Sequence[str], lines: Sequence[Line]) -> bool:
    """Whether the first column is an index without a name."""
    is_unnamed = len(header) > 2 and not header[0].strip()
    return is_unnamed and all(line.is_blank or row_id(line.cells[0]) is not None for line in lines)


def _check_names(path: Path, header: Sequence[str]) -> None:
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


def _rows(path: Path, header: Sequence[str], lines: Sequence[Line]) -> tuple[list[Line], list[int]]:
    """The lines that are about rows, and the row that each is about."""
    named = [line for line in lines if not line.is_blank]
    if not named:
        raise ValueError(f"{path}: there is no line after the header.")
    column = f"column '{header[0]}'"
    rows = row_ids(
        [line.cells[0] for line in named],
        lambda entry: f"line {named[entry].number}",
        column,
        f"{path}, ",
    )
    if rows is not None:
        return named, rows
    seen: dict[str, int] = {}
    labelled = []
    for line in lines:
        label = line.cells[0]
        # A label may be a token that is white space; a line of it alone is a blank one.
        if line.is_blank and (not label or len(line.cells) != len(header)):
            if line.number < named[-1].number and len(line.cells) > 1:
                raise ValueError(
                    f"{path}, line {line.number}: is empty, and rows with labels are counted by "
                    "their lines. Give it a label if it is a row, or take it out."
                )
            continue
        if label in seen:
            raise ValueError(
                f"{path}, line {line.number}, {column}: '{label}' is there already, in line "
                f"{seen[label]}; each row has one line."
            )
        seen[label] = line.number
        labelled.append(line)
    return labelled, list(range(len(labelled)))


def _check_index(path: Path, header: Sequence[str], lines: Sequence[Line], rows: list[int]) -> None:
    """Tell what an index without a name may get wrong: it is no column of token or class ids."""
    if header[0].strip():
        return
    second = [row_id(line.cells[1]) for line in lines]
    name = header[1].strip().lower()
    if name in _ID_NAMES and None not in second and second != rows:
        raise ValueError(
            f"{path}: its first column has no name, as the index that pandas writes, and differs "
            f"from '{header[1]}', so which of them has the row ids is unknown. Leave the index "
            "out: df.to_csv(path, index=False)."
        )
    if rows == list(range(1, len(rows) + 1)):
        warnings.warn(
            f"AttributeTable: {path}: its first column has no name and counts the lines from 1 on, "
            "as R does; as row ids are counted from 0, row 0 is not labelled. If that is not "
            "meant, write the file without row names, or with row ids.",
            stacklevel=4,
        )


def _check_words(path: Path, lines: Sequence[Line]) -> None:
    for line in lines:
        if not line.cells[0].strip():
            raise ValueError(f"{path}, line {line.number}, column 1: the word is missing.")
    if not lines:
        raise ValueError(f"{path}: there is no line after the header.")
    if all(row_id(line.cells[0]) is not None for line in lines):
        raise ValueError(
            f"{path}: its first column has whole numbers alone, which are row ids and no words. "
            "Leave the tokenizer out."
        )


def _check_values(path: Path, name: str, column: Sequence[str | None]) -> None:
    values = {value for value in column if value is not None}
    if not values:
        raise ValueError(
            f"{path}, column '{name}': labels no row at all; all cells are empty or stand for no "
            "value."
        )
    if len(values) == 1:
        raise ValueError(
            f"{path}, column '{name}': has a single value, '{values.pop()}': nothing can be "
            "compared."
        )
