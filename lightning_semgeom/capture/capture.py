"""All sites of one model: where their rows come from at each capture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from lightning_semgeom.capture.activations import HiddenCapture, HiddenRows
from lightning_semgeom.capture.labels import LabelReader
from lightning_semgeom.capture.sites import (
    find_embedding,
    find_hidden,
    find_unembedding,
    site_weight,
)


class Capture:
    """Finds the sites in a model and takes their rows.

    Args:
        model: the model to look in.
        num_rows: rows of the attribute table.
        unembedding: True to find the output weight, its module's name, or False.
        embedding: the same for the input weight.
        hidden: names or globs of modules.
        reader: how a batch's labels are found.
        probe: batches for the hidden states; None: the training batch.

    Raises:
        ValueError: if a module is not found, or a weight has fewer rows than the table.
    """

    def __init__(
        self,
        model: nn.Module,
        num_rows: int,
        unembedding: bool | str,
        embedding: bool | str,
        hidden: Sequence[str],
        reader: LabelReader,
        probe: Iterable[Any] | None,
    ) -> None:
        self._weights: dict[str, nn.Module] = {}
        for site, wanted, find in (
            ("unembedding", unembedding, find_unembedding),
            ("embedding", embedding, find_embedding),
        ):
            if wanted:
                name, module = find(model, wanted, num_rows)
                _check_length(num_rows, site_weight(module).shape[0], f"{site} '{name}'")
                self._weights[site] = module
        modules = find_hidden(model, hidden)
        self._hidden = HiddenCapture({f"hidden.{n}": m for n, m in modules.items()}, reader)
        self._limit = reader.limit
        self._probe = probe
        self._probe_batches: list[Any] | None = None
        self.weight_sites = tuple(self._weights)
        self.hidden_sites = tuple(f"hidden.{name}" for name in modules)

    @property
    def reads_training_batch(self) -> bool:
        """Whether hidden states come from the forward of the training batch."""
        return bool(self.hidden_sites) and self._probe is None

    @property
    def reads_probe(self) -> bool:
        """Whether hidden states come from probe batches."""
        return bool(self.hidden_sites) and self._probe is not None

    @property
    def armed(self) -> bool:
        """Whether hooks wait for the forward of a training batch."""
        return self._hidden.armed

    def weight_rows(self, site: str) -> Tensor:
        """The rows `[n, d]` of a weight site: the parameter itself, not a copy."""
        return site_weight(self._weights[site]).detach()

    def arm(self, batch: Any) -> None:
        """Register the hooks for the forward of a training batch."""
        self._hidden.arm(batch)

    def disarm(self) -> None:
        """Remove all hooks; harmless where there are none."""
        self._hidden.disarm()

    def collect(self) -> dict[str, HiddenRows]:
        """What the hooks kept, by site."""
        return self._hidden.collect()

    def run_probe(self, trainer: pl.Trainer, model: pl.LightningModule) -> dict[str, HiddenRows]:
        """Run the probe batches in eval mode without gradients, as if nothing had happened."""
        parts: list[dict[str, HiddenRows]] = []
        with isolate_rng(), _evaluation_mode(model):
            if self._probe_batches is None:
                self._probe_batches = list(self._probe or ())
            for index, stored in enumerate(self._probe_batches):
                batch = trainer.strategy.batch_to_device(stored)
                self.arm(batch)
                try:
                    with trainer.precision_plugin.forward_context():
                        model.predict_step(batch, index)
                finally:
                    self.disarm()
                parts.append(self.collect())
        return _joined(parts, self._limit)


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """`model.eval()` without gradients; after it each module's own mode is what it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _joined(parts: Sequence[Mapping[str, HiddenRows]], limit: int) -> dict[str, HiddenRows]:
    """The rows of several batches one after the other, at most `limit` of each site."""
    answer = {}
    for site in {site: None for part in parts for site in part}:
        found = [part[site] for part in parts if site in part]
        rows = torch.cat([hidden.rows for hidden in found])[:limit]
        answer[site] = HiddenRows(rows, torch.cat([hidden.labels for hidden in found])[:limit])
    return answer


def _check_length(num_rows: int, site_rows: int, site: str) -> None:
    if num_rows > site_rows:
        raise ValueError(
            f"the attribute table has {num_rows} rows, but {site} has only {site_rows}. Give a "
            "table with one row a token or class; a shorter one leaves the rest unlabelled."
        )
