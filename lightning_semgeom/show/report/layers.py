"""The page's maps of layers: the mean gap of each of them at each step, a figure a run."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from lightning_semgeom.show.layers import layer_sites, layers_of
from lightning_semgeom.show.report.runs import RunFiles

if TYPE_CHECKING:
    import plotly.graph_objects as go

_COLOURS = ("#053061", "#4393c3", "#f7f7f7", "#d6604d", "#67001f")  # the page's own of Grams


def layer_maps(runs: Sequence[RunFiles]) -> dict[str, go.Figure]:
    """By the name of the run, for those that have two hidden sites or more."""
    return {run.name: _map(run) for run in runs if len(layer_sites(run.history)) > 1}


def _map(run: RunFiles) -> go.Figure:
    import plotly.graph_objects as go

    found = layers_of(run.history)
    steps = [f"{step:,}" for step in found.steps.tolist()]
    known = [[g if isfinite(g) else None for g in row] for row in found.values.round(6).tolist()]
    bar = {"title": {"text": "gap (cosine)", "side": "right"}, "thickness": 12}
    figure = go.Figure(
        go.Heatmap(
            z=known,
            x=steps,
            y=[*found.names],
            zmin=-found.largest,
            zmax=found.largest,
            colorscale=[[k / 4, colour] for k, colour in enumerate(_COLOURS)],
            colorbar=bar,
            hovertemplate="%{y} at step %{x}: %{z:.3f}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[steps[place] for _, place in found.peaks],
            y=[found.names[layer] for layer, _ in found.peaks],
            mode="markers",
            marker={
                "symbol": "star",
                "size": 11,
                "color": "white",
                "line": {"color": "black", "width": 1},
            },
            hovertemplate="%{y}: largest at step %{x}<extra></extra>",
        )
    )
    figure.update_xaxes(type="category", title_text="optimizer steps")
    figure.update_yaxes(type="category", title_text=found.around, automargin=True)
    figure.update_layout(
        height=min(160 + 22 * len(found.names), 900),
        margin={"l": 65, "r": 15, "t": 15, "b": 50},
        plot_bgcolor="#DDDDDD",
        paper_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#222222"},
        showlegend=False,
    )
    return figure
