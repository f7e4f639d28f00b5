"""What the runs of preserve.py left: tables of figures and of paired differences."""

from many_runs import markdown, paired_difference, spread
from preserve_regimes import NAMES
from preserve_text import NAMES as TEXT_NAMES

from lightning_semgeom.show.plots.style import COLOURS, GREY, new_figure

FIGURES = {
    "loss": lambda run, end: end["loss"],
    "accuracy": lambda run, end: end["accuracy"],
    "gap of W: peak": lambda run, end: run["peaks"][0],
    "end": lambda run, end: end["gaps"]["W"],
    "gap of H: peak": lambda run, end: run["peaks"][1],
    "H: end": lambda run, end: end["gaps"]["H"],
    "few-shot accuracy": lambda run, end: end["few-shot"],
    "gap on fresh contexts": lambda run, end: end["gaps"]["fresh"],
}
# Gaps at the end as shares of the peak of the same seed's baseline.
KEPT = {"W kept": "end", "H kept": "H: end"}
COMPARED = ("loss", *KEPT, "few-shot accuracy", "gap on fresh contexts")
LEAD = "few-shot accuracy less that of the initial weights"


def digits(figure):
    """Decimal places of a figure."""
    return 3 if figure == "loss" else 2


def column(runs, figure, moment="end"):
    """A figure of each seed."""
    return [FIGURES[figure](run, run[moment]) for run in runs]


def kept(runs, baseline, which):
    """What is left of the gap at the end, as a share of the baseline's peak, by seed."""
    peaks = column(baseline, "gap of W: peak" if which == "W kept" else "gap of H: peak")
    return [end / peak for end, peak in zip(column(runs, KEPT[which]), peaks, strict=True)]


def controlled_tables(found):
    """Two tables for each setting; `found`: setting -> regime -> runs."""
    for setting, by_regime in found.items():
        told = "kept: the gap at the end as a share of the baseline's peak"
        yield from (f"{setting}, medians and ranges over seeds; {told}:", "")
        yield from markdown(["", *FIGURES, *KEPT], figure_lines(by_regime))
        yield from ("", f"{setting}, seed by seed less the baseline, mean and 95 % interval:", "")
        yield from markdown(["", *COMPARED, LEAD], difference_lines(by_regime))
        yield ""


def figure_lines(by_regime):
    """The initial weights, then a line a regime."""
    baseline = by_regime["baseline"]
    cells = [
        "-" if "peak" in figure else spread(column(baseline, figure, "start"), digits(figure))
        for figure in FIGURES
    ]
    yield ["initial weights", *cells, *("-" for _ in KEPT)]
    for name, runs in by_regime.items():
        cells = [spread(column(runs, figure), digits(figure)) for figure in FIGURES]
        yield [NAMES[name], *cells, *(spread(kept(runs, baseline, which)) for which in KEPT)]


def difference_lines(by_regime):
    """A line a regime; the last column is against the initial weights of the same seed."""
    baseline = by_regime["baseline"]
    for name, runs in by_regime.items():
        cells = []
        for figure in COMPARED:
            ours, theirs = (
                kept(of, baseline, figure) if figure in KEPT else column(of, figure)
                for of in (runs, baseline)
            )
            cells.append(paired_difference(ours, theirs, digits(figure)))
        probe = "few-shot accuracy"
        lead = paired_difference(column(runs, probe), column(baseline, probe, "start"))
        yield [NAMES[name], *(["-"] * len(COMPARED) if name == "baseline" else cells), lead]


def text_tables(by_regime):
    """What keeping structure costs on text: figures, then differences to the baseline."""
    attributes = list(by_regime["baseline"][0]["gaps"])
    head = ["", "held-out loss", "less the baseline's"]
    head += [f"gap of {a}: largest, end" for a in attributes]
    head += ["mean gap kept, of the baseline's peak"]
    lines = []
    for name, runs in by_regime.items():
        baseline = by_regime["baseline"]
        losses, plain = ([run["loss"] for run in of] for of in (runs, baseline))
        cells = [spread(losses, 3)]
        cells.append("-" if name == "baseline" else paired_difference(losses, plain, 3))
        for a in attributes:
            gaps = [run["gaps"][a] for run in runs]
            cells.append(f"{spread(map(max, gaps))}, {spread([curve[-1] for curve in gaps])}")
        left = [
            mean_gap(run)[-1] / max(mean_gap(of)) for run, of in zip(runs, baseline, strict=True)
        ]
        lines.append([TEXT_NAMES[name], *cells, spread(left)])
    return markdown(head, lines)


def mean_gap(run):
    """The gap of the unembedding, mean over attributes, at each capture."""
    return [sum(of_step) / len(of_step) for of_step in zip(*run["gaps"].values(), strict=True)]


def draw(found, out):
    """A panel a setting: few-shot accuracy on fresh contexts against the gap of W that was kept."""
    figure = new_figure(5 * len(found), 5)
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for axis, (setting, by_regime) in zip(axes, found.items(), strict=True):
        for k, (name, runs) in enumerate(by_regime.items()):
            colour = GREY if name == "baseline" else COLOURS[k % len(COLOURS)]
            marker = "os^Dv*P"[k // len(COLOURS)]
            left = kept(runs, by_regime["baseline"], "W kept")
            probe = column(runs, "few-shot accuracy")
            axis.plot(left, probe, marker, color=colour, label=NAMES[name], alpha=0.8)
        axis.set_title(setting)
        axis.set_xlabel("gap of W at the end, of the baseline's peak")
        axis.grid(True, color="#EEEEEE")
    axes[0].set_ylabel("few-shot accuracy on fresh contexts")
    lines, names = axes[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(out, dpi=110)
