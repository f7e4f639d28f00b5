"""The answer of a metric class, or of several computations one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.show.plots.layout import Margins, few_ticks, panels
from lightning_semgeom.show.plots.style import COLOURS, bare_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    Values = Mapping[str, Tensor]

_MARGINS = Margins(left=0.8, right=0.15, bottom=0.55, top=0.15)


def draw_values(
    val: Values | Sequence[Values], names: Sequence[str], ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Bars of one answer, or curves of several.

    Args:
        val: figures by name, each a scalar or one for each attribute `[A]`.
        names: which figures to draw: those that share a scale.
        ax: where to draw; None for a new figure.
    """
    axis = panels(bare_figure(6, 3.6), _MARGINS)[0, 0] if ax is None else ax
    given = [val] if isinstance(val, Mapping) else val
    answers = [{name: _flat(answer[name]) for name in names} for answer in given]
    axis.axhline(0, color="#444444", linewidth=0.8)
    if isinstance(val, Mapping):
        _draw_bars(axis, answers[0])
    else:
        _draw_curves(axis, answers)
        axis.set_xlabel("computation")
    axis.legend(fontsize=8)
    axis.grid(True, axis="y", color="#EEEEEE")
    axis.set_axisbelow(True)
    few_ticks(axis, "y", 6)
    figure: Any = axis.get_figure(root=True)
    return figure, axis


def _flat(value: Tensor) -> np.ndarray:
    return np.atleast_1d(value.detach().double().cpu().numpy())


def _draw_bars(axis: Axes, answer: dict[str, np.ndarray]) -> None:
    width = 0.8 / max(len(answer), 1)
    for number, (name, values) in enumerate(answer.items()):
        places = np.arange(len(values)) + (number - (len(answer) - 1) / 2) * width
        bars = axis.bar(places, values, width, label=name, color=COLOURS[number % len(COLOURS)])
        axis.bar_label(bars, fmt="{:.3g}", fontsize=7, padding=2)
    count = max((len(values) for values in answer.values()), default=0)
    axis.set_xticks(range(count))
    if count > 1:
        axis.set_xlabel("attribute")


def _draw_curves(axis: Axes, answers: list[dict[str, np.ndarray]]) -> None:
    styles = ("-", "--", ":", "-.")
    for number, name in enumerate(answers[0] if answers else ()):
        curves = np.stack([answer[name] for answer in answers])
        for a in range(curves.shape[1]):
            label = name if curves.shape[1] == 1 else f"{name}, attribute {a}"
            colour, style = COLOURS[a % len(COLOURS)], styles[number % len(styles)]
            if curves.shape[1] == 1:
                colour, style = COLOURS[number % len(COLOURS)], "-"
            axis.plot(curves[:, a], style, marker=".", color=colour, label=label)
