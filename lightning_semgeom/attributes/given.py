"""What people give in the place of an AttributeTable, and what to make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, TypeAlias

from lightning_semgeom.attributes.table import AttributeTable

Attributes: TypeAlias = AttributeTable | Mapping[str, Sequence[Any]]
"""A table, or a dict of columns that makes one."""


def table_or_file(given: object, file: str | None, whose: str) -> AttributeTable | None:
    """The table that was given as `attributes`; None where `attributes_file` was given instead.

    Raises:
        ValueError: if both or none were given, and as `table_of` does.
    """
    if (given is None) == (file is None):
        raise ValueError(f"{whose}: give either attributes or attributes_file, and not both.")
    return None if given is None else table_of(given, whose, takes_file=True)


def table_of(given: object, whose: str, takes_file: bool = False) -> AttributeTable:
    """The table that was given, or the one that a dict of columns or a DataFrame makes.

    Args:
        given: what was given as the argument `attributes`.
        whose: what has that argument.
        takes_file: whether there is an argument `attributes_file` for a path.

    Raises:
        ValueError: if it is something else, or makes no table; the message has advice.
        TypeError: if a column is no sequence, or an entry no value.
    """
    if isinstance(given, AttributeTable):
        return given
    if isinstance(given, Mapping) or hasattr(given, "columns"):
        return AttributeTable.from_dict(given)
    advice = "AttributeTable.from_dict({'colour': ['red', 'blue', None, ...], ...})"
    if isinstance(given, str | PathLike):
        advice = f"AttributeTable.from_file('{given}')"
        advice = f"attributes_file='{given}', or {advice}" if takes_file else advice
    raise ValueError(
        f"{whose}: attributes is an AttributeTable, or a dict with a list for each attribute; got "
        f"a {type(given).__name__}: {advice}."
    )
