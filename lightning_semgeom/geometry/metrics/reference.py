"""A module that is read where it is, not owned: who holds one is copied, and the module is not."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from torch import nn

_TOKENS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
_MODULES: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()
_UNPICKLED: WeakKeyDictionary[nn.Module, WeakSet[ModuleReference]] = WeakKeyDictionary()
"""The references that were unpickled with a module."""


class ModuleReference:
    """Refers to a module that belongs to a model, or to none; `reference[0]` is the module.

    A copy refers to the same module, unless what was copied is the model with the module in it:
    then it refers to the model's copy. The same goes for pickling, within a process. In another
    process what is unpickled without its model refers to a module of its own, and says so.
    """

    def __init__(self, module: nn.Module | None) -> None:
        self._module: Any = module
        self._copies: Mapping[int, Any] | None = None
        self._token: int | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> ModuleReference:
        copied = ModuleReference(self[0])
        # The model may be copied after us: what it became is looked up when it is needed.
        copied._copies = memo
        return copied

    def __getstate__(self) -> dict[str, Any]:
        module = self[0]
        if module is None:
            return {"module": None, "token": None}
        return {"module": module, "token": _token_of(module)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._module, self._copies, self._token = state["module"], None, state["token"]
        if self._module is not None:
            _UNPICKLED.setdefault(self._module, WeakSet()).add(self)

    def __getitem__(self, index: int) -> Any:
        if self._copies is not None:
            self._module = self._copies.get(id(self._module), self._module)
            self._copies = None
        if self._token is not None:
            token, self._token = self._token, None
            others = len(_UNPICKLED[self._module]) - 1
            # None but we and others like us refer to it: no model was unpickled with it.
            if sys.getrefcount(self._module) <= _COUNT_OF_ONE_HOLDER + others:
                self._find_again(token)
        return (self._module,)[index]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Eight below 65536 that no other module has; zeros for none."""
        token = 0 if self[0] is None else _token_of(self[0])
        return tuple(token >> 16 * place & 0xFFFF for place in range(8))

    def _find_again(self, token: int) -> None:
        if token in _MODULES:
            _UNPICKLED[self._module].discard(self)
            self._module = _MODULES[token]
            return
        warnings.warn(
            "NeuralCollapse: it was unpickled without the model that its classifier belongs to. It "
            "reads the classifier as it was when it was pickled. Give it the model's by "
            "set_classifier, or pickle both together.",
            stacklevel=4,
        )


def _token_of(module: nn.Module) -> int:
    token = _TOKENS.setdefault(module, uuid4().int)
    _MODULES[token] = module
    return token


def _count() -> int:
    """How many references are counted where a single object refers to a module."""

    class Holder:
        module: nn.Module

    holder = Holder()
    holder.module = nn.Module()
    return sys.getrefcount(holder.module)


_COUNT_OF_ONE_HOLDER = _count()
