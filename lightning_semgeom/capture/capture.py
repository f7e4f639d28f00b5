"""All sites of one model: where their rows come from at each capture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from lightning_semgeom.capture.activations import HiddenCapture, HiddenRows
from lightning_semgeom.capture.labels import LabelReader, Share
from lightning_semgeom.capture.names import find_hidden
from lightning_semgeom.capture.shards import (
    OwnedRows,
    flat_units,
    gathered_flat_parameters,
    owned_rows,
)
from lightning_semgeom.capture.sites import (
    find_embedding,
    find_unembedding,
    site_shape,
    site_weight,
)
from lightning_semgeom.faults import attempted
from lightning_semgeom.ranks import Ranks


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
        max_positions: most hidden rows of a site, over all processes.
        ranks: this process among the others.

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
        max_positions: int,
        ranks: Ranks,
    ) -> None:
        self._weights: dict[str, nn.Module] = {}
        self.widths: dict[str, int] = {}
        for site, wanted, find in (
            ("unembedding", unembedding, find_unembedding),
            ("embedding", embedding, find_embedding),
        ):
            if wanted:
                name, module = find(model, wanted, num_rows)
                rows, self.widths[site] = site_shape(module)
                _check_length(num_rows, rows, f"{site} '{name}'")
                self._weights[site] = module
        modules = find_hidden(model, hidden)
        self._hidden = HiddenCapture({f"hidden.{n}": m for n, m in modules.items()}, reader)
        self._num_rows = num_rows
        self._limit = max_positions
        self._ranks = ranks
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

    @property
    def capacity(self) -> int:
        """The most hidden rows that this process keeps of a site."""
        return max(2, -(-self._limit // self._ranks.size))

    @contextmanager
    def weights(
        self, trainer: pl.Trainer, model: pl.LightningModule
    ) -> Iterator[dict[str, OwnedRows | Exception]]:
        """The rows of each weight site that this process answers for, or what was wrong."""
        with gathered_flat_parameters(_wrapped(trainer, model), list(self._weights.values())):
            yield {site: attempted(self._owned, module) for site, module in self._weights.items()}

    def _owned(self, module: nn.Module) -> OwnedRows:
        # What the table has no row for is padding: no token or class, and no part of the mean.
        return owned_rows(site_weight(module), self._ranks).before(self._num_rows)

    def arm(self, batch: Any, model: pl.LightningModule) -> Exception | None:
        """Register the hooks for `model`'s training step on `batch`; says what is wrong with it."""
        share = Share(self.capacity * self._ranks.copies, self._ranks.copy, self._ranks.copies)
        # Other callbacks may call the model before the step does, for a probe or for samples.
        return self._hidden.arm(batch, share, lambda: model._current_fx_name == "training_step")

    def disarm(self) -> None:
        """Remove all hooks; harmless where there are none."""
        self._hidden.disarm()

    def collect(self) -> dict[str, HiddenRows | Exception]:
        """What the hooks kept, or what was wrong, by site."""
        return self._hidden.collect()

    def run_probe(
        self, trainer: pl.Trainer, model: pl.LightningModule
    ) -> dict[str, HiddenRows | Exception]:
        """Run the probe batches in eval mode without gradients, as if nothing had happened.

        Each process runs all of them, since a sharded model needs all processes in its forward, and
        keeps its part of the rows.
        """
        with isolate_rng(), _evaluation_mode(model):
            batches = attempted(self._all_probe_batches)
            if isinstance(batches, Exception):
                return dict.fromkeys(self.hidden_sites, batches)
            # Only the wrapper's forward gathers what FullyShardedDataParallel has cut.
            flat = flat_units(_wrapped(trainer, model))
            predict = trainer.strategy.predict_step if flat else model.predict_step
            parts = [self._probed(trainer, predict, *numbered) for numbered in enumerate(batches)]
        return {
            site: _joined([part[site] for part in parts], self.capacity)
            for site in self.hidden_sites
        }

    def _all_probe_batches(self) -> list[Any]:
        if self._probe_batches is None:
            self._probe_batches = list(self._probe or ())
        if not self._probe_batches:
            raise ValueError("probe has no batch.")
        return self._probe_batches

    def _probed(
        self, trainer: pl.Trainer, predict: Callable[[Any, int], Any], index: int, stored: Any
    ) -> dict[str, HiddenRows | Exception]:
        """What one batch of the probe gives, or what was wrong, by site."""
        ranks = self._ranks
        share = Share(self._limit, (ranks.rank + index) % ranks.size, ranks.size)
        try:
            batch = trainer.precision_plugin.convert_input(stored)
            batch = trainer.strategy.batch_to_device(batch)
            self._hidden.arm(batch, share)
            with trainer.precision_plugin.forward_context():
                predict(batch, index)
        except Exception as fault:
            return dict.fromkeys(self.hidden_sites, fault)
        finally:
            self.disarm()
        return self.collect()


def _wrapped(trainer: pl.Trainer, model: pl.LightningModule) -> nn.Module:
    """`model` as the strategy wrapped it."""
    return model if trainer.strategy.model is None else trainer.strategy.model


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


def _joined(parts: Sequence[HiddenRows | Exception], limit: int) -> HiddenRows | Exception:
    """The rows of several batches one after the other, at most `limit` of them."""
    faults = [part for part in parts if isinstance(part, Exception)]
    found = [part for part in parts if not isinstance(part, Exception)]
    if not found:
        return faults[0]
    if not faults:
        return HiddenRows.joined(found, limit)
    lacks = ValueError(
        f"{len(faults)} of {len(parts)} probe batches are left out; the first of them because of "
        f"{type(faults[0]).__name__}: {faults[0]}"
    )
    return HiddenRows.joined(found, limit, lacks)


def _check_length(num_rows: int, site_rows: int, site: str) -> None:
    if num_rows > site_rows:
        raise ValueError(
            f"the attribute table has {num_rows} rows, but {site} has only {site_rows}. Give a "
            "table with one row a token or class; a shorter one leaves the rest out."
        )
