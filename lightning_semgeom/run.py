"""One fit at work: rows from the capture, through `measure`, into the recorder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor

from lightning_semgeom.attributes import AttributeTable
from lightning_semgeom.capture.activations import HiddenRows
from lightning_semgeom.capture.capture import Capture
from lightning_semgeom.faults import Faults
from lightning_semgeom.geometry.classes import class_means
from lightning_semgeom.loggers import run_folder
from lightning_semgeom.measure import SitePlan, gram_bands, gram_picture, measure, plan_site
from lightning_semgeom.recorder import Recorder


class Run:
    """Takes one record after the other.

    Args:
        name: the root of all keys.
        table: the attributes.
        capture: the sites of the model.
        gram_size: most rows in a Gram picture.
        is_gram_due: whether the record of a step keeps its Gram pictures.
        on_error: what a fault does.
    """

    def __init__(
        self,
        name: str,
        table: AttributeTable,
        capture: Capture,
        gram_size: int,
        is_gram_due: Callable[[int], bool],
        on_error: Literal["warn", "raise"],
    ) -> None:
        sites = (*capture.weight_sites, *capture.hidden_sites)
        self.recorder = Recorder(name, sites, table.names)
        self.recorded_step: int | None = None
        self._table = table
        self._capture = capture
        self._gram_size = gram_size
        self._is_gram_due = is_gram_due
        self._faults = Faults(on_error)
        self._weight_plans: dict[str, SitePlan] = {}

    @property
    def reads_training_batch(self) -> bool:
        """Whether a record waits for the forward of a training batch."""
        return self._capture.reads_training_batch

    @property
    def waits_for_batch(self) -> bool:
        """Whether hooks are registered for the forward of a training batch."""
        return self._capture.armed

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was saved."""
        self.recorder.load_state_dict(state)
        if len(self.recorder.history):
            self.recorded_step = self.recorder.history.records[-1].step

    def begin(self, trainer: pl.Trainer, model: pl.LightningModule, step: int) -> None:
        """Start the record of `step` with what needs its weights and no training batch."""
        self.recorder.begin(step)
        for site in self._capture.weight_sites:
            with self._tolerated(f"{site} is not captured"):
                self._add_weight(site)
        if self._capture.reads_probe:
            with self._tolerated("the probe is not captured"):
                self._add_hidden(self._capture.run_probe(trainer, model))
        if not self.reads_training_batch:
            self.finish(trainer.loggers)

    def arm(self, batch: Any) -> None:
        """Register the hooks for the forward of `batch`."""
        with self._tolerated("hidden states are not captured"):
            self._capture.arm(batch)

    def collect(self) -> None:
        """Add what the hooks kept to the record."""
        with self._tolerated("hidden states are not captured"):
            self._add_hidden(self._capture.collect())

    def finish(self, loggers: Iterable[Logger]) -> None:
        """End the record and tell history and loggers.

        The row goes to each logger itself: `LightningModule.log` would put it at the next step of
        the `log_every_n_steps` grid.
        """
        step = self.recorded_step = self.recorder.begun_step
        with self._faults.tolerated("the history is not written", step, input_proven=True):
            self.recorder.finish()
        for logger in loggers:
            what = f"{type(logger).__name__} is not told"
            with self._faults.tolerated(what, step, input_proven=True):
                logger.log_metrics(dict(self.recorder.values), step=step)

    def open_history(self, trainer: pl.Trainer, folder: str) -> None:
        """Write the history into `folder` of the trainer's run."""
        with self._faults.tolerated("the history is not written", None, input_proven=True):
            self.recorder.history.open(run_folder(trainer) / folder)

    def disarm(self) -> None:
        """Leave no hook on the model."""
        self._capture.disarm()

    def _add_weight(self, site: str) -> None:
        rows = self._capture.weight_rows(site)
        if site not in self._weight_plans:
            row_ids = torch.arange(rows.shape[0], device=rows.device)
            self._weight_plans[site] = plan_site(self._table, row_ids, self._gram_size)
        self._add(site, rows, self._weight_plans[site])

    def _add_hidden(self, captured: Mapping[str, HiddenRows]) -> None:
        for site, hidden in captured.items():
            # Positions with the same label share all attributes and are alike for other reasons;
            # one row a label keeps them out of the comparison, and the null honest.
            rows, labels = class_means(hidden.rows, hidden.labels)
            self._add(site, rows, plan_site(self._table, labels, self._gram_size))
        missing = [site for site in self._capture.hidden_sites if site not in captured]
        if missing:
            raise ValueError(f"no forward of this batch called {', '.join(missing)}.")

    def _add(self, site: str, rows: Tensor, plan: SitePlan) -> None:
        """Measure one site, with a picture where one is due or the gap is larger than ever."""
        measured = measure(rows, plan, self._table.names)
        largest = self.recorder.is_new_maximum(site, measured.values["gap"])
        self.recorder.add(site, measured.values)
        if largest or self._is_gram_due(self.recorder.begun_step):
            self.recorder.add_gram(
                site,
                gram_picture(rows, plan, measured.mean),
                gram_bands(plan, self._table.values[0]),
            )

    def _tolerated(self, what: str) -> AbstractContextManager[None]:
        """A fault of the first record may be bad input and goes through; later ones do not."""
        proven = len(self.recorder.history) > 0
        return self._faults.tolerated(what, self.recorder.step, input_proven=proven)
