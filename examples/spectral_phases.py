"""How sure the rule for spectral phases is: on real curves of RankMe, and where nothing happens.

    python examples/spectral_phases.py                  # 15 runs, two tables, a figure
    python examples/spectral_phases.py --seeds 0 --settings factored --steps 400    # a quick look

Rows are the last hidden states: of the contexts' last position in the controlled settings, of all
positions of a probe and of whatever batch is trained on in the GPT on Python source. Each run
leaves its curves in a file under --out; one that is there is not run again.
"""

from itertools import islice

import lightning.pytorch as pl
import numpy as np
import torch
from many_runs import jobs_of, parser_of, quiet_trainer, run_all, tell
from spectral_phases_tables import alarms_table, draw, load, phases_table

from lightning_semgeom import eigenspectrum
from lightning_semgeom.capture.schedule import Schedule
from lightning_semgeom.settings.controlled import network_setting

STEPS = {"factored": 2000, "latent": 2000, "stdlib": 1200}
EVERY = 25
STILL = 60  # batches of which RankMe is taken while the weights stay as they are


def setting_of(name, seed, steps):
    """A setting by name."""
    if name == "stdlib":
        from lightning_semgeom.settings.stdlib import stdlib_setting

        return stdlib_setting(steps, seed)
    return network_setting(name, seed)


@torch.no_grad()
def rankme_of(model, batches, capture):
    """RankMe of the hidden states of `batches`."""
    rows = []
    last = capture.get("positions") == "last"

    def keep(module, inputs, hidden):
        rows.append((hidden[:, -1:] if last else hidden).flatten(0, -2))

    hook = model.get_submodule(capture["hidden"]).register_forward_hook(keep)
    for batch in batches:
        model(batch)
    hook.remove()
    return eigenspectrum(torch.cat(rows))["rankme"].item()


class RankMe(pl.Callback):
    """RankMe at each capture: of the probe, and of the batch that the step was made of."""

    def __init__(self, capture):
        self.capture = capture
        self.schedule = Schedule(EVERY, 1.1)
        self.steps, self.of_probe, self.of_batch = [], [], []

    def on_train_start(self, trainer, pl_module):
        """That of the initial weights; there is no batch yet."""
        self.keep(pl_module, 0, None)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """That of the weights after this step, where one is due."""
        if self.schedule.is_due(trainer.global_step):
            self.keep(pl_module, trainer.global_step, batch)

    def keep(self, model, step, batch):
        """One figure of each kind."""
        self.steps.append(step)
        self.of_probe.append(rankme_of(model, self.capture["probe"], self.capture))
        of_batch = np.nan if batch is None else rankme_of(model, [batch], self.capture)
        self.of_batch.append(of_batch)


def collect(name, seed, steps, file):
    """The curves of one run."""
    made = setting_of(name, seed, steps)
    watch = RankMe(made.capture | {"probe": [*made.capture["probe"]]})
    is_still = {}

    def hold_still(when):  # each batch another one, the weights the same
        batches = islice(made.data.train_dataloader(), STILL)
        is_still[when] = [rankme_of(made.model, [batch], watch.capture) for batch in batches]

    if name == "stdlib":
        hold_still("still at the start")
    quiet_trainer(steps, watch, gradient_clip_val=made.clip).fit(made.model, made.data)
    found = {"probe": watch.of_probe}
    if name == "stdlib":
        hold_still("still at the end")
        found["training batch"] = watch.of_batch
    np.savez(file, steps=watch.steps, **found, **is_still)


def main():
    """Collect what is missing, then judge all."""
    parser = parser_of(__doc__, "spectral_phases", STEPS, seeds=range(200, 205))
    options = parser.parse_args()
    run_all(collect, jobs := jobs_of(options, STEPS))
    curves = [curve for *_, file in jobs for curve in load(file)]
    tables = phases_table(curves), alarms_table(curves)
    draw(curves, figure := options.out / "spectral_phases.png")
    tell("\n\n".join("\n".join(table) for table in tables), options.out, figure)


if __name__ == "__main__":
    main()
