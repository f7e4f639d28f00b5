"""Several runs beside each other: an attribute a panel, a run a colour, seeds as a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.record.history import History
from lightning_semgeom.record.record import unknown
from lightning_semgeom.show.plots.layout import Margins, few_ticks, fitted, log_steps, panels
from lightning_semgeom.show.plots.style import COLOURS, bare_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARGINS = Margins(left=0.9, right=0.2, bottom=0.55, top=0.4, between=(0.7, 0.75))
_COLUMNS = 3
Curve = tuple[np.ndarray, np.ndarray]


@checked_kinds
def compare(
    runs: Mapping[str, History | Sequence[History]], site: str | None = None
) -> tuple[Figure, np.ndarray]:
    """Draw the gaps of several runs, or of several seeds of each, over log steps (matplotlib).

    Args:
        runs: by the name that the legend has: a history, or those of several seeds, of which the
            median is a line and all from the smallest to the largest a band, at steps that all
            have.
        site: where; None: the first site of the first run.

    Returns:
        The figure, and its axes, one for each attribute.

    Raises:
        ValueError: if there is no run, or seeds of one have no step in common.
        KeyError: if a run has no such site; the message lists close ones.

    Example:
        >>> from lightning_semgeom.record.record import Record
        >>> def seed(gap):
        ...     history = History()
        ...     for step in (0, 10):
        ...         values = {"semgeom/gap": gap, "semgeom_unembedding/gap/colour": gap * step}
        ...         history.append(Record(step, values))
        ...     return history
        >>> figure, axes = compare({"plain": [seed(0.1), seed(0.2)], "anchored": seed(0.4)})
        >>> [line.get_label() for line in axes[0].get_lines() if line.get_label()[0] != "_"]
        ['plain (2 runs)', 'anchored']
    """
    groups = {name: _histories(name, found) for name, found in runs.items()}
    if not groups:
        raise ValueError("compare: runs is empty; expected {'seed 0': history, ...}.")
    where = site or next((s for found in groups.values() for h in found for s in h.sites), "")
    attributes = dict.fromkeys(
        name for found in groups.values() for h in found for name in _attributes(h, where)
    )
    columns = min(max(len(attributes), 1), _COLUMNS)
    lines = -(-max(len(attributes), 1) // columns)
    figure = bare_figure(4.2 * columns + 1.1, 2.6 * lines + 0.9)
    axes = panels(figure, _MARGINS, lines, columns).ravel()
    room = _MARGINS.panel(figure, lines, columns)[0]
    last = max((record.step for found in groups.values() for h in found for record in h), default=0)
    for axis, attribute in zip(axes, attributes, strict=False):
        log_steps(axis, last + 1)
        axis.axhline(0, color="#BBBBBB", linewidth=0.8)
        for number, (name, found) in enumerate(groups.items()):
            curves = [h.gap(attribute, where) for h in found if attribute in h.attributes(where)]
            _draw(axis, name, curves, COLOURS[number % len(COLOURS)])
        title, size = fitted(figure, attribute, 12, room)
        axis.set_title(title, fontsize=size)
        axis.grid(True, color="#EEEEEE")
        axis.set_xlabel("optimizer steps + 1")
        few_ticks(axis, "y")
    for axis in axes[len(attributes) :]:
        axis.remove()
    if attributes:
        axes[0].set_ylabel(f"gap in {where}" if len(where) < 20 else "gap (cosine)")
        axes[0].legend(fontsize=8, framealpha=0.85)
    return figure, axes[: len(attributes)]


def _histories(name: str, found: object) -> list[History]:
    several = found if isinstance(found, list | tuple) else [found]
    if not several or not all(isinstance(one, History) for one in several):
        raise ValueError(
            f"compare: runs['{name}'] must be a History or a list of them; got a "
            f"{type(found).__name__}, {found!r:.60}."
        )
    return [*several]


def _attributes(history: History, site: str) -> list[str]:
    if len(history) and site not in history.sites:
        raise KeyError(unknown("site", site, history.sites))
    return history.attributes(site)


def _draw(axis: Axes, name: str, curves: Sequence[Curve], colour: str) -> None:
    if not curves:
        return
    steps = reduce(np.intersect1d, [own for own, _ in curves])
    if not steps.size:
        raise ValueError(f"compare: the runs of '{name}' have no step in common.")
    values = np.stack([gaps[np.isin(own, steps)] for own, gaps in curves])
    known = np.isfinite(values).all(0)
    steps, values = steps[known] + 1, values[:, known]
    label = name if len(curves) == 1 else f"{name} ({len(curves)} runs)"
    axis.plot(steps, np.median(values, axis=0), color=colour, label=label)
    if len(curves) > 1:
        axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
