"""Hidden states of named modules in one forward, through hooks that live for it alone.

What a hook keeps are the labelled rows alone, copied out of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_semgeom.capture.labels import LabelReader


@dataclass(frozen=True)
class HiddenRows:
    """What one module gave."""

    rows: Tensor
    """`[m, d]`, in the dtype of the module's output."""
    labels: Tensor
    """int64 `[m]`: the table's row of each."""


class HiddenCapture:
    """Keeps the labelled output rows of some modules while it is armed.

    Of several calls of one module the first counts: the others are other inputs, or the
    recomputation of activation checkpointing.

    Args:
        modules: the modules by name.
        reader: how labels are found and lined up.
    """

    def __init__(self, modules: Mapping[str, nn.Module], reader: LabelReader) -> None:
        self._modules = modules
        self._reader = reader
        self._handles: list[RemovableHandle] = []
        self._taken: dict[str, HiddenRows] = {}
        self._fault: Exception | None = None

    def arm(self, batch: Any) -> None:
        """Register the hooks for the forward of `batch`."""
        labels = self._reader.read(batch)
        self.disarm()
        self._taken, self._fault = {}, None
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name, labels)))

    def disarm(self) -> None:
        """Remove the hooks; harmless where there are none."""
        while self._handles:
            self._handles.pop().remove()

    @property
    def armed(self) -> bool:
        """Whether hooks are registered."""
        return bool(self._handles)

    def collect(self) -> dict[str, HiddenRows]:
        """Remove the hooks and give what each called module's first output held.

        Raises:
            ValueError: if an output did not fit the labels, here and not within the user's forward.
        """
        self.disarm()
        if self._fault is not None:
            raise self._fault
        taken, self._taken = self._taken, {}
        return taken

    def _hook(self, name: str, labels: Tensor) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if name in self._taken or self._fault is not None:
                return
            try:
                self._taken[name] = HiddenRows(*self._reader.select(_tensor(output), labels))
            except Exception as fault:
                self._fault = ValueError(f"hidden='{name}': {fault}")
                self._fault.__cause__ = fault

        return keep


def _tensor(output: Any) -> Tensor:
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
    return output
