"""From the texts of columns to values: numbers cut in two, and what stands for no value left out.

An attribute is told where its values are shared by hardly any two rows, as those of ratings are.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from lightning_semgeom.attributes.coverage import Column, LeftOut, listed
from lightning_semgeom.attributes.missing import is_missing
from lightning_semgeom.attributes.numbers import Cut
from lightning_semgeom.attributes.row_ids import is_number

_MOST = 0.9  # of a column's values, for it to be one of numbers
_MANY = 30  # different fractions are measurements, however many rows share one
_FEW = 10  # rows, of which no two need to share a value: an example rather than data


def columns_of(
    texts: Mapping[str, Sequence[str | None]],
    missing: frozenset[str],
    cut: Cut | None,
    place: Callable[[str, int], str],
) -> dict[str, Column]:
    """The values of each attribute.

    Args:
        texts: the entries of each; None where there is none.
        missing: the texts that stand for no value.
        cut: where to cut columns of numbers.
        place: where an entry of an attribute stands, in words.

    Raises:
        ValueError: if there is something to cut and no column of numbers.
    """
    columns, odd = {}, {}
    for name, column in texts.items():
        halves = None if cut is None else cut.applied(column, missing)
        values = halves or [
            None if text is None or is_missing(text, missing) else text for text in column
        ]
        gone = Counter(
            text.strip()
            for text, value in zip(column, values, strict=True)
            if value is None and text is not None and text.strip()
        )
        columns[name] = Column(values, LeftOut(missing=gone))
        if cut is not None and halves is None:
            odd[name] = [
                entry
                for entry, value in enumerate(values)
                if value is not None and not is_number(value)
            ]
    if len(odd) == len(columns) and odd:
        name, entries = next(iter(odd.items()))
        shown = f", such as {texts[name][entries[0]]!r} ({place(name, entries[0])})"
        raise ValueError(
            "threshold and quantile cut columns of numbers, and there is none; each has an entry "
            f"that is no number{shown if entries else ''}."
        )
    for name, entries in odd.items():
        labelled = sum(value is not None for value in columns[name].values)
        if 0 < len(entries) <= (1 - _MOST) * labelled:
            warnings.warn(
                f"AttributeTable: '{name}' is not cut, since not all of its entries are numbers: "
                f"{place(name, entries[0])} has {texts[name][entries[0]]!r}. Correct it, or say "
                "by missing= that it stands for no value.",
                stacklevel=4,
            )
    return columns


def tell_unshared(columns: Mapping[str, Sequence[str | None]]) -> None:
    """Warn of attributes of which hardly two rows share a value: their figures mean nothing."""
    numbers, others = [], []
    for name, values in columns.items():
        counts = Counter(value for value in values if value is not None)
        rows, found = counts.total(), len(counts)
        are_numbers = sum(map(is_number, counts)) >= _MOST * found
        are_measured = found > _MANY and any("." in value for value in counts)
        if are_numbers and (
            found == rows > 2 or (rows >= _FEW and 2 * found > rows) or are_measured
        ):
            numbers.append(f"'{name}' has {found} different numbers for {rows} labelled rows")
        elif found == rows >= _FEW:
            others.append(f"'{name}' has {found} different values for {rows} labelled rows")
    if numbers:
        warnings.warn(
            "AttributeTable: each number is a value of its own, and SemanticGeometry compares rows "
            f"that share one: {listed(numbers)}. Cut such columns in two by threshold= or "
            "quantile= (--threshold or --quantile of the command), or leave them out by "
            "select(...).",
            stacklevel=3,
        )
    if others:
        warnings.warn(
            "AttributeTable: no two rows share a value, and SemanticGeometry compares rows that "
            f"do: {listed(others)}. Leave out what names rows, by select(...).",
            stacklevel=3,
        )
