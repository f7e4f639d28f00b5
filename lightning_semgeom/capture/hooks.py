"""A forward hook that stays with its own module, however that is copied, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn


class ModuleHook:
    """A forward hook of one module that does nothing on its copies, and can be copied with it.

    Args:
        module: whose hook it is.
        keep: what is called with its outputs.
    """

    def __init__(self, module: nn.Module, keep: Callable[[Any], None]) -> None:
        self._module = module
        self._keep = keep

    def __call__(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        """Keep the output, where it is the module's own."""
        if module is self._module:
            self._keep(output)

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return _no_hook, ()


def _no_hook() -> Callable[..., None]:
    return _nothing


def _nothing(*_: Any) -> None:
    """What a hook on a copied module does."""


def first_entry(output: Any) -> Any:
    """What a module returned: itself, its first entry or first field."""
    if isinstance(output, Mapping):
        return next(iter(output.values()))
    return output[0] if isinstance(output, Sequence) else output
