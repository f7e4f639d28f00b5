"""Hidden states of named modules in one forward, through hooks that live for it alone.

What a hook keeps are the labelled rows alone, copied out of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.hooks import RemovableHandle

from lightning_semgeom.capture.eager import allow_compiled, force_eager
from lightning_semgeom.capture.labels import LabelReader, Share


@dataclass(frozen=True)
class HiddenRows:
    """What one module gave."""

    rows: Tensor
    """`[m, d]`, in the dtype of the module's output."""
    labels: Tensor
    """int64 `[m]`: the table's row of each."""
    lacks: Exception | None = None
    """Why rows of some batches are not there; None: all are."""

    @classmethod
    def joined(
        cls,
        parts: Sequence[HiddenRows],
        limit: int | None = None,
        lacks: Exception | None = None,
    ) -> HiddenRows:
        """The first `limit` rows of all parts, one part after the other."""
        rows, labels = ([getattr(part, name) for part in parts] for name in ("rows", "labels"))
        return cls(torch.cat(rows)[:limit], torch.cat(labels)[:limit], lacks)


class HiddenCapture:
    """Keeps the labelled output rows of some modules while it is armed.

    Of several calls of one module the first counts: the others are other inputs, or the
    recomputation of activation checkpointing. While armed, compiled code runs eagerly.

    Args:
        modules: the modules by name.
        reader: how labels are found and lined up.
    """

    def __init__(self, modules: Mapping[str, nn.Module], reader: LabelReader) -> None:
        self._modules = modules
        self._reader = reader
        self._handles: list[RemovableHandle] = []
        self._taken: dict[str, HiddenRows | Exception] = {}
        self.armed = False

    def arm(
        self, batch: Any, share: Share, is_it: Callable[[], bool] = lambda: True
    ) -> Exception | None:
        """Register the hooks for the forward of `batch`.

        Args:
            batch: what the forward is of.
            share: which of its positions are kept.
            is_it: whether what is being called now is that forward and not that of something else.

        Returns:
            What is wrong with its labels, which `collect` tells for each module too.
        """
        self.disarm()
        self._taken, self.armed = {}, True
        try:
            labels = self._reader.read(batch)
        except Exception as fault:
            self._taken = dict.fromkeys(self._modules, fault)
            return fault
        force_eager(self)
        for name, module in self._modules.items():
            hook = self._hook(name, labels, share, is_it)
            self._handles.append(module.register_forward_hook(hook))
        return None

    def disarm(self) -> None:
        """Remove the hooks; harmless where there are none."""
        self.armed = False
        while self._handles:
            self._handles.pop().remove()
        allow_compiled(self)

    def collect(self) -> dict[str, HiddenRows | Exception]:
        """Remove the hooks and give, for each module, what its first output held or what was wrong.

        Faults are told here and not within the user's forward.
        """
        self.disarm()
        taken, self._taken = self._taken, {}
        return {
            name: taken.get(name) or ValueError(f"no forward of this batch called {name}.")
            for name in self._modules
        }

    def _hook(
        self, name: str, labels: Tensor, share: Share, is_it: Callable[[], bool]
    ) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if name in self._taken or not is_it():
                return
            try:
                rows = self._reader.select(hidden_state(output).detach(), labels, share)
                self._taken[name] = HiddenRows(*rows)
            except Exception as fault:
                self._taken[name] = ValueError(f"hidden='{name}': {fault}")

        return keep


def hidden_state(output: Any) -> Tensor:
    """The hidden state in what a module returned: itself, its first entry or first field."""
    if isinstance(output, Mapping):
        output = next(iter(output.values()))
    elif isinstance(output, Sequence):
        output = output[0]
    if not isinstance(output, Tensor) or not output.is_floating_point():
        raise ValueError(
            f"the output is a {type(output).__name__}; expected a floating point tensor [B, d] or "
            "[B, T, d], or a tuple that begins with one. Name another module in hidden=."
        )
    if isinstance(output, DTensor):
        if not all(placement.is_replicate() for placement in output.placements):
            raise ValueError(
                f"the output is a DTensor in pieces, {output.placements}. Name a module whose "
                "output is whole on each process, such as the next one that reduces it."
            )
        whole: Tensor = output.to_local()
        return whole
    return output
