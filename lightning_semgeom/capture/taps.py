"""Outputs of modules within code that `torch.compile` compiles.

A hook that is registered after the compilation never fires, since guards do not look for hooks.
These are there before it and set an attribute while a switch is open: the compiler sees a branch,
guards the switch, and keeps two variants, the plain one and one that has these outputs besides its
own. Taking one or the other costs no compilation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_semgeom.capture.hooks import ModuleHook, first_entry

# An attribute that is set within a checkpointed region would break the graph, which `fullgraph`
# does not allow; where torch knows this setting, only its recomputation does not set it.
_ALLOWS_CHECKPOINTS = "skip_fwd_side_effects_in_bwd_under_checkpoint"


class _Switch:
    """One for the process: each of several callbacks with its own would double the variants."""

    def __init__(self) -> None:
        self.is_open = False
        self.steps = 0
        """How many are looking at the step that runs now."""


class _Slot:
    """What a module gave first since the switch was opened."""

    def __init__(self) -> None:
        self.value: Any = None

    def keep(self, output: Any) -> None:
        """Keep the output while the switch is open; this is compiled, and asks for no more."""
        if _switch.is_open and self.value is None:
            self.value = _copied(output)


_switch = _Switch()
_slots: WeakSet[_Slot] = WeakSet()
_holders: set[int] = set()


def _copied(output: Any) -> Any:
    """The first entry of an output, as it is now; what is no tensor as it is."""
    first = first_entry(output)
    return first.detach().clone() if isinstance(first, Tensor) else first


class Taps:
    """Hooks on modules that compiled code is compiled with."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot] = {}
        self._handles: dict[str, tuple[nn.Module, RemovableHandle]] = {}

    def attach(self, modules: Mapping[str, nn.Module | Exception]) -> None:
        """Have hooks on these modules; on those that have one already it stays."""
        for site, module in modules.items():
            held, handle = self._handles.get(site, (None, None))
            if held is module:
                continue
            if handle is not None:
                handle.remove()
                del self._handles[site]
            if isinstance(module, nn.Module):
                slot = self._slots.setdefault(site, _Slot())
                _slots.add(slot)
                hook = module.register_forward_hook(ModuleHook(module, slot.keep))
                self._handles[site] = module, hook

    def detach(self) -> None:
        """Leave no hook."""
        self.close()
        for _, handle in self._handles.values():
            handle.remove()
        self._handles = {}

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """Keep the first output of each module; the dict has them when it is left.

        The switch stays open until `close`, for the recomputation of checkpoints in the backward.
        """
        _holders.add(id(self))
        _switch.is_open = True
        _switch.steps += 1
        found: dict[str, Any] = {}
        try:
            with ExitStack() as stack:
                if allows_checkpoints():
                    import torch._dynamo.config as config

                    stack.enter_context(config.patch({_ALLOWS_CHECKPOINTS: True}))
                yield found
        finally:
            _switch.steps -= 1
            found |= {s: slot.value for s, slot in self._slots.items() if slot.value is not None}
            _empty(self._slots.values() if _switch.steps else _slots)

    def close(self) -> None:
        """Keep nothing any more; harmless where nothing was kept."""
        _holders.discard(id(self))
        _empty(self._slots.values())
        if not _holders:
            _switch.is_open = False
            _empty(_slots)


def _empty(slots: Iterable[_Slot]) -> None:
    for slot in slots:
        slot.value = None


def allows_checkpoints() -> bool:
    """Whether this torch can have taps within a checkpointed region."""
    import torch._dynamo.config as config

    return hasattr(config, _ALLOWS_CHECKPOINTS)


def has_compiled(model: nn.Module) -> bool:
    """Whether `model`, one of its modules, or a function that one of them holds is compiled."""
    optimized: Any = torch._dynamo.OptimizedModule
    return any(
        isinstance(module, optimized)
        or getattr(module, "_compiled_call_impl", None) is not None
        or any(map(_is_compiled, vars(module).values()))
        for module in model.modules()
    )


def _is_compiled(value: Any) -> bool:
    return callable(value) and hasattr(value, "_torchdynamo_orig_callable")
