"""What people give in the place of an AttributeTable, and what to make of it."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

from lightning_semgeom.attributes.table import AttributeTable


def check_is_table(table: object, whose: str, takes_file: bool = False) -> None:
    """Raise a ValueError, with advice, unless `table` is an AttributeTable.

    Args:
        table: what was given as the argument `attributes`.
        whose: what has that argument.
        takes_file: whether there is an argument `attributes_file` for a path.
    """
    if isinstance(table, AttributeTable):
        return
    advice = "AttributeTable.from_dict({'colour': ['red', 'blue', None, ...], ...})"
    if isinstance(table, str | PathLike):
        advice = f"AttributeTable.from_file('{table}')"
        advice = f"attributes_file='{table}', or {advice}" if takes_file else advice
    elif isinstance(table, Mapping) or hasattr(table, "columns"):
        advice = "AttributeTable.from_dict(attributes)"
    got = type(table).__name__
    raise ValueError(f"{whose}: attributes is an AttributeTable; got a {got}: {advice}.")
