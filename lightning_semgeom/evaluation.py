"""One record where nothing is trained: in `Trainer.validate`, `test` and `predict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl

from lightning_semgeom.run import Run


def record_once(
    run: Run, trainer: pl.Trainer, model: pl.LightningModule, saved: Mapping[str, Any]
) -> None:
    """Take the record of the weights as they are: in memory and in loggers, no file.

    Args:
        run: a new one.
        trainer: who evaluates the model.
        model: what is evaluated.
        saved: the callback's state in the checkpoint that the weights come from, which knows their
            step; empty: `trainer.global_step` is all that is known.
    """
    run.begin(trainer, model, int(saved.get("updates", trainer.global_step)))
    if run.recorder.step is not None:
        run.say(
            "hidden states come from the training batch, and an evaluation has none: they are "
            "missing in its record. Give probe=[batches]."
        )
        run.finish(trainer.loggers)
