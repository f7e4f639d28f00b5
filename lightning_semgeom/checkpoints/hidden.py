"""Hidden states of one text through checkpoints: one model, that gets the weights of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.capture.labels import LabelReader, LabelSource
from lightning_semgeom.capture.names import listed, module_names
from lightning_semgeom.checkpoints.tensors import Tensors
from lightning_semgeom.checkpoints.weights import put_weights
from lightning_semgeom.measure.figures import Measurement

GRAM_SIZE = 96  # as a live run's


@dataclass(frozen=True)
class HiddenAsked:
    """Which hidden states are to be measured, and of what."""

    build: Callable[[], nn.Module]
    """Makes the model; its weights are of no account."""
    hidden: Sequence[str]
    """Names of modules, or globs; none: the layers."""
    data: Iterable[Any]
    """Batches, the same for all checkpoints."""
    labels: LabelSource = "labels"
    """Where a batch has them; see `LabelReader`, as for the two that follow."""
    positions: Literal["all", "last"] = "all"
    shift_labels: bool = False
    forward: Callable[[Any, Any], object] | None = None
    """Calls the model on a batch; see `ForwardCalls`."""
    max_positions: int = 8192
    """Most rows of a site."""
    check: Callable[[Path], None] | None = None
    """Raises a CheckpointError where the model is not the one of a checkpoint's path."""

    @property
    def reader(self) -> LabelReader:
        """What finds the labels of a batch."""
        return LabelReader(self.labels, self.positions, self.shift_labels)


class HiddenStates:
    """Measures hidden sites of one checkpoint after the other, with several tables of one length.

    Raises:
        ValueError: if the data have no labels, or the model has no such modules.
    """

    def __init__(self, asked: HiddenAsked, tables: Mapping[str, AttributeTable]) -> None:
        # They bring Lightning, which `analyze` without hidden states does without.
        from lightning_semgeom.capture.capture import Capture
        from lightning_semgeom.capture.forward import ForwardCalls
        from lightning_semgeom.capture.probe import read_batches
        from lightning_semgeom.capture.ranks import Ranks
        from lightning_semgeom.measure.hidden import HiddenFigures

        self._asked = asked
        batches = read_batches(asked.data, asked.reader, asked.max_positions)
        self._model = model = asked.build()
        if not isinstance(model, nn.Module):
            raise ValueError(f"build must make a module; it made a {type(model).__name__}.")
        tensors = [*model.parameters(), *model.buffers()]
        if any(tensor.is_meta for tensor in tensors):
            raise ValueError("build made a model on the meta device, which holds no weights.")
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.bytes = sum(tensor.nbytes for tensor in tensors)
        device = tensors[0].device if tensors else torch.device("cpu")
        self._capture = Capture(
            model,
            len(next(iter(tables.values()))),
            unembedding=False,
            embedding=False,
            hidden=asked.hidden or layers_of(model),
            reader=asked.reader,
            probe=batches,
            max_positions=asked.max_positions,
            ranks=Ranks(device=device),
            once=True,
        )
        self._calls = ForwardCalls(model, asked.forward)
        self._figures = {name: HiddenFigures(table, GRAM_SIZE) for name, table in tables.items()}
        self.sites = self._capture.hidden_sites
        self.fingerprint = self._fingerprint(batches, device)

    def told(self, checkpoints: int) -> str:
        """What `checkpoints` of them cost, in words."""
        layers = f"{len(self.sites)} layer{'' if len(self.sites) == 1 else 's'}"
        return (
            f"hidden states of {layers}: the model of {self.parameters / 1e6:.3g} M parameters "
            f"takes {self.bytes / 1e6:.3g} MB; each of {checkpoints} checkpoints is read whole"
        )

    def measure(
        self, path: Path, tensors: Tensors
    ) -> tuple[dict[str, dict[str, Measurement]], list[str]]:
        """Figures by table and site, and the matrices that the model has no place for.

        Raises:
            CheckpointError: if the weights do not fit the model.
            Exception: what the model raises.
        """
        if self._asked.check is not None:
            self._asked.check(path)
        left = put_weights(self._model, tensors)
        rows = self._capture.run_probe(self._calls)
        for kept in rows.values():
            fault = kept if isinstance(kept, Exception) else kept.lacks
            if fault is not None:  # a curve of which one step is of less text shows the text
                raise fault
        found: dict[str, dict[str, Measurement]] = {}
        for name, figures in self._figures.items():
            found[name] = {}
            for site, one in figures.measure(rows).items():
                if isinstance(one, Exception):
                    raise one
                found[name][site] = one
        return found, left

    def _fingerprint(self, batches: Sequence[Any], device: torch.device) -> dict[str, Any]:
        """What figures depend on besides a checkpoint, as far as it can be seen."""
        known, asked = blake2b(digest_size=16), self._asked
        for batch in batches:
            _add(known, batch)
            _add(known, asked.reader.read(batch))
        kept = self._model.state_dict()
        shapes = {n: [str(t.dtype), *t.shape] for n, t in kept.items() if isinstance(t, Tensor)}
        return {
            "sites": [*self.sites],
            "data": known.hexdigest(),
            "positions": [asked.reader.positions, asked.reader.shift, asked.max_positions],
            "forward": getattr(asked.forward, "__qualname__", None),
            "model": [type(self._model).__qualname__, shapes, str(device)],
        }


def layers_of(model: nn.Module) -> list[str]:
    """Globs for the layers: what is in the longest of the lists of modules.

    Lists within a list are no candidates: a layer may have more experts than there are layers.

    Raises:
        ValueError: if the model has no such list.
    """
    lists = {
        n: m for n, m in module_names(model).items() if isinstance(m, nn.ModuleList) and len(m)
    }
    outer = {n: m for n, m in lists.items() if not any(n.startswith(f"{o}.") for o in lists)}
    if not outer:
        raise ValueError(
            f"{type(model).__name__} has no ModuleList of layers. Say which modules are looked at: "
            f"hidden=['...']. Modules: {listed(module_names(model))}."
        )
    most = max(map(len, outer.values()))
    return [f"{name}.*" for name, module in outer.items() if len(module) == most]


def _add(known: Any, value: Any) -> None:
    """Put what a batch holds into a hash."""
    if isinstance(value, Tensor):
        known.update(f"{value.dtype} {list(value.shape)}".encode())
        known.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            known.update(f"{key}:".encode())
            _add(known, entry)
    elif isinstance(value, list | tuple):
        known.update(f"{len(value)}[".encode())
        for entry in value:
            _add(known, entry)
    elif isinstance(value, str | int | float | None):
        known.update(repr(value).encode())
    else:  # the text of another object may have its address in it
        known.update(type(value).__qualname__.encode())
