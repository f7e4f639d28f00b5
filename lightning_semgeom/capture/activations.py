"""Hidden states of named modules in one forward, through hooks that live for it alone.

What a hook keeps are the labelled rows alone, copied out of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
    """int64 `[m]` on the host: the table's row of each."""
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
        modules: the modules by site, or why there is none any more; looked at anew each time.
        reader: how labels are found and lined up.
    """

    def __init__(self, modules: Mapping[str, nn.Module | Exception], reader: LabelReader) -> None:
        self._modules = modules
        self._reader = reader
        self._handles: list[RemovableHandle] = []
        self._taken: dict[str, HiddenRows | Exception] = {}
        self.armed = False

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites' names."""
        return tuple(self._modules)

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
            labels, ends = self._reader.read(batch), self._reader.ends(batch)
        except Exception as fault:
            self._taken = dict.fromkeys(self._modules, fault)
            return fault
        force_eager(self)
        for site, module in self._modules.items():
            if isinstance(module, Exception):
                self._taken[site] = module
                continue
            keep = partial(self._keep, site, is_it, labels, share, ends)
            self._handles.append(module.register_forward_hook(ModuleHook(module, keep)))
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
            site: taken.get(site) or _untaken(site, module)
            for site, module in self._modules.items()
        }

    def _keep(
        self,
        site: str,
        is_it: Callable[[], bool],
        labels: Tensor,
        share: Share,
        ends: Tensor | None,
        output: Any,
    ) -> None:
        if site in self._taken or not is_it():
            return
        try:
            rows = self._reader.select(hidden_state(output).detach(), labels, share, ends)
            self._taken[site] = HiddenRows(*rows)
        except Exception as fault:
            self._taken[site] = ValueError(f"hidden='{site}': {fault}")


def _untaken(site: str, module: nn.Module | Exception) -> Exception:
    if isinstance(module, Exception):
        return module
    return ValueError(f"no forward of this batch called {site}.")


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
