"""The page's timelines: the gap of each attribute over log steps, one figure a site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.record.history import History
from lightning_semgeom.show.plots.style import COLOURS, GREY
from lightning_semgeom.show.report.runs import RunFiles

if TYPE_CHECKING:
    import plotly.graph_objects as go

_DASHES = ("solid", "dash", "dot", "dashdot")
_MARKS = (
    ("onset_step", "triangle-up", "onset"),
    ("peak_step", "star", "peak"),
    ("collapse_step", "triangle-down", "gone"),
)


def timelines(runs: Sequence[RunFiles]) -> dict[str, go.Figure]:
    """For each site of any run the gaps of all runs, with phase marks, and their asymmetry."""
    sites = dict.fromkeys(site for run in runs for site in run.history.sites)
    attributes = dict.fromkeys(a for run in runs for s in sites for a in run.history.attributes(s))
    colours = {a: COLOURS[number % len(COLOURS)] for number, a in enumerate(attributes)}
    return {site: _timeline(site, runs, colours) for site in sites}


def _timeline(site: str, runs: Sequence[RunFiles], colours: dict[str, str]) -> go.Figure:
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.05
    )
    marks: dict[str, list[tuple[int, float, str, str]]] = {mark: [] for mark, _, _ in _MARKS}
    for number, run in enumerate(runs):
        if site not in run.history.sites:
            continue
        suffix = f" · {run.name}" if len(runs) > 1 else ""
        _add_control(figure, run, site, suffix)
        dash = _DASHES[number % len(_DASHES)]
        for attribute in run.history.attributes(site):
            line = {"color": colours[attribute], "width": 2, "dash": dash}
            curve = run.history.curve(run.history.key(site, f"gap/{attribute}"))
            _add(figure, 1, curve, attribute + suffix, line)
            _collect(marks, run.history, site, attribute, curve, colours[attribute])
        line = {"color": "#777777", "width": 1.5, "dash": dash}
        curve = run.history.curve(run.history.key(site, "asymmetry"))
        _add(figure, 2, curve, "asymmetry" + suffix, line)
    for mark, symbol, name in _MARKS:
        _add_marks(figure, marks[mark], symbol, name)
    ticks = [digit * 10**power for power in range(9) for digit in (1, 2, 5)]
    figure.update_xaxes(
        type="log", gridcolor="#E8E8E8", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks]
    )
    figure.update_xaxes(title_text="optimizer steps + 1", row=2)
    figure.update_yaxes(gridcolor="#E8E8E8", zerolinecolor="#999999")
    figure.update_yaxes(title_text="gap (cosine)", row=1)
    figure.update_yaxes(title_text="asymmetry", row=2)
    figure.update_layout(
        height=470,
        margin={"l": 65, "r": 15, "t": 35, "b": 50},
        plot_bgcolor="white",
        paper_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#222222"},
        hovermode="closest",
    )
    return figure


def _add_control(figure: go.Figure, run: RunFiles, site: str, suffix: str) -> None:
    if run.control is None or site not in run.control.sites:
        return
    line = {"color": GREY, "width": 1, "dash": "dot"}
    for number, attribute in enumerate(run.control.attributes(site)):
        curve = run.control.curve(run.control.key(site, f"gap/{attribute}"))
        more = {"legendgroup": f"control{suffix}", "showlegend": number == 0}
        _add(figure, 1, curve, f"shuffled (control){suffix}", line, **more)


def _add(
    figure: go.Figure,
    row: int,
    curve: tuple[np.ndarray, np.ndarray],
    name: str,
    line: dict[str, Any],
    **more: Any,
) -> None:
    """A curve over steps + 1, so that step 0 has a place on the log axis."""
    import plotly.graph_objects as go

    steps, values = curve
    known = np.isfinite(values)
    figure.add_trace(
        go.Scatter(
            x=(steps[known] + 1).tolist(),
            y=values[known].tolist(),
            customdata=steps[known].tolist(),
            name=name,
            line=line,
            mode="lines",
            hovertemplate="step %{customdata}: %{y:.3f}",
            **more,
        ),
        row=row,
        col=1,
    )


def _collect(
    marks: dict[str, list[tuple[int, float, str, str]]],
    history: History,
    site: str,
    attribute: str,
    curve: tuple[np.ndarray, np.ndarray],
    colour: str,
) -> None:
    steps, values = curve
    milestones = history.milestones(site, attribute)
    for mark in marks:
        step = getattr(milestones, mark)
        for at in np.flatnonzero(steps == step):
            marks[mark].append((int(step), float(values[at]), colour, attribute))


def _add_marks(
    figure: go.Figure, marks: list[tuple[int, float, str, str]], symbol: str, name: str
) -> None:
    import plotly.graph_objects as go

    if not marks:
        return
    steps, values, colours, attributes = zip(*marks, strict=True)
    figure.add_trace(
        go.Scatter(
            x=[step + 1 for step in steps],
            y=values,
            customdata=[*zip(attributes, steps, strict=True)],
            name=name,
            mode="markers",
            marker={
                "symbol": symbol,
                "size": 14 if symbol == "star" else 11,
                "color": colours,
                "line": {"color": "black", "width": 1},
            },
            hovertemplate="%{customdata[0]}: " + name + " at step %{customdata[1]}",
        ),
        row=1,
        col=1,
    )
