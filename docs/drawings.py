"""The drawings of the pages: one for each figure, the house, and results out of their tables.

    python docs/drawings.py

Angles and curves of the figures are made up to show what is meant; results are read from
`examples/tables`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, FancyBboxPatch

DOCS = Path(__file__).parent
TABLES = DOCS.parent / "examples/tables"
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"
ONES, OTHERS = (15, 40, 62), (150, 172, 205)  # degrees, of rows with one value and another
mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "docs", "font.size": 11}


def main() -> None:
    """Draw all of them."""
    for draw in (within, between, gap, z, strength, partial_gap, asymmetry, phases):
        save(draw(), f"understand/pictures/{draw.__name__}.svg")
    save(house(), "develop/pictures/house.svg")
    save(directions(), "results/pictures/directions.svg")
    save(erase(), "results/pictures/erase.svg")
    save(predicted_order(), "results/pictures/predicted-order.svg")
    save(peak_without_attributes(), "results/pictures/peak-without-attributes.svg")


def save(figure: Figure, name: str) -> None:
    """Write a drawing that is the same to the byte each time."""
    file = DOCS / name
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, facecolor="white", metadata={"Date": None})


def bare(panels: int = 1, width: float = 3.2) -> tuple[Figure, list[Axes]]:
    """Panels without axes, each from -1.3 to 1.3."""
    figure = Figure((width * panels, 2.6), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for ax in axes:
        ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
        ax.axis("off")
    return figure, axes


def arrows(ax: Axes, degrees: Sequence[float], colour: str) -> None:
    """Rows of unit length."""
    for angle in np.radians(degrees):
        tip = (np.cos(angle), np.sin(angle))
        ax.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2})


def arc(ax: Axes, one: float, other: float, radius: float, colour: str) -> None:
    """The angle between two rows."""
    ax.add_patch(
        Arc((0, 0), 2 * radius, 2 * radius, theta1=one, theta2=other, color=colour, lw=1.5)
    )


def within() -> Figure:
    """Angles between rows of one colour."""
    figure, (ax,) = bare()
    for degrees, colour in ((ONES, BLUE), (OTHERS, ORANGE)):
        arrows(ax, degrees, colour)
        for radius, (one, other) in zip((0.5, 0.6, 0.7), _pairs(degrees), strict=True):
            arc(ax, one, other, radius, colour)
    ax.set_title("within: pairs of one colour")
    ax.set_ylim(-0.6, 1.1)
    return figure


def between() -> Figure:
    """Angles between rows of different colours."""
    figure, (ax,) = bare()
    arrows(ax, ONES, BLUE)
    arrows(ax, OTHERS, ORANGE)
    for radius, one, other in zip((0.4, 0.55, 0.7), ONES, OTHERS, strict=True):
        arc(ax, one, other, radius, GREY)
    ax.set_title("between: pairs of two colours")
    ax.set_ylim(-0.6, 1.1)
    return figure


def gap() -> Figure:
    """Two bars and their difference: the cosines of the arrows above."""
    same = np.mean([_cosine(*pair) for group in (ONES, OTHERS) for pair in _pairs(group)])
    different = np.mean([_cosine(one, other) for one in ONES for other in OTHERS])
    figure = Figure((3.6, 2.6), layout="constrained")
    ax = figure.subplots()
    ax.bar(["within", "between"], [same, different], color=[BLUE, GREY], width=0.5)
    ax.axhline(0, color="black", lw=0.8)
    ends = {"arrowstyle": "<->", "color": ORANGE, "lw": 2}
    ax.annotate("", (1.45, same), (1.45, different), arrowprops=ends)
    ax.text(1.52, (same + different) / 2, "gap", color=ORANGE, va="center")
    ax.set(xlim=(-0.5, 2), ylim=(-1.1, 1.1), ylabel="mean cosine")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def z() -> Figure:
    """The gap of the real labels beside those of shuffled ones."""
    figure = Figure((4.6, 2.6), layout="constrained")
    ax = figure.subplots()
    x = np.linspace(-4, 9, 400)
    ax.fill_between(x, np.exp(-(x**2) / 2), color=GREY, alpha=0.5, lw=0)
    ax.axvline(7, color=ORANGE, lw=2)
    ax.annotate("", (7, 0.5), (0, 0.5), arrowprops={"arrowstyle": "<->"})
    ax.text(4, 0.55, "z widths", ha="center")
    ax.text(0, 1.05, "labels shuffled", ha="center", color=GREY)
    ax.text(6.8, 1.05, "real labels", ha="center", color=ORANGE)
    ax.set(xlabel="gap", ylim=(0, 1.25), xticks=[0], yticks=[])
    ax.spines[["top", "right", "left"]].set_visible(False)
    return figure


def strength() -> Figure:
    """No trace of the colours, and nothing but them."""
    figure, (none, all_there) = bare(2)
    arrows(none, range(0, 360, 60), BLUE)
    arrows(none, range(30, 390, 60), ORANGE)
    none.set_title("strength 0")
    arrows(all_there, (42, 45, 48), BLUE)
    arrows(all_there, (222, 225, 228), ORANGE)
    all_there.set_title("strength 1")
    return figure


def partial_gap() -> Figure:
    """Colours compared among rows of one shape."""
    figure, (ax,) = bare(width=4)
    for y, marker, name in ((0.6, "o", "circles"), (-0.6, "s", "squares")):
        ax.scatter([-0.75, -0.25], [y, y], s=160, c=BLUE, marker=marker)
        ax.scatter([0.25, 0.75], [y, y], s=160, c=ORANGE, marker=marker)
        ax.add_patch(
            FancyBboxPatch((-0.95, y - 0.25), 1.9, 0.5, boxstyle="round,pad=.08", fill=False)
        )
        ax.text(0, y + 0.42, f"among {name}", ha="center", color=GREY)
    ax.set_title("colours compared within each box")
    return figure


def asymmetry() -> Figure:
    """From all equally far apart to one line."""
    figure, (even, leaning, line) = bare(3, 2.6)
    arrows(even, range(90, 450, 72), BLUE)
    even.set_title("asymmetry 0")
    arrows(leaning, (20, 40, 65, 150, 215, 240), BLUE)
    leaning.set_title("in between")
    arrows(line, (45, 225), BLUE)
    line.set_title("asymmetry 1")
    return figure


def phases() -> Figure:
    """A gap that comes and goes."""
    figure = Figure((6, 2.8), layout="constrained")
    ax = figure.subplots()
    steps = np.logspace(0, 3, 300)
    curve = 0.2 * np.exp(-((np.log10(steps) - 1.8) ** 2) / 0.18)
    ax.plot(steps, curve, color=BLUE, lw=2)
    marks = ((curve > 0.03).argmax(), curve.argmax(), 300 - (curve[::-1] > 0.06).argmax())
    for at, marker, name in zip(marks, "^*v", ("onset", "peak", "gone"), strict=True):
        ax.plot(steps[at], curve[at], marker, color=BLUE, ms=13, mec="black")
        ax.annotate(name, (steps[at], curve[at]), (9, 6), textcoords="offset points")
    ax.set(xscale="log", xlabel="optimizer steps", ylabel="gap", ylim=(-0.01, 0.24))
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def house() -> Figure:
    """The folders, and which way the data goes."""
    figure = Figure((8.4, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.set(xlim=(0, 8.4), ylim=(0, 3.6))
    ax.axis("off")
    places = {
        "attributes\nwho shares what": (1, 2.7),
        "geometry\ntensors to numbers": (1, 1.2),
        "capture\na model's rows": (3.1, 2.7),
        "measure\nfigures of a site": (4.2, 1.2),
        "record\ndisk and phases": (5.8, 2.7),
        "show\nloggers, pictures": (7.4, 1.2),
        "checkpoints\nrows out of files": (2.6, 0.25),
    }
    for text, (x, y) in places.items():
        ax.text(x, y, text, ha="center", va="center", bbox={"boxstyle": "round", "fc": "#e8f1f8"})
    for one, other in (
        ((1.75, 2.7), (2.4, 2.7)),
        ((1.9, 1.2), (3.45, 1.2)),
        ((3.3, 2.35), (4, 1.55)),
        ((3.4, 0.35), (4, 0.85)),
        ((4.5, 1.55), (5.5, 2.35)),
        ((6.1, 2.35), (7.1, 1.55)),
    ):
        ax.annotate("", other, one, arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 2})
    ax.text(4.2, 3.4, "callback.py, run.py: what Lightning calls", ha="center", color=ORANGE)
    ax.text(6.4, 0.2, "training, settings, commands use them", ha="center", color=GREY)
    return figure


def directions() -> Figure:
    """What directions explain, and what lies nearest to them, by step."""
    lines = (TABLES / "directions.md").read_text().splitlines()
    rows = _rows(lines, "| step |")
    figure = Figure((8, 2.8), layout="constrained")
    for ax, first, name in zip(
        figure.subplots(1, 2), (1, 10), ("share explained", "nearest rows right"), strict=True
    ):
        for column, colour in zip(range(first, first + 3), (BLUE, ORANGE, GREEN), strict=True):
            steps = [int(row[0]) for row in rows]
            means, widths = zip(*(_numbers(row[column]) for row in rows), strict=True)
            label = "abc"[column - first]
            ax.errorbar(steps, means, widths, color=colour, label=label, capsize=3, lw=2)
        ax.set(xscale="log", xlabel="optimizer steps", title=f"{name}, less shuffled")
        ax.axhline(0, color="black", lw=0.8)
        ax.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    return figure


def erase() -> Figure:
    """What a probe reads of each attribute when nothing, a or b is erased."""
    rows = _rows((TABLES / "erase.md").read_text().splitlines(), "| erased |")
    figure = Figure((5, 2.8), layout="constrained")
    ax = figure.subplots()
    for shift, attribute, colour in ((-0.18, "a", BLUE), (0.18, "b", ORANGE)):
        probes = [_numbers(row[3])[0] for row in rows if row[1] == attribute]
        ax.bar(np.arange(3) + shift, probes, 0.34, color=colour, label=attribute)
    ax.axhline(0.5, color=BLUE, ls=":")
    ax.axhline(0.25, color=ORANGE, ls=":")
    ax.set(ylabel="accuracy of a probe", ylim=(0, 1.25), xlabel="erased")
    ax.set_xticks(range(3), ["nothing", "a", "b"])
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, ncols=2, title="read; dots: chance", loc="upper right")
    return figure


def predicted_order() -> Figure:
    """Measured onsets over predicted strengths, in two texts; grey: attributes without an onset."""
    figure = Figure((8, 3.2), layout="constrained")
    titles = {"predicted_order": "Python source", "predicted_order_text": "English glosses"}
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        *rows, _ = _rows((TABLES / f"{name}.md").read_text().splitlines(), "| in the unembedding |")
        for k, (attribute, onset, _, *_, strength) in enumerate(rows):
            is_there = not onset.startswith("none")
            x, y = float(strength.split(",")[0]), int(onset.split()[0]) if is_there else 1000
            ax.plot(x, y, "o" if is_there else "x", color=BLUE if is_there else GREY)
            side = "bottom" if k % 2 else "top"  # neighbours by turns
            ax.annotate(f" {attribute}", (x, y), va=side, color="black" if is_there else GREY)
        ax.set(xscale="log", yscale="log", xlim=(25, 1500), ylim=(7, 2000), title=title)
        ax.set_xlabel("strength, any token before")
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xticks([30, 100, 300], ["30", "100", "300"])
        ax.xaxis.set_minor_formatter("")
        ax.set_yticks([10, 100, 1000], ["10", "100", "none"])
    axes[0].set_ylabel("onset: step")
    return figure


def peak_without_attributes() -> Figure:
    """Where figures without attributes peak on fresh seeds, beside the mean gap's peak."""
    figure = Figure((8, 3.2), layout="constrained")
    ax = figure.subplots()
    text = (TABLES / "peak_without_attributes.md").read_text()
    lines = text[text.index("(fresh)") :].splitlines()
    header = next(line for line in lines if line.startswith("| "))
    settings = [cell.strip() for cell in header.strip("|").split("|")][1:-1]
    colours = dict(zip(settings, (BLUE, GREEN, "#56b4e9", ORANGE, "#cc79a7"), strict=True))
    shown = (
        "asymmetry",
        "asymmetry without the leading direction",
        "asymmetry within bands of frequency",
        "cosine of the nearest five",
        "third moment, 70% of the text",
    )
    found = {name: cells for name, *cells in _rows(lines, header)}
    for y, name in enumerate(reversed(shown)):
        for k, (setting, cell) in enumerate(zip(settings, found[name], strict=False)):
            middle, *ends = _numbers(cell)
            height = y + (k - 2) * 0.13
            ax.plot(ends or [middle], [height] * max(1, len(ends)), color=colours[setting])
            label = setting if y == 0 else None
            ax.plot(middle, height, "o", ms=5, color=colours[setting], label=label)
    ax.axvspan(0.8, 1.2, color="#eeeeee", zorder=0)
    ax.set(xscale="log", xlabel="step of its peak / step of the mean gap's peak")
    ax.set_xticks([0.05, 0.1, 0.25, 0.5, 0.8, 1.2], ["0.05", "0.1", "0.25", "0.5", "0.8", "1.2"])
    ax.xaxis.set_minor_formatter("")
    ax.set_yticks(range(len(shown)), reversed(shown))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _rows(lines: Sequence[str], header: str) -> list[list[str]]:
    """The cells of the table that begins so."""
    start = next(i for i, line in enumerate(lines) if line.startswith(header)) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def _numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+", cell)]


def _pairs(degrees: Sequence[float]) -> list[tuple[float, float]]:
    return [(degrees[0], degrees[1]), (degrees[1], degrees[2]), (degrees[0], degrees[2])]


def _cosine(one: float, other: float) -> float:
    return float(np.cos(np.radians(one - other)))


if __name__ == "__main__":
    main()
