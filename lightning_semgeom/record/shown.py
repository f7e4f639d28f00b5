"""What a history says of itself where it is printed, or stands last in a cell of a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_semgeom.record.history import History


def in_text(history: History) -> str:
    """Records, and the table of phases."""
    from lightning_semgeom.record.summary import table_of

    return f"{_headline(history)}\n{table_of(history)}" if history.sites else _headline(history)


def in_html(history: History) -> str:
    """The same as HTML."""
    from lightning_semgeom.record.summary import HEADER, cells, summaries

    lines = [[*HEADER], *(cells(summary) for summary in summaries(history))]
    rows = ["".join(f"<td>{escape(cell)}</td>" for cell in line) for line in lines]
    head = rows[0].replace("td>", "th>")
    body = "".join(f"<tr>{row}</tr>" for row in rows[1:])
    return (
        f"<p>{escape(_headline(history))}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _headline(history: History) -> str:
    steps = [record.step for record in history]
    if not steps:
        return "History: no record yet"
    records = "1 record, of step" if len(steps) == 1 else f"{len(steps)} records, of steps"
    to = "" if len(steps) == 1 else f" to {steps[-1]}"
    where = "" if history.folder is None else f", in '{history.folder}'"
    return f"History: {records} {steps[0]}{to}{where}"
