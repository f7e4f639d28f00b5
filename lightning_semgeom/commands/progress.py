"""The demo's progress: steps of all steps, and what the run has come to."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from tqdm.auto import tqdm
from typing_extensions import override


class StepBar(pl.Callback):
    """One bar for a whole run, and the loss of each of its batches.

    Lightning's own counts the batches of an epoch: of a run that `max_steps` ends nobody asked for
    epochs.

    Args:
        key: which of the trainer's `callback_metrics` to show beside the loss, as the gap.
    """

    def __init__(self, key: str) -> None:
        self.losses: list[float] = []
        self._key = key
        self._bar: tqdm[Any] | None = None

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar = tqdm(total=trainer.max_steps, desc="training", unit="step")

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.losses.append(outputs["loss"].item())
        if self._bar is not None:
            gap = trainer.callback_metrics.get(self._key)
            known = "" if gap is None else f", gap {gap:.3f}"
            self._bar.set_postfix_str(f"loss {self.losses[-1]:.2f}{known}", refresh=False)
            self._bar.update()

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None
