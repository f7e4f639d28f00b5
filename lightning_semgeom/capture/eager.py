"""Eager execution of code that `torch.compile` compiled, for the time that hooks are registered.

A hook on a submodule of a compiled region never fires: the guards do not look for hooks. In the
stance "force_eager" it does, and the compiled code is used again afterwards, as it was.
"""

from __future__ import annotations

from contextlib import ExitStack

import torch

EAGER_COSTS = (
    "may take a few times as long and half as much memory again; a small probe=[batch] costs less"
)
"""What to tell of a step that runs eagerly."""

_holders: set[int] = set()
_stance = ExitStack()


def force_eager(holder: object) -> None:
    """Run compiled code eagerly until `allow_compiled(holder)`.

    The stance belongs to the process and several callbacks may want it at a time: the first one
    sets it, and the last one to go sets back what was before.
    """
    if not _holders:
        _stance.enter_context(torch.compiler.set_stance("force_eager"))
    _holders.add(id(holder))


def allow_compiled(holder: object) -> None:
    """End what `force_eager(holder)` began; harmless where nothing began."""
    _holders.discard(id(holder))
    if not _holders:
        _stance.close()
