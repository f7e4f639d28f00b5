"""Final models as the command measures them: figures, control, nearest tokens and a page."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.checkpoints.analysis import NAME
from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.hidden import HiddenAsked
from lightning_semgeom.checkpoints.looks import Look, look_at
from lightning_semgeom.commands.analyze import with_control
from lightning_semgeom.geometry.directions import directions
from lightning_semgeom.record.history import History
from lightning_semgeom.record.summary import text_table
from lightning_semgeom.show.moment import MOMENT_HEADER, moment_cells, moment_sentence
from lightning_semgeom.show.report.page import write_report
from lightning_semgeom.show.report.runs import find_runs
from lightning_semgeom.stores import write

_MOST_VALUES = 20  # of which the nearest tokens are printed; the file has all
_NEAREST = 8


@dataclass(frozen=True)
class LookedAt:
    """What one model left."""

    name: str
    """As much of its path as tells it from the others."""
    folder: Path
    """Where its histories and directions are."""
    history: History
    """One record."""
    control: History
    """The same with shuffled attributes."""
    nearest: list[str]
    """Lines: the tokens nearest to the directions that explain most; none without names."""


def run_looks(
    checkpoints: Sequence[Checkpoint],
    table: AttributeTable,
    tensor: str | None,
    out: Path,
    tokens: Sequence[str] | None,
    asked: HiddenAsked | None = None,
    tell: Callable[[str], object] | None = None,
) -> tuple[list[LookedAt], list[str]]:
    """Measure models without steps, with attributes and control, and draw what was found.

    Args:
        checkpoints: of models that do not belong together.
        table: the attributes.
        tensor: name of the weight; None: it is found.
        out: where a folder for each model and the page go.
        tokens: the names of the table's rows; None: they have none.
        asked: as for `look_at`.
        tell: as for `look_at`.

    Returns:
        What each model left, and what was wrong with others, a line each.

    Raises:
        ValueError: if none can be measured.
        ModuleNotFoundError: if what draws is not installed.
        OSError: if `out` cannot be written.
    """
    import_module("plotly")  # better told now than after an hour of reading
    tables = with_control(table)
    looks, faults = look_at(checkpoints, tables, tensor, asked, tell)
    found = []
    for look in looks:
        folder = out / look.name.replace("/", "_")
        history, shuffled = (look.snapshots[name].save(folder / name) for name in tables)
        nearest = _write_directions(look, table, tokens, folder / "directions.csv")
        found.append(LookedAt(look.name, folder, history, shuffled, nearest))
    write_report(find_runs([one.folder for one in found]), out / "report.html")
    return found, faults


def words(looks: Sequence[LookedAt]) -> str:
    """All models in a table, then each in words with its nearest tokens."""
    several = len(looks) > 1
    rows = [
        (look.name, *row) if several else row
        for look in looks
        for history, mark in ((look.history, ""), (look.control, " (shuffled)"))
        for row in moment_cells(history, mark)
    ]
    parts = [text_table(("model", *MOMENT_HEADER) if several else MOMENT_HEADER, rows, 2 + several)]
    for look in looks:
        sentence = moment_sentence(look.history, look.control)
        parts.append(f"{look.name}: {sentence}" if several else sentence)
        if look.nearest:
            parts.append("\n".join(["Nearest to the direction of each value:", *look.nearest]))
    return "\n\n".join(parts)


def _write_directions(
    look: Look, table: AttributeTable, tokens: Sequence[str] | None, file: Path
) -> list[str]:
    """Write the direction of each value, those that explain most first; lines to print of them."""
    site, *_ = look.snapshots[NAME].sites
    rows, _ = look.snapshots[NAME].rows(site)
    found = directions(rows, table, tokens, nearest=_NEAREST)
    ordered = sorted(found.items(), key=lambda item: -item[1].explained)
    lines = StringIO(newline="")
    writer = csv.writer(lines)
    writer.writerow(["attribute", "value", "explained", "nearest"])
    for (attribute, value), direction in ordered:
        near = " | ".join(direction.nearest)
        writer.writerow([attribute, value, f"{direction.explained:.6f}", near])
    write(file, lines.getvalue().encode())
    if tokens is None:
        return []
    return [
        f"  {attribute} {value}: {'  '.join(map(repr, direction.nearest))}"
        for (attribute, value), direction in ordered[:_MOST_VALUES]
    ]
