"""One fit at work: rows from the capture, through the figures, into the recorder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from lightning_semgeom.attributes.codes import fingerprints
from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.capture.activations import HiddenRows
from lightning_semgeom.capture.calls import PredictCalls
from lightning_semgeom.capture.capture import Capture
from lightning_semgeom.capture.exchange import HiddenExchange
from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.schedule import Schedule
from lightning_semgeom.capture.updates import Updates, updates_of
from lightning_semgeom.faults import Faults, UndefinedError, attempted
from lightning_semgeom.measure.figures import Measurement
from lightning_semgeom.measure.hidden import HiddenFigures
from lightning_semgeom.measure.weights import WeightFigures
from lightning_semgeom.record.beside import Beside
from lightning_semgeom.record.keys import EIGENSPECTRUM
from lightning_semgeom.record.recorder import Recorder
from lightning_semgeom.show.dashboard import Dashboard
from lightning_semgeom.show.drawing import Ready
from lightning_semgeom.show.loggers import log_figures, log_pictures, run_folder, tell_aside


class Run:
    """Takes one record after the other, alike on all processes.

    Args:
        name: the root of all keys.
        table: the attributes.
        capture: the sites of the model.
        ranks: the processes.
        gram_size: most lines of a Gram picture.
        max_drawn_sites: most sites that loggers get pictures of.
        on_error: what a fault does.
        alerts: whether loggers that can tell people what is gone.
        eigenspectrum: whether to record that of the positions of hidden sites.
    """

    def __init__(
        self,
        name: str,
        table: AttributeTable,
        capture: Capture,
        ranks: Ranks,
        gram_size: int,
        max_drawn_sites: int,
        on_error: Literal["warn", "raise"],
        alerts: bool,
        eigenspectrum: bool,
    ) -> None:
        sites = (*capture.weight_sites, *capture.hidden_sites)
        more = dict.fromkeys(capture.hidden_sites, EIGENSPECTRUM) if eigenspectrum else {}
        self.recorder = Recorder(name, sites, table.names, more=more)
        self.recorded_step: int | None = None
        self.updates = Updates()
        self._saved_updates: int | None = None
        self._beside = Beside()
        self._dashboard = Dashboard(self.recorder, max_drawn_sites, self.say, self._beside)
        self._alerts = alerts
        self._shows_last = True
        self.schedule = Schedule(every_n_steps=1, growth=None)
        self._table = table
        self._capture = capture
        self._ranks = ranks
        self._faults = Faults(on_error, ranks.rank, ranks.size)
        self._told: set[str] = set()
        self._weights = WeightFigures(table, capture.widths, gram_size, ranks)
        self._hidden = HiddenFigures(table, gram_size, eigenspectrum)
        self._exchange = HiddenExchange(capture.hidden_sites, capture.capacity, ranks)

    @property
    def reads_training_batch(self) -> bool:
        """Whether a record waits for the forward of a training batch."""
        return self._capture.reads_training_batch

    @property
    def waits_for_batch(self) -> bool:
        """Whether hooks are registered for the forward of a training batch."""
        return self._capture.armed

    def state_dict(self) -> dict[str, Any]:
        """Records, phases, the count of updates, and what the attributes are."""
        return {
            **self.recorder.state_dict(),
            "updates": self.updates.count if self._saved_updates is None else self._saved_updates,
            "attributes": self._fingerprints,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was saved, and say what is not the same any more."""
        news = self.recorder.load_state_dict(state)
        self._saved_updates = state.get("updates")  # version 0.1 has none
        if len(self.recorder.history):
            self.recorded_step = self.recorder.history.records[-1].step
        saved, now = state.get("attributes", {}), self._fingerprints
        changed = [f"'{name}'" for name in now if saved.get(name, now[name]) != now[name]]
        if changed:
            news.append(f"rows or values of {', '.join(changed)} are others: curves mix both")
        if news:
            self.say(
                f"the checkpoint has step {self.recorded_step}. From here on {'; '.join(news)}."
            )

    @cached_property
    def _fingerprints(self) -> dict[str, int]:
        return fingerprints(self._table.names, self._table.codes, self._table.values)

    def say(self, text: str) -> None:
        """Tell the user something, from one process."""
        if self._ranks.rank == 0:
            warnings.warn(f"SemanticGeometry: {text}", stacklevel=2)

    def begin(self, trainer: pl.Trainer, model: pl.LightningModule, step: int) -> None:
        """Start the record of `step` with what needs its weights and no training batch."""
        self._look_again(model, step)
        self.recorder.begin(step)
        if self._capture.weight_sites:
            self._add(self._measured_weights(trainer, model, self._keeps_pictures))
        else:
            self.agree()
        if self._capture.reads_probe:
            self._add_hidden(self._capture.run_probe(PredictCalls(trainer, model)))
        if not self.reads_training_batch:
            self.finish(trainer.loggers)

    def measure_weights(
        self, trainer: pl.Trainer, model: pl.LightningModule
    ) -> dict[str, dict[str, float]]:
        """The figures of the weight sites now, without a record; none of one that failed."""
        if not self._capture.weight_sites:
            return {}
        figures = self._measured_weights(trainer, model, eigenvalues=False)
        return {s: m.values for s, m in figures.items() if isinstance(m, Measurement)}

    def _measured_weights(
        self, trainer: pl.Trainer, model: pl.LightningModule, eigenvalues: bool
    ) -> dict[str, Measurement | Exception]:
        wrapped = trainer.strategy.model
        with self._capture.weights(model if wrapped is None else wrapped) as owned:
            return self._weights.measure(owned, self._faults.unwritten, eigenvalues)

    def _look_again(self, model: pl.LightningModule, step: int) -> None:
        # A model that gets new modules in each step is told once.
        news = [text for text in self._capture.look_again(model) if text not in self._told]
        self._told.update(news)
        if news:
            self.say(f"from step {step} on {'; '.join(news)}.")

    def arm(self, batch: Any, model: pl.LightningModule) -> None:
        """Register the hooks for the training step of `model` on `batch`."""
        self._look_again(model, self.recorder.begun_step)
        fault = self._capture.arm(batch, model)
        # Alone, bad input is told before it trains; several processes have to agree first.
        if fault is not None and self._ranks.size == 1 and not self._is_proven:
            raise fault

    def collect(self, model: pl.LightningModule) -> None:
        """Add what the hooks kept to the record."""
        self._look_again(model, self.recorder.begun_step)
        self._add_hidden(self._capture.collect())

    def finish(self, loggers: Iterable[Logger]) -> None:
        """End the record and tell history and loggers.

        The row goes to each logger itself: `LightningModule.log` would put it at the next step of
        the `log_every_n_steps` grid.
        """
        step = self.recorded_step = self.recorder.begun_step
        schedule, number = self.schedule, len(self.recorder.history)
        self._faults.tell("figures are missing", step)
        self.recorder.finish(self._keeps_pictures)
        self._write_history(step)
        due = self._shows_last = schedule.is_picture_logged(step, number)
        self._log(loggers, step, log_figures, self.recorder.values, step)
        last = step in schedule.last_steps
        self._faults.write("pictures", step, partial(self._dashboard.order, due, last))
        if self._alerts:
            self._faults.write("alert", step, partial(self._dashboard.alert, loggers))

    def open(self, trainer: pl.Trainer, schedule: Schedule, folder: str) -> None:
        """Begin to train: write the history into `folder` of the trainer's run."""
        self.schedule = schedule
        known = self._saved_updates
        self.updates.follow(trainer, updates_of(trainer) if known is None else known)
        self._saved_updates = None
        for note in self._capture.notes():
            self.say(f"{note}.")
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            aim = self.recorder.history.aim
            self._faults.write("history", None, lambda: aim(run_folder(trainer) / folder))
            self._write_history(None)
            self._faults.write("loggers", None, partial(self._dashboard.open, trainer.loggers))

    def _write_history(self, step: int | None, do: Callable[..., object] | None = None) -> None:
        do, history = do or self._beside.do, self.recorder.history
        self._faults.write("history", step, partial(do, history.folder, self.recorder.write))
        tell_aside(history.folder, history.take_aside())

    def end(self, trainer: pl.Trainer, model: pl.LightningModule, averaged_by: str | None) -> None:
        """Take the last record, and show what the run ended with.

        `averaged_by` is which other callback has put other weights into the model by now.
        """
        step, loggers = self.updates.count, trainer.loggers
        self.schedule.last_steps = (step,)  # also where something else than max_steps ended it
        if step not in (self.recorded_step, self.recorder.step):
            if averaged_by is None:
                self.begin(trainer, model, step)
            else:
                self.say(
                    f"the last weights, of step {step}, are not measured: {averaged_by} has put "
                    "its average in their place."
                )
        if self.recorder.step is not None:
            self.finish(loggers)
        # Where nobody knew that this was the last record.
        if (last := self.recorded_step) is not None and not self._shows_last:
            self.recorder.keep_pictures()
            self._write_history(last)
            self._faults.write("pictures", last, partial(self._dashboard.order, True, True))
        for drawn in self._dashboard.rest():
            self._send(loggers, drawn)
        self._write_history(step, self._beside.do_at_last)
        self.agree()

    def send_drawn(self, loggers: Iterable[Logger]) -> None:
        """Send a picture that has been drawn meanwhile: one at a time, so that no step is held."""
        self._send(loggers, self._dashboard.ready())

    def _send(self, loggers: Iterable[Logger], drawn: Ready | Exception | None) -> None:
        if isinstance(drawn, Exception):
            self._faults.fail("pictures", self.recorded_step, drawn)
        elif drawn is not None:
            self._log(loggers, drawn.step, log_pictures, drawn, self._beside)

    def _log(
        self, loggers: Iterable[Logger], step: int, log: Callable[..., None], *what: Any
    ) -> None:
        for logger in loggers:
            self._faults.write(type(logger).__name__, step, partial(log, logger, *what))

    def agree(self) -> None:
        """With on_error="raise" tell all processes of a fault in one that writes, and raise it."""
        if self._faults.raises:
            self._ranks.add_up({}, {}, self._faults.unwritten)

    def let_go(self) -> None:
        """Leave no hook on the model and its optimizers, and no process."""
        self._capture.let_go()
        self._dashboard.close()
        self._beside.stop()
        self.updates.stop()

    def _add_hidden(self, captured: Mapping[str, HiddenRows | Exception]) -> None:
        rows = {site: self._without_gaps(site, found) for site, found in captured.items()}
        self._add(self._hidden.measure(self._exchange.all_rows(rows), self._keeps_pictures))

    def _without_gaps(self, site: str, found: HiddenRows | Exception) -> HiddenRows | Exception:
        """With on_error="raise" nothing where a batch of several failed, else what there is."""
        if isinstance(found, Exception) or found.lacks is None:
            return found
        if self._faults.raises:
            return found.lacks
        self._faults.add(site, found.lacks)
        return found

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
        self.recorder.add(site, found.values, found.picture())
        if found.flaw is not None:
            raise found.flaw

    @property
    def _keeps_pictures(self) -> bool:
        """Whether this record does, and with them eigenvalues of wide sites."""
        return self.schedule.is_picture_kept(self.recorder.begun_step, len(self.recorder.history))

    @property
    def _is_proven(self) -> bool:
        """Whether a record has worked: a fault of the first one may be bad input."""
        return len(self.recorder.history) > 0
