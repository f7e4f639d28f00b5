"""One fit at work: rows from the capture, through the figures, into the recorder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from lightning_semgeom.attributes import AttributeTable
from lightning_semgeom.capture.activations import HiddenRows
from lightning_semgeom.capture.capture import Capture
from lightning_semgeom.capture.exchange import HiddenExchange
from lightning_semgeom.faults import Faults, UndefinedError, attempted
from lightning_semgeom.geometry.classes import class_means
from lightning_semgeom.loggers import run_folder
from lightning_semgeom.measure import Measurement, measure, plan_site
from lightning_semgeom.ranks import Ranks
from lightning_semgeom.recorder import Recorder
from lightning_semgeom.weights import WeightFigures


class Run:
    """Takes one record after the other, alike on all processes.

    Args:
        name: the root of all keys.
        table: the attributes.
        capture: the sites of the model.
        ranks: the processes.
        gram_size: most rows in a Gram picture.
        is_gram_due: whether the record of a step keeps its Gram pictures.
        on_error: what a fault does.
    """

    def __init__(
        self,
        name: str,
        table: AttributeTable,
        capture: Capture,
        ranks: Ranks,
        gram_size: int,
        is_gram_due: Callable[[int], bool],
        on_error: Literal["warn", "raise"],
    ) -> None:
        sites = (*capture.weight_sites, *capture.hidden_sites)
        self.recorder = Recorder(name, sites, table.names)
        self.recorded_step: int | None = None
        self._table = table
        self._capture = capture
        self._ranks = ranks
        self._gram_size = gram_size
        self._is_gram_due = is_gram_due
        self._faults = Faults(on_error, is_first=ranks.rank == 0)
        self._unwritten: Exception | None = None
        self._weights = WeightFigures(table, capture.widths, gram_size, ranks)
        self._exchange = HiddenExchange(capture.hidden_sites, capture.capacity, ranks)

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
        if self._capture.weight_sites:
            with self._capture.weights(trainer, model) as owned:
                figures = self._weights.measure(owned, self._unwritten)
            self._add(figures)
        else:
            self.agree()
        if self._capture.reads_probe:
            self._add_hidden(self._capture.run_probe(trainer, model))
        if not self.reads_training_batch:
            self.finish(trainer.loggers)

    def arm(self, batch: Any, model: pl.LightningModule) -> None:
        """Register the hooks for the training step of `model` on `batch`."""
        fault = self._capture.arm(batch, model)
        # Alone, bad input is told before it trains; several processes have to agree first.
        if fault is not None and self._ranks.size == 1 and not self._is_proven:
            raise fault

    def collect(self) -> None:
        """Add what the hooks kept to the record."""
        self._add_hidden(self._capture.collect())

    def finish(self, loggers: Iterable[Logger]) -> None:
        """End the record and tell history and loggers.

        The row goes to each logger itself: `LightningModule.log` would put it at the next step of
        the `log_every_n_steps` grid.
        """
        step = self.recorded_step = self.recorder.begun_step
        self._faults.tell("figures are missing", step)
        self._write("history", step, self.recorder.finish)
        for logger in loggers:
            log = partial(logger.log_metrics, dict(self.recorder.values), step=step)
            self._write(type(logger).__name__, step, log)

    def open_history(self, trainer: pl.Trainer, folder: str) -> None:
        """Write the history into `folder` of the trainer's run."""
        opening = partial(self.recorder.history.open, run_folder(trainer) / folder)
        self._write("history", None, opening)

    def agree(self) -> None:
        """With on_error="raise" tell all processes of a fault in one that writes, and raise it."""
        if self._faults.raises:
            self._ranks.add_up({}, {}, self._unwritten)

    def disarm(self) -> None:
        """Leave no hook on the model."""
        self._capture.disarm()

    def _write(self, where: str, step: int | None, write: Callable[[], None]) -> None:
        """Write to somewhere outside; only the first process does."""
        fault = attempted(write)
        if fault is None:
            return
        if self._ranks.size > 1 and self._faults.raises:
            self._unwritten = self._unwritten or fault
        else:
            self._faults.add(where, fault)
            self._faults.tell("a record is not written", step)

    def _add_hidden(self, captured: Mapping[str, HiddenRows | Exception]) -> None:
        found = self._exchange.all_rows(
            {site: self._without_gaps(site, rows) for site, rows in captured.items()}
        )
        self._add({site: attempted(self._measure_hidden, rows) for site, rows in found.items()})

    def _without_gaps(self, site: str, found: HiddenRows | Exception) -> HiddenRows | Exception:
        """With on_error="raise" nothing where a batch of several failed, else what there is."""
        if isinstance(found, Exception) or found.lacks is None:
            return found
        if self._faults.raises:
            return found.lacks
        self._faults.add(site, found.lacks)
        return found

    def _measure_hidden(self, hidden: HiddenRows) -> Measurement:
        # Positions with the same label share all attributes and are alike for other reasons;
        # one row a label keeps them out of the comparison, and the null honest.
        rows, labels = class_means(hidden.rows, hidden.labels)
        return measure(rows, plan_site(self._table, labels, self._gram_size), self._table.names)

    def _add(self, figures: Mapping[str, Measurement | Exception]) -> None:
        """Put figures into the record, or keep what was wrong."""
        for site, found in figures.items():
            fault = attempted(self._put, site, found)
            if fault is None:
                continue
            if not isinstance(fault, UndefinedError) and not self._is_proven:
                raise fault
            self._faults.add(site, fault)

    def _put(self, site: str, found: Measurement) -> None:
        """Put figures into the record, with a picture where one is due or a gap is the largest."""
        largest = self.recorder.is_new_maximum(site, found.values["gap"])
        self.recorder.add(site, found.values)
        if largest or self._is_gram_due(self.recorder.begun_step):
            self.recorder.add_gram(site, found.gram(), found.bands)
        if found.flaw is not None:
            raise found.flaw

    @property
    def _is_proven(self) -> bool:
        """Whether a record has worked: a fault of the first one may be bad input."""
        return len(self.recorder.history) > 0
