"""How many optimizer steps the weights have had: counted where they happen.

Lightning counts batches where steps are taken by hand, each of several optimizers, and steps that a
GradScaler skipped; after a crash it may count one too many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


class Updates:
    """Counts the updates of the weights while a fit runs.

    Several optimizers that step in one batch make one update; one that steps three times, three.
    """

    def __init__(self) -> None:
        self.count = 0
        """Updates that the weights have had."""
        self.before_batch = 0
        """Those of them from before the batch at work."""
        self._in_batch: Counter[int] = Counter()
        self._optimizers: list[Optimizer] = []
        self._handles: list[RemovableHandle] = []
        self._counts_batches = False

    def follow(self, trainer: pl.Trainer, count: int) -> None:
        """Count from `count` on what the optimizers of `trainer` do."""
        self.count = self.before_batch = count
        self._register(trainer.optimizers)

    def begin_batch(self, trainer: pl.Trainer) -> None:
        """Tell the updates of the batch that begins from earlier ones."""
        self.before_batch = self.count
        self._in_batch.clear()
        if trainer.optimizers is not self._optimizers:
            self._register(trainer.optimizers)

    def end_batch(self, trainer: pl.Trainer) -> None:
        """Count a batch as Lightning does where there are no optimizers that can be watched."""
        if self._counts_batches and not trainer.fit_loop.epoch_loop._should_accumulate():
            self.count += 1

    def stop(self) -> None:
        """Leave no hook on the optimizers."""
        while self._handles:
            self._handles.pop().remove()
        self._optimizers = []

    def _register(self, optimizers: list[Optimizer]) -> None:
        self.stop()
        self._optimizers = optimizers
        self._counts_batches = not all(map(_can_be_watched, optimizers))
        if not self._counts_batches:
            self._handles = [o.register_step_post_hook(self._hook(o)) for o in optimizers]

    def _hook(self, optimizer: Optimizer) -> Callable[..., None]:
        key = id(optimizer)

        def count(*_: Any) -> None:
            self._in_batch[key] += 1
            self.count = max(self.count, self.before_batch + self._in_batch[key])

        return count


def _can_be_watched(optimizer: object) -> bool:
    """Not those of DeepSpeed, nor what stands for none where a model steps its own by hand."""
    return isinstance(optimizer, Optimizer) and type(optimizer).__name__ != "_MockOptimizer"


def updates_of(trainer: pl.Trainer) -> int:
    """What Lightning knows of the updates before the first batch of a fit."""
    # The loop counts one too many after a crash in a batch; the optimizer's own progress does not.
    if len(trainer.optimizers) == 1 and trainer.global_step:
        return trainer.global_step
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def averaged_by(trainer: pl.Trainer, callback: pl.Callback) -> str | None:
    """Which other callback has put averaged weights into the model when training has ended.

    Args:
        trainer: whose callbacks are looked at.
        callback: the one that asks; averages are put in by those that Lightning calls before it.
    """
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    before = callbacks[: callbacks.index(callback)]
    for other in callbacks:
        classes = {cls.__name__ for cls in type(other).__mro__}
        # This one does it in an epoch of its own where there are batch norms.
        if "StochasticWeightAveraging" in classes or (
            "WeightAveraging" in classes and other in before
        ):
            return type(other).__name__
    return None
