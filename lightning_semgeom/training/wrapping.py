"""A training step with something done around it, standing in its model in the step's place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import update_wrapper
from typing import Any

import lightning.pytorch as pl


class WrappedStep:
    """Calls the training step of a model within `around(batch)` and hands on its changed outputs.

    Copies and pickles of the model have their own step and nothing around it.

    Args:
        model: whose `training_step` is wrapped, until `undo`.
        around: what is entered before the step, with the batch, and left after it; answers with a
            function from the step's outputs to those that are returned.
    """

    def __init__(
        self,
        model: pl.LightningModule,
        around: Callable[[Any], AbstractContextManager[Callable[[Any], Any]]],
    ) -> None:
        self._model = model
        self._around = around
        self._own = vars(model).get("training_step")
        self._step = model.training_step
        update_wrapper(self, self._step)
        model.training_step = self  # type: ignore[method-assign]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the step."""
        batch = next(iter([*arguments, *named.values()]), None)
        with self._around(batch) as changed:
            return changed(self._step(*arguments, **named))

    def undo(self) -> None:
        """Give the model its own step again."""
        if self._own is None:
            del self._model.training_step
        else:
            self._model.training_step = self._own  # type: ignore[method-assign]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # Of a model that is being copied the class's own step, bound to the copy.
        if self._own is None:
            return getattr, (self._model, "training_step")
        return _same, (self._own,)


def _same(step: Callable[..., Any]) -> Callable[..., Any]:
    return step
