"""What a history, and the callback that takes it, say where they are printed.

In a notebook they stand last in a cell: then they are asked for HTML.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lightning_semgeom.record.history import History


class Follows(Protocol):
    """What SemanticGeometry has that is shown."""

    name: str
    attributes: Any
    attributes_file: str | None

    @property
    def history(self) -> History:
        """All records so far."""

    @property
    def phases(self) -> Iterable[tuple[str, str]]:
        """Each site with each attribute, once a fit has begun."""


def callback_in_text(callback: Follows) -> str:
    """The attributes, the sites, and the history."""
    return f"{_asked(callback)}\n{in_text(callback.history)}"


def callback_in_html(callback: Follows) -> str:
    """The same as HTML."""
    return f"<pre>{escape(_asked(callback))}</pre>{in_html(callback.history)}"


def _asked(callback: Follows) -> str:
    """Which attributes are followed, and where."""
    attributes = callback.attributes
    if attributes is None:
        attributes = f"attributes of '{callback.attributes_file}', which a fit reads"
    sites = ", ".join(dict.fromkeys(site for site, _ in callback.phases))
    where = f"sites: {sites or 'found when a fit begins'}"
    return f"SemanticGeometry '{callback.name}'\n{attributes}\n{where}"


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
