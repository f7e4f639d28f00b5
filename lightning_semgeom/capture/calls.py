"""How a model is called on a batch that it is not trained on: as `Trainer.predict` calls it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import nn

from lightning_semgeom.capture.shards import flat_units


class Calls(Protocol):
    """A way to run a model on batches."""

    def predicting(self) -> AbstractContextManager[None]:
        """Around all batches: eval mode without gradients; after it all is as it was."""

    def prepared(self, batch: Any) -> Any:
        """The batch as the model takes it, where the model is."""

    def run(self, batch: Any, index: int) -> None:
        """Call the model on a batch that is prepared."""


class PredictCalls:
    """Calls `predict_step` with the strategy and the precision of a Trainer.

    Args:
        trainer: who trains the model.
        model: what it trains.
    """

    def __init__(self, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        self._trainer = trainer
        self._model = model
        self._takes_iterator = self._takes("dataloader_iter", explicit=True)
        hook = type(model).predict_step
        self._has_forward = hook is not pl.LightningModule.predict_step or has_forward(model)

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """Have trainer and model as in `Trainer.predict`; after it all is as it was."""
        state, model = self._trainer.state, self._model
        stage, hook = state.stage, model._current_fx_name
        try:
            state.stage, model._current_fx_name = RunningStage.PREDICTING, "predict_step"
            with evaluating(model):
                yield
        finally:
            state.stage, model._current_fx_name = stage, hook

    def prepared(self, batch: Any) -> Any:
        """The batch after the model's hooks, where the model is."""
        if self._takes_iterator:
            return batch
        batch = self._trainer.precision_plugin.convert_input(batch)
        batch = self._model._on_before_batch_transfer(batch, dataloader_idx=0)
        return self._trainer.strategy.batch_to_device(batch, dataloader_idx=0)

    def run(self, batch: Any, index: int) -> None:
        """Call `predict_step` on a batch that is prepared."""
        if not self._has_forward:
            name = type(self._model).__name__
            raise ValueError(
                f"the probe calls {name}.predict_step(batch, batch_idx), which calls forward, and "
                f"{name} has none. Write one of the two: def predict_step(self, batch, batch_idx): "
                "return self.model(batch['input_ids'])."
            )
        strategy, model = self._trainer.strategy, self._model
        wrapped = model if strategy.model is None else strategy.model
        # Only the wrapper's forward gathers what FullyShardedDataParallel has cut.
        step = strategy.predict_step if flat_units(wrapped) else model.predict_step
        arguments: tuple[Any, ...] = (batch, index)
        if self._takes_iterator:
            arguments = (iter([(batch, index, 0)]),)
        elif not self._takes("batch_idx", min_args=2):
            arguments = (batch,)
        with self._trainer.precision_plugin.forward_context():
            step(*arguments)

    def _takes(self, name: str, **options: Any) -> bool:
        return is_param_in_hook_signature(self._model.predict_step, name, **options)


def has_forward(model: nn.Module) -> bool:
    """Whether a module can be called."""
    missing = (nn.Module.forward, pl.LightningModule.forward)
    return getattr(model.forward, "__func__", None) not in missing


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have a model in eval mode, without gradients; after it each module is in the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
