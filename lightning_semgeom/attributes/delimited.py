"""The lines of a CSV or TSV file as cells, each with its number in the file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_semgeom.attributes.row_ids import is_number

_USUAL_NAMES = {"", "id", "row", "word", "token", "label", "class", "name", "text"}


@dataclass(frozen=True)
class Line:
    """One line after the header, which has several lines of the file where a quote does."""

    number: int
    """Of its first line in the file, from 1 on."""
    cells: list[str]
    """As they stand there."""

    @property
    def is_blank(self) -> bool:
        """Whether nothing stands in it."""
        return not any(cell.strip() for cell in self.cells)


def check_is_there(path: Path) -> None:
    """Raise a FileNotFoundError where there is no file at `path`."""
    if not path.is_file():
        raise FileNotFoundError(f"no attribute file at '{path}'.")


def read_lines(path: Path) -> tuple[list[str], list[Line]]:
    """The header of a file, and each further line that has a cell at all.

    The separator is a tab in .tsv and .tab files, a comma in .csv files, and in others a tab where
    the header has one. With commas, quotes are quotes; with tabs, where the header is quoted.
    Columns at the end that have neither name nor entry are not there.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file, or its lines differ in length.
    """
    header, lines = _read(path)
    width = len(header)
    while width > 1 and not any(
        cells[width - 1].strip()
        for cells in (header, *(line.cells for line in lines))
        if len(cells) >= width
    ):
        width -= 1
    for line in lines:
        while len(line.cells) > width and not line.cells[-1].strip():
            line.cells.pop()
        # What a spreadsheet leaves below its table may have any number of separators.
        if len(line.cells) != width and not line.is_blank:
            raise ValueError(
                f"{path}, line {line.number}: {len(line.cells)} columns, but the header has "
                f"{width}."
            )
    if not lines:
        raise ValueError(f"{path}: there is no line after the header.")
    return header[:width], lines


def check_header(path: Path, header: Sequence[str], lines: Sequence[Line]) -> None:
    """Refuse a first line that looks like the others: there is no header, and a row is lost.

    Raises:
        ValueError: if it does.
    """
    first, *others = (cell.strip() for cell in header)
    columns = list(zip(*(line.cells for line in lines), strict=True))
    found = [{cell.strip() for cell in column} for column in columns[1:]]
    # Columns of a DataFrame without names are called 0, 1, 2, ...
    are_counted = others == [str(column) for column in range(len(others))]
    are_entries = not are_counted and all(
        name in cells or (is_number(name) and all(is_number(cell) for cell in cells if cell))
        for name, cells in zip(others, found, strict=True)
    )
    if (is_number(first) and 2 * sum(map(is_number, columns[0])) > len(lines)) or (
        others and first.lower() not in _USUAL_NAMES and are_entries
    ):
        raise ValueError(
            f"{path}, line 1: looks like the lines below it ({', '.join(map(repr, header[:4]))}); "
            "expected a header with the names of the columns, such as 'id,colour'. Put one before "
            "it."
        )


def _read(path: Path) -> tuple[list[str], list[Line]]:
    check_is_there(path)
    lines, began = [], 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            while first and not first.strip():
                first = file.readline()
            file.seek(0)
            if _has_tabs(path, first) and not _is_quoted(first):
                # A quote is a token like others, and files with tabs have no need to quote.
                reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            else:
                delimiter = "\t" if _has_tabs(path, first) else ","
                reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                if cells:
                    lines.append(Line(began, cells))
                began = reader.line_num + 1
    except UnicodeDecodeError as fault:
        raise ValueError(f"{path}: not a UTF-8 text file ({fault}); save it as UTF-8.") from None
    except csv.Error as fault:
        raise ValueError(f"{path}, in the entry that begins in line {began}: {fault}.") from None
    if not lines:
        raise ValueError(f"{path}: the file is empty; expected a header and one line a row.")
    return lines[0].cells, lines[1:]


def _has_tabs(path: Path, first_line: str) -> bool:
    if path.suffix.lower() in (".tsv", ".tab"):
        return True
    return path.suffix.lower() != ".csv" and "\t" in first_line


def _is_quoted(first_line: str) -> bool:
    """Whether each cell of a line with tabs is quoted, as R writes them."""
    cells = first_line.strip("\r\n").split("\t")
    return all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
