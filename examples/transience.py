"""Structure before collapse: three settings and three features models, five seeds each.

    python examples/transience.py                 # all of it: a table, a figure
    python examples/transience.py --seeds 0 --steps 400    # a quick look

Each run is a folder under --out with the histories of the callback and of its shuffled control, as
any other run (`lightning-semgeom report` shows them); one that is finished is not run again.
"""

import itertools
import json

import lightning.pytorch as pl
import torch
from many_runs import markdown, parser_of, quiet_trainer, run_all, tell
from transience_tables import COLUMNS, NAMES, Run, draw, emergence, line, order

from lightning_semgeom import SemanticGeometry, neural_collapse
from lightning_semgeom.settings import ufm
from lightning_semgeom.settings.controlled import NETWORKS, features_setting, network_setting
from lightning_semgeom.settings.recipe import CLASSES

STEPS = dict.fromkeys(NETWORKS, 2000) | {"long": 20_000, "smoothed": 20_000}
UFM_STEPS = 6000
LONG = ("long", "smoothed")  # in the table alone


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
    """One run, unless it is there already."""
    if (folder / "done.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    made = setting_of(name, seed)
    control_table = made.table.shuffled(seed)
    geometry = SemanticGeometry(made.table, **made.capture)
    control = SemanticGeometry(control_table, name="semgeom_control", **made.capture)
    watch = Watch(geometry, made.table)
    trainer = quiet_trainer(steps, geometry, control, watch, default_root_dir=folder)
    trainer.fit(made.model, made.data)
    found = {"etf": watch.etf, "losses": watch.losses, "reached": watch.reached}
    (folder / "done.json").write_text(json.dumps(found))


def main():
    """Run what is missing, then tell of all."""
    options = parser_of(__doc__, "transience", NAMES).parse_args()
    jobs = []
    for setting, seed in itertools.product(options.settings, options.seeds):
        steps = options.steps or STEPS.get(setting, UFM_STEPS)
        jobs.append((setting, seed, steps, options.out / f"{setting}-{steps}-{seed}"))
    run_all(run, jobs)
    found = {setting: [] for setting in options.settings}
    for setting, *_, folder in jobs:
        found[setting].append(Run(folder))
    text = markdown(["", *COLUMNS], ([NAMES[s], *line(runs)] for s, runs in found.items()))
    networks = {setting: runs for setting, runs in found.items() if setting in NETWORKS}
    if networks:
        text += ["", *order(networks)]
    if "preconditioned" in found and None not in found["preconditioned"][0].reached:
        text += ["", *emergence(found["preconditioned"])]
    drawn = {setting: runs for setting, runs in found.items() if setting not in LONG}
    draw(drawn or found, figure := options.out / "transience.png")
    tell("\n".join(text), options.out, figure)


if __name__ == "__main__":
    main()
