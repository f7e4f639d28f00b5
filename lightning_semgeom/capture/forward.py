"""How a model is called on a batch where no Trainer is: as its own forward takes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from lightning_semgeom.capture.calls import evaluating, has_forward


class ForwardCalls:
    """Calls a model itself, on batches that are brought to where its parameters are.

    Args:
        model: any module.
        forward: calls it on a batch; None: as its own forward takes the batch. Of a dict that gets
            the entries that it has parameters for, or the whole dict where it requires a parameter
            that is no key; of a tuple or a list the first entries, as many as it requires.
    """

    def __init__(self, model: nn.Module, forward: Callable[[Any, Any], object] | None) -> None:
        self._model = model
        self._forward = forward
        parameter = next(model.parameters(), None)
        self._device = torch.device("cpu") if parameter is None else parameter.device

    def predicting(self) -> AbstractContextManager[None]:
        """Have the model in eval mode without gradients; after it all is as it was."""
        return evaluating(self._model)

    def prepared(self, batch: Any) -> Any:
        """The batch with its tensors where the model is."""
        return apply_to_collection(batch, Tensor, lambda tensor: tensor.to(self._device))

    def run(self, batch: Any, index: int) -> None:
        """Call the model on a batch that is prepared."""
        if self._forward is not None:
            self._forward(self._model, batch)
            return
        if not has_forward(self._model):
            raise ValueError(
                f"{type(self._model).__name__} has no forward to call on data. Give a function "
                "that calls it: forward=lambda model, batch: model.net(batch['input_ids'])."
            )
        positional, named = _arguments(self._model, batch)
        self._model(*positional, **named)


def _arguments(model: nn.Module, batch: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """What of `batch` the model is called with."""
    if not isinstance(batch, Mapping | tuple | list):
        return (batch,), {}
    taken = _parameters(model)
    required = [name for name, one in taken.items() if one.default is inspect.Parameter.empty]
    if not isinstance(batch, Mapping):
        return batch[: max(len(required), 1)], {}
    known = {name: entry for name, entry in batch.items() if name in taken}
    if not known or not set(required) <= set(known):
        return (batch,), {}
    return (), known


def _parameters(model: nn.Module) -> dict[str, inspect.Parameter]:
    """What the forward of `model` has a name for."""
    return {
        name: parameter
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    }
