"""The page's words and tables: of runs with their phases, or of one moment each."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lightning_semgeom.record.history import History
from lightning_semgeom.record.summary import HEADER, cells, sentence, summaries
from lightning_semgeom.show.moment import (
    MOMENT_HEADER,
    moment_cells,
    moment_sentence,
)
from lightning_semgeom.show.report.runs import RunFiles

_PHASES = """\
Steps of the optimizer at which structure appeared, peaked and was gone; gap: mean cosine of
rows that share a value of the attribute minus that of rows that do not; z: the peak's gap
against relabelling, in standard deviations."""
_LAYERS = """\
Gap of each layer, the mean over the attributes; a star where it is largest. Steps are a column
each, in their order; grey where it is undefined."""
_FIGURES = """\
Gap: mean cosine of rows that share a value of the attribute minus that of rows that do not; z: that
gap against relabelling, in standard deviations; strength: 0 for noise, 1 where the attribute is all
there is; partial gap: among rows that agree on all other attributes."""


def sentences(runs: Sequence[RunFiles], moment: bool) -> str:
    """Each run in words, a paragraph each; `moment`: each was looked at once."""
    say = moment_sentence if moment else sentence
    told = []
    for run in runs:
        name = f"<b>{escape(run.name)}.</b> " if len(runs) > 1 else ""
        told.append(f"<p>{name}{escape(say(run.history, run.control))}</p>")
    return "\n".join(told)


def moment_section(runs: Sequence[RunFiles]) -> str:
    """The figures of models that were looked at once."""
    rows = [
        (run.name, mark, row)
        for run in runs
        for history, mark in _measured(run)
        for row in moment_cells(history, mark)
    ]
    return _section("Figures", _table(MOMENT_HEADER, rows, len(runs) > 1), _FIGURES)


def phase_sections(runs: Sequence[RunFiles], sites: Sequence[str], layered: Sequence[str]) -> str:
    """The phases of runs, a place for the layers of those in `layered`, and for each timeline."""
    several = len(runs) > 1
    rows = [
        (run.name, mark, cells(summary, mark))
        for run in runs
        for history, mark in _measured(run)
        for summary in summaries(history)
    ]
    above = (
        f'<tr><th colspan="{5 + several}"></th><th colspan="3" class="gap">gap</th><th></th></tr>'
    )
    drawn = "\n".join(_timeline(number, site) for number, site in enumerate(sites))
    return (
        _section("Phases", _table(HEADER, rows, several, above), _PHASES)
        + _layers(layered, several)
        + f"\n<section>\n<h2>Timeline</h2>\n{drawn}\n</section>"
    )


def _measured(run: RunFiles) -> list[tuple[History, str]]:
    """The history of a run and that of its control, each with what follows its attributes."""
    control = [] if run.control is None else [(run.control, " (shuffled)")]
    return [(run.history, ""), *control]


def _section(title: str, table: str, note: str) -> str:
    return (
        f'<section>\n<h2>{title}</h2>\n<div class="wide">{table}</div>\n'
        f'<p class="note">{note}</p>\n</section>'
    )


def _table(
    header: Sequence[str],
    rows: Sequence[tuple[str, str, Sequence[str]]],
    several: bool,
    above: str = "",
) -> str:
    """Rows of a run's name, the mark of a control and cells."""
    head = "".join(f"<th>{name}</th>" for name in (*(("run",) if several else ()), *header))
    lines = []
    for name, mark, row in rows:
        columns = "".join(f"<td>{escape(c)}</td>" for c in (*((name,) if several else ()), *row))
        lines.append(f"<tr{' class=control' if mark else ''}>{columns}</tr>")
    body = "\n".join(lines)
    kind = " class=several" if several else ""
    return f"<table{kind}><thead>{above}<tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"


def _layers(names: Sequence[str], several: bool) -> str:
    """A place for the map of each run in `names`; nothing where there is none."""
    if not names:
        return ""
    places = "\n".join(
        (f"<h3>{escape(name)}</h3>\n" if several else "")
        + f'<div class="plot layers" id="layers-{number}" role="img" '
        f'aria-label="Mean gap of each layer of {escape(name)} by step"></div>'
        for number, name in enumerate(names)
    )
    return f'\n<section>\n<h2>Layers</h2>\n{places}\n<p class="note">{_LAYERS}</p>\n</section>'


def _timeline(number: int, site: str) -> str:
    return (
        f'<h3>{escape(site)}</h3>\n<div class="plot timeline" id="timeline-{number}" '
        f'role="img" aria-label="Gap and asymmetry of {escape(site)} over steps"></div>'
    )
