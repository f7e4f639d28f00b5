"""What the runs of transience.py left: the table, the figure, and the order of emergence."""

import json
from math import inf

import numpy as np
from many_runs import markdown, spread

from lightning_semgeom import History
from lightning_semgeom.record.summary import summaries
from lightning_semgeom.settings import factored, ufm
from lightning_semgeom.settings.controlled import network_setting
from lightning_semgeom.show.plots.style import COLOURS, GREY, new_figure

NAMES = {
    "factored": "S1 factored",
    "latent": "S2 latent",
    "pictures": "S3 pictures",
    "plain": "UFM, plain",
    "penalised": "UFM, penalised",
    "preconditioned": "UFM, preconditioned",
    "long": "S1, 20,000 steps",
    "smoothed": "S1, 20,000 steps, label smoothing 0.2",
}


class Run:
    """What a finished run left."""

    def __init__(self, folder):
        self.history = History.load(folder / "semgeom")
        self.control = History.load(folder / "semgeom_control")
        found = json.loads((folder / "done.json").read_text())
        self.etf, self.losses = np.array(found["etf"]), np.array(found["losses"])
        self.reached = found["reached"]

    def gaps(self, kind, metric="gap", history=None):
        """Steps and gaps of the weights ("w") or of the features ("h")."""
        history = history or self.history
        steps, values = history.curve(history.key(history.sites["wh".index(kind)], metric))
        known = np.isfinite(values)
        return steps[known], values[known]

    def top_step(self, metric="gap"):
        """The step of the largest gap of the weights."""
        steps, values = self.gaps("w", metric)
        return int(steps[values.argmax()])

    def proxy(self):
        """The step of the largest asymmetry of the weights, which needs no attributes."""
        return int(self.history.records[-1].values["semgeom/asymmetry_peak_step"])

    def nearest(self):
        """Step and size of the smallest ETF distance after the largest."""
        top = self.etf.argmax()
        place = top + self.etf[top:].argmin()
        return self.history.records[place].step, self.etf[place]

    def false_alarms(self):
        """Onsets of the control."""
        return sum(s.milestones.onset_step is not None for s in summaries(self.control))


COLUMNS = (
    "gap of W: peak", "at step", "asymmetry's peak / that", "end", "gap of H: start", "peak", "end",
    "ETF distance of W: peak", "then lowest", "at step", "end", "loss", "control onsets",
)  # fmt: skip


def line(runs):
    """The figures of one setting's seeds."""
    w, h = ([run.gaps(kind)[1] for run in runs] for kind in "wh")
    etf = [run.etf for run in runs]
    curves = sum(len(summaries(run.control)) for run in runs)
    return [
        spread(map(max, w)),
        spread([run.top_step() for run in runs], 0),
        spread([run.proxy() / max(run.top_step(), 1) for run in runs]),
        spread([gaps[-1] for gaps in w]),
        spread([gaps[0] for gaps in h]),
        spread(map(max, h)),
        spread([gaps[-1] for gaps in h]),
        spread(map(max, etf)),
        spread([run.nearest()[1] for run in runs]),
        spread([run.nearest()[0] for run in runs], 0),
        spread([distances[-1] for distances in etf]),
        spread([run.losses[-1] for run in runs], 3),
        f"{sum(run.false_alarms() for run in runs)} of {curves}",
    ]


def order(found):
    """When each attribute emerges and peaks in the weights, and which comes first."""
    head = ("", "attribute", "values", "kappa", "rank", "onset: step", "rank", "peak: step", "rank")
    lines = []
    for setting, runs in found.items():
        table = network_setting(setting, 0).table
        kappas = ufm.kernel_eigenvalues(table)
        onsets = [
            [run.history.milestones("unembedding", a).onset_step or inf for a in table.names]
            for run in runs
        ]
        tops = [[run.top_step(f"gap/{a}") for a in table.names] for run in runs]
        predicted = ranks([-round(kappa, 6) for kappa in kappas])
        for a, name in enumerate(table.names):
            attribute = NAMES[setting], name, str(table.num_values[a])
            kernel = f"{kappas[a]:.2f}", f"{predicted[a]:g}"
            lines.append([*attribute, *kernel, *ranked(onsets, a), *ranked(tops, a)])
    return markdown(head, lines)


def ranked(steps, a):
    """The step and the rank of attribute `a` over seeds."""
    of_attribute = steps_told([of_seed[a] for of_seed in steps])
    return of_attribute, spread([ranks(of_seed)[a] for of_seed in steps], 1)


def steps_told(steps):
    """Median and range of steps over seeds, infinity where a seed has none."""
    known = [step for step in steps if step < inf]
    missing = len(steps) - len(known)
    return (spread(known, 0) if known else "none") + (f", {missing} without" if missing else "")


def ranks(values):
    """Rank 1 for the smallest; equal ones share the mean of theirs."""
    return [
        1 + sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2
        for value in values
    ]


def emergence(runs):
    """Steps at which the logits of each attribute reached 1, against the closed form."""
    table = factored.factored_attributes()
    lines = []
    for a, (name, kappa) in enumerate(zip(table.names, ufm.kernel_eigenvalues(table), strict=True)):
        predicted = ufm.emergence_time(kappa, ufm.WIDTH) / ufm.LEARNING_RATE
        measured = spread([run.reached[a] for run in runs], 0)
        lines.append([name, f"{kappa:.2f}", f"{predicted:.0f}", measured])
    return markdown(["attribute", "kappa", "predicted step", "measured step"], lines)


def draw(found, out):
    """A column a setting: gaps of W and of H, ETF distance, loss; medians, and ranges shaded."""
    figure = new_figure(3.2 * len(found), 8)
    axes = figure.subplots(4, len(found), squeeze=False, sharex="col", sharey="row")
    for column, (setting, runs) in zip(axes.T, found.items(), strict=True):
        column[0].set_title(NAMES[setting])
        for axis, kind in zip(column, "wh", strict=False):
            for run in runs:
                axis.plot(
                    *shifted(run.gaps(kind, history=run.control)), ":", color=GREY, linewidth=0.8
                )
            shade(axis, [run.gaps(kind) for run in runs], COLOURS[0])
        steps = [record.step for record in runs[0].history]
        shade(column[2], [(steps[: len(run.etf)], run.etf) for run in runs], COLOURS[1])
        shade(column[3], [(steps[: len(run.losses)], run.losses) for run in runs], COLOURS[-1])
        for axis in column:
            axis.set_xscale("log")
            axis.grid(True, color="#EEEEEE")
        column[3].set_xlabel("optimizer steps + 1")
    for axis, label in zip(
        axes[:, 0], ("gap of W", "gap of H", "ETF distance", "loss"), strict=True
    ):
        axis.set_ylabel(label)
    figure.savefig(out)


def shifted(curve):
    """Steps + 1, so that step 0 has a place on a log axis."""
    steps, values = curve
    return np.asarray(steps) + 1, values


def shade(axis, curves, colour):
    """The median of several curves, and their range."""
    steps = shifted(curves[0])[0]
    values = np.stack([values for _, values in curves])
    axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
    axis.plot(steps, np.median(values, axis=0), color=colour)
