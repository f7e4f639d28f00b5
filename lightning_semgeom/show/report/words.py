"""The page's words and tables: of runs with their phases, or of one moment each."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lightning_semgeom.record.history import History
from lightning_semgeom.record.summary import HEADER, cells, notes, sentence, summaries
from lightning_semgeom.show.moment import (
    MOMENT_HEADER,
    moment_cells,
    moment_sentence,
)
from lightning_semgeom.show.report.runs import RunFiles

_TERMS = """\
A <b>run</b> is one training of one model. A <b>site</b> is a place in it where each token, or each
label, has a vector: its row. The <b>unembedding</b> (W) is the matrix that turns a hidden state
into a score for each token; <b>hidden</b> sites have what a layer puts out. An <b>attribute</b>
sorts rows by a meaning that they share: those of one colour, say, have one of its values."""
_GAP = """\
The <b>gap</b> of an attribute is the mean cosine of two rows that share a value, minus that of two
rows that do not: 0 where its meaning leaves no trace, and the larger, the more its values point
their own ways."""
_CURVES = """\
Each coloured curve is the gap of one attribute. A triangle that points up stands where it emerged,
a star at its peak, a triangle that points down where it was gone."""
_GREY = """\
Grey curves are the control: the same rows with shuffled attributes, which show what chance
gives."""
_ASYMMETRY = """\
<b>Asymmetry</b>, below, is 0 where the rows use all directions alike and 1 where they lie on one
line."""
_Z = """\
<b>z</b> tells which gap is large: how far it lies above what a relabelling gives, where the rows
keep their vectors and swap their values by lot, in standard deviations. Above 5 chance hardly
explains it."""
_PHASES = """\
Onset, peak and gone are steps of the optimizer. Where the last says <i>not yet</i>, the attribute
is past its peak, and some of its structure is left."""
_LAYERS = """\
Gap of each layer, the mean over the attributes; a star where it is largest. Steps are a column
each, in their order; grey where it is undefined."""
_FIGURES = """\
<b>Strength</b> is 0 for noise and 1 where the attribute is all there is. The <b>partial gap</b> is
the gap among rows that agree on all other attributes."""
_STOP = """\
Stop at the peak: <code>StopAfterPeak</code> ends a training when a peak is past, and puts its
weights back."""
_KEEP = """\
Keep the structure: <code>GeometryRegularizer</code> with <code>GramAnchor</code> holds it while
training goes on."""
_READ = """\
Read directions: <code>directions</code> gives the direction of each value and the tokens nearest to
it, <code>concepts</code> finds directions without attributes, <code>steer</code> adds one to a
layer."""
_FOLLOW = """\
See it come and go: <code>SemanticGeometry</code> follows a training, <code>analyze</code> the
checkpoints of one that is over."""


def terms(moment: bool) -> str:
    """What the words below it mean; `moment`: models were looked at once."""
    told = f"{_TERMS} {_GAP} {_Z}" if moment else _TERMS
    return f'<p class="read">{told}</p>'


def next_steps(moment: bool) -> str:
    """What to do with what was found; `moment`: models were looked at once."""
    told = (_READ, _FOLLOW) if moment else (_STOP, _KEEP, _READ)
    items = "\n".join(f"<li>{step}</li>" for step in told)
    return f"<section>\n<h2>What to do next</h2>\n<ul>\n{items}\n</ul>\n</section>"


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
    """A place for each timeline, the phases, and a place for the layers of those in `layered`."""
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
    gaps = (f"gap at {when}" for when in HEADER[5:8])
    table = _table(HEADER, rows, several, above, (*HEADER[:5], *gaps, *HEADER[8:]))
    return (
        _timelines(sites, any(run.control is not None for run in runs))
        + _section("Phases", table, f"{_PHASES} {_Z}", _notes(runs))
        + _layers(layered, several)
    )


def _timelines(sites: Sequence[str], has_control: bool) -> str:
    """How to read them, and a place for each; nothing where there is none."""
    if not sites:
        return ""
    read = " ".join((_GAP, _CURVES, *((_GREY,) if has_control else ()), _ASYMMETRY))
    drawn = "\n".join(_timeline(number, site) for number, site in enumerate(sites))
    return f'<section>\n<h2>Timeline</h2>\n<p class="read">{read}</p>\n{drawn}\n</section>\n'


def _notes(runs: Sequence[RunFiles]) -> list[str]:
    """What has to be known of each run's phases."""
    return [
        f"{run.name}: {note}" if len(runs) > 1 else note
        for run in runs
        for note in notes(run.history, summaries(run.history), run.control)
    ]


def _measured(run: RunFiles) -> list[tuple[History, str]]:
    """The history of a run and that of its control, each with what follows its attributes."""
    control = [] if run.control is None else [(run.control, " (shuffled)")]
    return [(run.history, ""), *control]


def _section(title: str, table: str, read: str, told: Sequence[str] = ()) -> str:
    """How to read a table, the table, and what else has to be known of it."""
    below = "".join(f'<p class="note">{escape(note)}</p>\n' for note in told)
    wide = f'<div class="wide" tabindex="0" role="region" aria-label="{title}">{table}</div>'
    return f'<section>\n<h2>{title}</h2>\n<p class="read">{read}</p>\n{wide}\n{below}</section>'


def _table(
    header: Sequence[str],
    rows: Sequence[tuple[str, str, Sequence[str]]],
    several: bool,
    above: str = "",
    alone: Sequence[str] | None = None,
) -> str:
    """Rows of a run's name, the mark of a control and cells.

    `alone` is what columns are called where nothing stands above the header; None: as there.
    """
    run = ("run",) if several else ()
    head = "".join(f"<th>{name}</th>" for name in (*run, *header))
    names = (*run, *(alone or header))
    lines = []
    for name, mark, row in rows:
        cells_of_row = (*((name,) if several else ()), *row)
        # On a phone each row is a list of its cells, and no header stands above them.
        columns = "".join(
            f'<td data-name="{column}">{escape(cell)}</td>'
            for column, cell in zip(names, cells_of_row, strict=True)
        )
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
