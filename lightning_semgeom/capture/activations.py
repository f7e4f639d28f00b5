"""Hidden states of named modules in one forward, through hooks that live for it alone.

What a hook keeps are the labelled rows alone, copied out of the graph. Where the model has compiled
code the hooks are taps, which are there from the first compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch.distributed.tensor import DTensor
from torch.utils.hooks import RemovableHandle

from lightning_semgeom.capture.eager import EAGER_COSTS, allow_compiled, force_eager
from lightning_semgeom.capture.hooks import ModuleHook, first_entry
from lightning_semgeom.capture.labels import LabelReader, Share
from lightning_semgeom.capture.taps import Taps
from lightning_semgeom.faults import UndefinedError


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
    recomputation of activation checkpointing. Without taps compiled code runs eagerly while armed.

    Args:
        modules: the modules by site, or why there is none any more; looked at anew each time.
        reader: how labels are found and lined up.
        taps: for a model with compiled code; None: for others.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module | Exception],
        reader: LabelReader,
        taps: Taps | None = None,
    ) -> None:
        self._modules = modules
        self._reader = reader
        self._handles: list[RemovableHandle] = []
        self._taken: dict[str, HiddenRows | Exception] = {}
        self._keep: Callable[[str, Any], None] | None = None
        self._taps = taps
        self._news: list[str] = []
        self.armed = False
        self.attach()

    @property
    def has_taps(self) -> bool:
        """Whether outputs come out of compiled code, in `looking`."""
        return self._taps is not None

    def attach(self) -> None:
        """Have taps on the modules as they are now, before they are compiled."""
        if self._taps is not None:
            self._taps.attach(self._modules)

    def let_go(self) -> None:
        """Leave no hook of any kind."""
        self.disarm()
        if self._taps is not None:
            self._taps.detach()

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
        keep = self._keep = partial(self._kept, labels, share, ends)
        if self._taps is not None:
            return None
        force_eager(self)
        for site, module in self._modules.items():
            if isinstance(module, Exception):
                self._taken[site] = module
                continue
            hook = ModuleHook(module, partial(self._keep_first, keep, site, is_it))
            self._handles.append(module.register_forward_hook(hook))
        return None

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Around the forward of what was armed for: taps are open in it."""
        keep = self._keep
        if self._taps is None or keep is None:
            yield
            return
        try:
            with self._taps.opened() as found:
                yield
        except TorchDynamoException as fault:
            self._go_eager(f"the compiler does not take it ({type(fault).__name__})")
            raise
        for site, output in found.items():
            keep(site, output)
        missed = [
            s for s, m in self._modules.items() if isinstance(m, nn.Module) and s not in found
        ]
        if missed:
            self._go_eager(f"{', '.join(missed)} gave nothing: compiled before, or not called")

    def _go_eager(self, why: str) -> None:
        for site in self._modules:  # not the user's fault, so that no run ends by it
            self._taken.setdefault(site, UndefinedError("no output", f"{why}."))
        if self._taps is not None:
            self._taps.detach()
            self._taps = None
            self._news.append(
                f"hidden states of compiled code are taken in steps that run eagerly, since {why}. "
                f"Such a step {EAGER_COSTS}"
            )

    def take_news(self) -> list[str]:
        """What has become of the way outputs are taken, in words, once."""
        news, self._news = self._news, []
        return news

    def disarm(self) -> None:
        """Remove the hooks; harmless where there are none."""
        self.armed = False
        self._keep = None
        while self._handles:
            self._handles.pop().remove()
        allow_compiled(self)
        if self._taps is not None:
            self._taps.close()

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

    def _keep_first(
        self, keep: Callable[[str, Any], None], site: str, is_it: Callable[[], bool], output: Any
    ) -> None:
        if site not in self._taken and is_it():
            keep(site, output)

    def _kept(
        self, labels: Tensor, share: Share, ends: Tensor | None, site: str, output: Any
    ) -> None:
        try:
            rows = self._reader.select(hidden_state(output).detach(), labels, share, ends)
            self._taken[site] = HiddenRows(*rows)
        except Exception as fault:
            self._taken[site] = ValueError(f"hidden='{site}': {fault}")


def _untaken(site: str, module: nn.Module | Exception) -> Exception:
    if isinstance(module, Exception):
        return module
    return ValueError(f"no forward of this batch called {site}.")


def hidden_state(output: Any) -> Tensor:
    """The hidden state in what a module returned: itself, its first entry or first field."""
    output = first_entry(output)
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
