"""All sites of one model: where their rows come from at each capture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import nn

from lightning_semgeom.capture.activations import HiddenCapture, HiddenRows
from lightning_semgeom.capture.calls import Calls
from lightning_semgeom.capture.eager import EAGER_COSTS
from lightning_semgeom.capture.labels import LabelReader, Share
from lightning_semgeom.capture.probe import Probe
from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.shards import OwnedRows, gathered_flat_parameters, owned_rows
from lightning_semgeom.capture.sites import site_weight
from lightning_semgeom.capture.steps import around_next_training_step
from lightning_semgeom.capture.taps import Taps, allows_checkpoints, has_compiled
from lightning_semgeom.capture.tracked import TrackedSites
from lightning_semgeom.faults import attempted


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
        once: whether this is one look alone. Then compiled code runs eagerly in it: taps would be
            compiled in.

    Raises:
        ValueError: if a module is not found, a weight does not fit the table, or the training step
            is given no batch to read labels from.
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
        once: bool = False,
    ) -> None:
        self._sites = TrackedSites(model, num_rows, unembedding, embedding, hidden)
        compiled = not once and bool(self._sites.hidden) and has_compiled(model)
        taps = Taps() if compiled and allows_checkpoints() else None
        self._hidden = HiddenCapture(self._sites.hidden, reader, taps)
        self._runs_eagerly = compiled and taps is None
        self._take_off: Callable[[], None] | None = None
        self._num_rows = num_rows
        self._limit = max_positions
        self._ranks = ranks
        self._probe = (
            None if probe is None else Probe(probe, self._hidden, reader, max_positions, ranks)
        )
        self.weight_sites = tuple(self._sites.weights)
        self.hidden_sites = tuple(self._sites.hidden)
        if self.reads_training_batch and _takes_iterator(model):
            raise ValueError(
                f"{type(model).__name__}.training_step takes dataloader_iter, so there is no batch "
                "to read labels from before it runs. Give probe=[...] for hidden states."
            )

    @property
    def widths(self) -> dict[str, int]:
        """Width of the rows of each weight site, as it is now."""
        return self._sites.widths

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

    def look_again(self, model: nn.Module) -> list[str]:
        """Follow a model that has got other modules; says what has changed."""
        news = self._sites.look_again(model)
        if news:
            self._hidden.attach()
        return [*news, *self._hidden.take_news()]

    def notes(self) -> list[str]:
        """What may be wrong with what is captured, in words."""
        if not self._runs_eagerly:
            return self._sites.notes()
        return [
            *self._sites.notes(),
            f"torch {torch.__version__} cannot tap compiled code: a step whose hidden states are "
            f"captured runs eagerly, and {EAGER_COSTS}",
        ]

    @contextmanager
    def weights(self, model: nn.Module) -> Iterator[dict[str, OwnedRows | Exception]]:
        """The rows of each weight site that this process answers for, or what was wrong.

        Args:
            model: the model, in whatever a strategy has wrapped it.
        """
        modules = [m for m in self._sites.weights.values() if isinstance(m, nn.Module)]
        with gathered_flat_parameters(model, modules):
            yield {
                site: attempted(self._owned, found) for site, found in self._sites.weights.items()
            }

    def _owned(self, module: nn.Module) -> OwnedRows:
        with torch.no_grad():
            weight = site_weight(module)
        # What the table has no row for is padding: no token or class, and no part of the mean.
        return owned_rows(weight, self._ranks).before(self._num_rows)

    def arm(self, batch: Any, model: pl.LightningModule) -> Exception | None:
        """Register the hooks for `model`'s training step on `batch`; says what is wrong with it."""
        share = Share(self.capacity * self._ranks.copies, self._ranks.copy, self._ranks.copies)
        # Other callbacks may call the model before the step does, for a probe or for samples.
        fault = self._hidden.arm(batch, share, lambda: model._current_fx_name == "training_step")
        if self._hidden.has_taps:
            self._leave_step()
            self._take_off = around_next_training_step(model, self._hidden.looking)
        return fault

    def _leave_step(self) -> None:
        if self._take_off is not None:
            self._take_off()
            self._take_off = None

    def let_go(self) -> None:
        """Leave nothing on the model; harmless where there is nothing."""
        self._leave_step()
        self._hidden.let_go()

    def collect(self) -> dict[str, HiddenRows | Exception]:
        """What the hooks kept, or what was wrong, by site."""
        self._leave_step()
        return self._hidden.collect()

    def run_probe(self, calls: Calls) -> dict[str, HiddenRows | Exception]:
        """What the probe's batches give, or what was wrong, by site."""
        if self._probe is None:
            raise RuntimeError("there is no probe")
        return self._probe.run(calls, self.capacity)


def _takes_iterator(model: nn.Module) -> bool:
    return isinstance(model, pl.LightningModule) and is_param_in_hook_signature(
        model.training_step, "dataloader_iter", explicit=True
    )
