"""The next training step of a model, with something around it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

import lightning.pytorch as pl
from torch._dynamo.exc import TorchDynamoException


def around_next_training_step(
    model: pl.LightningModule, looking: Callable[[], AbstractContextManager[None]]
) -> Callable[[], None]:
    """Enter `looking` around the next `model.training_step`; gives what takes it off again.

    The step itself, and not what callbacks may run of the model before it. As `torch.compile` of a
    LightningModule does, it is put beside the method of the class. Where the compiler cannot have
    what `looking` adds, the step runs once more without it.
    """
    step = model.training_step
    before = vars(model).get("training_step")

    def take_off() -> None:
        if vars(model).get("training_step") is looked_at:
            if before is None:
                del model.training_step
            else:
                model.training_step = before  # type: ignore[method-assign]

    @wraps(step)
    def looked_at(*arguments: Any, **keywords: Any) -> Any:
        take_off()
        try:
            with looking():
                return step(*arguments, **keywords)
        except TorchDynamoException:
            return step(*arguments, **keywords)

    model.training_step = looked_at  # type: ignore[method-assign]
    return take_off
