"""A training job that may end in the middle of an epoch, while hooks are registered.

As a process: `python -m tests.interrupted FOLDER kill|interrupt|error training|probe`.
"""

import os
import signal
import sys
from pathlib import Path

from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_semgeom import SemanticGeometry
from tests import models

# Checkpoints at 3, 6 and 9. One callback captures after each step, as early ones are, and keeps
# pictures of them; the other one every second.
EPOCH, STEPS, SAVED, ENDS = 5, 11, 3, 8


class EndingModel(models.TinyModel):
    """Ends its training in the middle of it, in one of several ways."""

    def __init__(self, how=None):
        super().__init__(dropout=0.0)
        self.how = how

    def forward(self, batch):
        logits = super().forward(batch)
        self.end_if("interrupt")  # in the forward of the probe, where there is one
        return logits

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.end_if("kill", "error")
        return loss

    def end_if(self, *ways):
        if self.how not in ways or self.trainer.global_step != ENDS:
            return
        how, self.how = self.how, None
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise {"interrupt": KeyboardInterrupt, "error": ArithmeticError}[how]


def job(folder, source):
    """The trainer of the job and its two callbacks, whose hidden states come from `source`."""
    probe = {"training": None, "probe": models.batches(2, seed=3)}[source]
    options = {"every_n_steps": 2, "probe": probe}
    callbacks = [
        SemanticGeometry(models.table(), hidden="body", **options),
        SemanticGeometry(
            models.table().shuffled(0),
            hidden="body.0",
            growth=None,
            name="control",
            **options,
        ),
    ]
    kept = ModelCheckpoint(folder, save_last=True, every_n_train_steps=SAVED)
    settings = {"max_steps": STEPS, "enable_checkpointing": True}
    return models.trainer(folder, *callbacks, kept, **settings), callbacks


def run(folder, source, how=None, **options):
    """Run it, from the last checkpoint with ckpt_path="last"; its callbacks."""
    trainer, callbacks = job(folder, source)
    model = EndingModel(how)
    trainer.fit(model, models.Resumable(models.batches(EPOCH)), **options)
    return callbacks


if __name__ == "__main__":
    _, path, how_it_ends, hidden_from = sys.argv
    run(Path(path), hidden_from, how_it_ends)
