"""Structure before collapse: three settings and three features models, five seeds each.

    python examples/transience.py                 # all of it: a table, a figure
    python examples/transience.py --seeds 0 --steps 400    # a quick look

Each run is a folder under --out with the histories of the callback and of its shuffled control, as
any other run (`lightning-semgeom report` shows them); one that is finished is not run again.
"""

import argparse
import json
import logging
import statistics
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from math import inf
from multiprocessing import get_context
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from tqdm import tqdm

from lightning_semgeom import History, SemanticGeometry, neural_collapse
from lightning_semgeom.plots.style import COLOURS, GREY, new_figure
from lightning_semgeom.settings import factored, ufm
from lightning_semgeom.settings.controlled import NETWORKS, features_setting, network_setting
from lightning_semgeom.settings.recipe import CLASSES
from lightning_semgeom.summary import summaries

STEPS = dict.fromkeys(NETWORKS, 2000) | {"long": 20_000, "smoothed": 20_000}
UFM_STEPS = 6000
LONG = ("long", "smoothed")  # in the table alone
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


def setting_of(name, seed):
    """A setting by the name of its line in the table."""
    if name in ufm.KINDS:
        return features_setting(name, seed)
    if name in LONG:
        return network_setting("factored", seed, 0.2 if name == "smoothed" else 0.0)
    return network_setting(name, seed)


class Watch(pl.Callback):
    """What a history lacks: ETF distances, losses, and when the logits of attributes reach 1."""

    def __init__(self, geometry, table):
        self.geometry = geometry
        self.bases = ufm.main_effects(table)
        self.etf, self.losses, self.reached = [], [], [None] * len(self.bases)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        """The initial weights' record is there now."""
        self.keep(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """That of the weights after this step, where one was due."""
        self.keep(trainer, pl_module)
        if isinstance(pl_module, ufm.UnconstrainedFeatures) and None in self.reached:
            self.follow_logits(pl_module, batch, trainer.global_step)

    def on_train_end(self, trainer, pl_module):
        """The last one."""
        self.keep(trainer, pl_module)

    def keep(self, trainer, model):
        """One figure of each kind for a new record."""
        if len(self.geometry.history) == len(self.etf):
            return
        rows = model.lm_head.weight.detach()[:CLASSES]
        figures = neural_collapse(rows, torch.arange(CLASSES), CLASSES)
        self.etf.append(figures["etf_distance"].item())
        self.losses.append(float(trainer.callback_metrics.get("train_loss", "nan")))

    def follow_logits(self, model, batch, step):
        """Note the step at which an attribute's mean logit is 1 or more."""
        with torch.no_grad():
            logits = model(batch).double()
        for a, basis in enumerate(self.bases):
            mode = (basis.T @ logits @ basis).trace() / basis.shape[1]
            if self.reached[a] is None and mode >= 1:
                self.reached[a] = step


def run(name, seed, steps, folder):
    """One run, unless it is there already; on one core."""
    if (folder / "done.json").exists():
        return
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch|lightning\.fabric")
    made = setting_of(name, seed)
    control_table = made.table.shuffled(seed)
    geometry = SemanticGeometry(made.table, **made.capture)
    control = SemanticGeometry(control_table, name="semgeom_control", **made.capture)
    watch = Watch(geometry, made.table)
    trainer = pl.Trainer(
        max_steps=steps, accelerator="cpu", callbacks=[geometry, control, watch], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(made.model, made.data)
    found = {"etf": watch.etf, "losses": watch.losses, "reached": watch.reached}
    (folder / "done.json").write_text(json.dumps(found))


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

    def false_alarms(self):
        """Onsets of the control."""
        return sum(s.milestones.onset_step is not None for s in summaries(self.control))


def spread(values, digits=2):
    """Median and range."""
    values = sorted(values)
    low, middle, high = values[0], statistics.median(values), values[-1]
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


COLUMNS = (
    "gap of W: peak", "at step", "asymmetry's peak / that", "end", "gap of H: start", "peak", "end",
    "ETF distance of W: start", "peak", "end", "loss", "control onsets",
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
        spread([distances[0] for distances in etf]),
        spread(map(max, etf)),
        spread([distances[-1] for distances in etf]),
        spread([run.losses[-1] for run in runs], 3),
        f"{sum(run.false_alarms() for run in runs)} of {curves}",
    ]


def order(found):
    """When each attribute emerges and peaks in the weights, and which comes first."""
    yield "| | attribute | values | kappa | rank | onset: step | rank | peak: step | rank |"
    yield "|---" * 9 + "|"
    for setting, runs in found.items():
        table = setting_of(setting, 0).table
        kappas = ufm.kernel_eigenvalues(table)
        onsets = [
            [run.history.milestones("unembedding", a).onset_step or inf for a in table.names]
            for run in runs
        ]
        tops = [[run.top_step(f"gap/{a}") for a in table.names] for run in runs]
        predicted = ranks([-round(kappa, 6) for kappa in kappas])
        for a, name in enumerate(table.names):
            yield (
                "| "
                + " | ".join(
                    [
                        *(NAMES[setting], name, str(table.num_values[a])),
                        *(f"{kappas[a]:.2f}", f"{predicted[a]:g}"),
                        *ranked(onsets, a),
                        *ranked(tops, a),
                    ]
                )
                + " |"
            )


def ranked(steps, a):
    """The step and the rank of attribute `a` over seeds."""
    known = [of_seed[a] for of_seed in steps if of_seed[a] < inf]
    missing = len(steps) - len(known)
    told = (spread(known, 0) if known else "none") + (f", {missing} without" if missing else "")
    return told, spread([ranks(of_seed)[a] for of_seed in steps], 1)


def ranks(values):
    """Rank 1 for the smallest; equal ones share the mean of theirs."""
    return [
        1 + sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2
        for value in values
    ]


def emergence(runs):
    """Steps at which the logits of each attribute reached 1, against the closed form."""
    table = factored.factored_attributes()
    yield "| attribute | kappa | predicted step | measured step |"
    yield "|---|---|---|---|"
    for a, (name, kappa) in enumerate(zip(table.names, ufm.kernel_eigenvalues(table), strict=True)):
        predicted = ufm.emergence_time(kappa, ufm.WIDTH) / ufm.LEARNING_RATE
        measured = spread([run.reached[a] for run in runs], 0)
        yield f"| {name} | {kappa:.2f} | {predicted:.0f} | {measured} |"


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


def main():
    """Run what is missing, then tell of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--settings", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--steps", type=int, help="of each run (default: the setting's)")
    parser.add_argument("--out", type=Path, default=Path("runs/transience"))
    options = parser.parse_args()
    jobs = {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for setting in options.settings:
            steps = options.steps or STEPS.get(setting, UFM_STEPS)
            for seed in options.seeds:
                folder = options.out / f"{setting}-{steps}-{seed}"
                folder.mkdir(parents=True, exist_ok=True)
                jobs[pool.submit(run, setting, seed, steps, folder)] = setting, folder
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="run"):
            job.result()
    found = {setting: [] for setting in options.settings}
    for setting, folder in jobs.values():
        found[setting].append(Run(folder))
    text = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    text += [f"| {NAMES[s]} | " + " | ".join(line(runs)) + " |" for s, runs in found.items()]
    networks = {setting: runs for setting, runs in found.items() if setting in NETWORKS}
    if networks:
        text += ["", *order(networks)]
    if "preconditioned" in found and None not in found["preconditioned"][0].reached:
        text += ["", *emergence(found["preconditioned"])]
    (options.out / "table.md").write_text("\n".join(text) + "\n")
    drawn = {setting: runs for setting, runs in found.items() if setting not in LONG}
    draw(drawn or found, options.out / "transience.png")
    print("\n".join(text))
    print(f"\n{options.out / 'table.md'}\n{options.out / 'transience.png'}")


if __name__ == "__main__":
    main()
