"""SemanticGeometry: the callback that shows meaning form, peak and fade while a model trains.

Here is what Lightning calls, and when; `run.py` does the work of one record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import lightning.pytorch as pl
from torch import Tensor
from typing_extensions import override

from lightning_semgeom.attributes.given import Attributes, table_or_file
from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.capture import asked
from lightning_semgeom.capture.capture import Capture
from lightning_semgeom.capture.labels import LabelReader
from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.schedule import schedule_of
from lightning_semgeom.capture.updates import averaged_by, updates_of
from lightning_semgeom.evaluation import record_once
from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.record.history import History
from lightning_semgeom.record.phases import PhaseDetector
from lightning_semgeom.record.recorder import Recorder
from lightning_semgeom.record.shown import callback_in_html, callback_in_text
from lightning_semgeom.run import Run
from lightning_semgeom.show.loggers import kind_of, tell_monitored


class SemanticGeometry(pl.Callback):
    r"""Follow how alike tokens and contexts with a shared attribute become during training.

    At captures that are dense at first and regular later, the rows of the unembedding, of the input
    embedding and the mean hidden states of each label are compared by attribute: the mean cosine of
    rows that share a value, against rows that do not. Each capture is one row in every logger of
    the Trainer and one line of `<run folder>/<name>/history.jsonl`.

    Logged keys: `semgeom/gap`, `semgeom/z`, `semgeom/asymmetry`, `semgeom/phase` (0 no structure
    yet, 1 emerged, 2 past its peak, 3 gone) of the first site, mean over attributes; and
    `semgeom_<site>/<metric>`, `semgeom_<site>/<metric>/<attribute>` with sites `unembedding`,
    `embedding`, `hidden.<module>`; `semgeom/peak_step` once the mean has peaked. The first four and
    all gaps are also in `trainer.callback_metrics`, for ModelCheckpoint and EarlyStopping. Loggers
    of pictures also get `semgeom_gram/<site>`, `semgeom_map/<site>`, `semgeom_shared/<site>` now
    and then, drawn beside the run. The x of a record is the number of optimizer steps its weights
    have had. Modules are held by name: a replaced one is followed, which is said once.

    Args:
        attributes: which token has which value of which attribute; of a dict a table is made.
        attributes_file: path of a CSV or TSV file with the same, instead of `attributes`.
        unembedding: capture the output weight: True finds it, a dotted name says which it is.
        embedding: the same for the input weight.
        hidden: names of modules whose outputs are captured; globs: `model.layers.*`, `**.mlp`.
        labels: where the batch has the table's row of each output position, `[B]` or `[B, T]`,
            negative where it has none: a key, an index, or (in Python) a function of the batch.
        positions: take all positions of a sequence, or the last one with a label; where a sequence
            has one label, its last position that `attention_mask` of the batch does not leave out.
        shift_labels: True where labels are the inputs themselves, as in Hugging Face batches.
        probe: batches to take the hidden states from, in eval mode without gradients, instead of
            the training batch; the model is called by `predict_step(batch, batch_idx)`.
        every_n_steps: distance of the regular captures in optimizer steps.
        every_n_epochs: the same in epochs, instead of `every_n_steps`.
        growth: ratio of successive capture steps until they are regular; None: from the start.
        max_positions: most hidden rows kept of a site and capture, over all processes.
        gram_size: most lines of a Gram picture; where there are more rows, neighbours share one.
        max_drawn_sites: most sites that loggers get pictures of; the history has them of all.
        on_error: what a fault during training does: one warning and NaN, or an exception.
        alerts: whether a WandbLogger sends an alert when an attribute is gone.
        name: the root of all keys and the folder's name; several callbacks need different ones.
        metrics: "eigenspectrum" records it of the positions of hidden sites too.

    Raises:
        ValueError: if arguments contradict each other, or before training starts, if a module, a
            key or the table does not fit the model; the message says what would.

    Example:
        >>> table = AttributeTable.from_dict({"colour": ["red", "red", "blue", "blue", None]})
        >>> semgeom = SemanticGeometry(table, hidden="model.layers.*", shift_labels=True)
        >>> trainer = pl.Trainer(callbacks=[semgeom], logger=False)
    """

    @checked_kinds
    def __init__(
        self,
        attributes: Attributes | None = None,
        attributes_file: str | None = None,
        unembedding: bool | str = True,
        embedding: bool | str = False,
        hidden: str | Sequence[str] = (),
        labels: str | int | Callable[[Any], Tensor] = "labels",
        positions: Literal["all", "last"] = "all",
        shift_labels: bool = False,
        probe: Iterable[Any] | None = None,
        every_n_steps: int = 100,
        every_n_epochs: int | None = None,
        growth: float | None = 1.1,
        max_positions: int = 8192,
        gram_size: int = 96,
        max_drawn_sites: int = 8,
        on_error: Literal["warn", "raise"] = "warn",
        alerts: bool = False,
        name: str = "semgeom",
        metrics: str | Sequence[str] = (),
    ) -> None:
        super().__init__()
        hidden = (hidden,) if isinstance(hidden, str) else tuple(hidden)
        metrics = (metrics,) if isinstance(metrics, str) else tuple(metrics)
        table = table_or_file(attributes, attributes_file, "SemanticGeometry")
        asked.check_sites(unembedding, embedding, hidden, "SemanticGeometry")
        asked.check_probe(probe, hidden, labels, "SemanticGeometry")
        when = {"every_n_steps": (every_n_steps, 1), "every_n_epochs": (every_n_epochs, 1)}
        sizes = {"max_positions": (max_positions, 2), "gram_size": (gram_size, 2)}
        asked.check_least("SemanticGeometry", **when, **sizes, max_drawn_sites=(max_drawn_sites, 1))
        asked.check_growth(growth, "SemanticGeometry")
        asked.check_name(name, "SemanticGeometry")
        asked.check_metrics(metrics, hidden, "SemanticGeometry")
        self.attributes = table
        self.attributes_file = attributes_file
        self.unembedding = unembedding
        self.embedding = embedding
        self.hidden = hidden
        self.probe = probe
        self.every_n_steps = every_n_steps
        self.every_n_epochs = every_n_epochs
        self.growth = growth
        self.max_positions = max_positions
        self.gram_size = gram_size
        self.max_drawn_sites = max_drawn_sites
        self.metrics = metrics
        self.on_error = on_error
        self.alerts = alerts
        self.name = name
        self._reader = LabelReader(labels, positions, shift_labels)
        self._run: Run | None = None
        self._recorder: Recorder | None = None
        self._saved: dict[str, Any] = {}
        self._shown: tuple[str, ...] = (f"{name}/gap", f"{name}/phase")

    @property
    def history(self) -> History:
        """All records so far."""
        return History() if self._recorder is None else self._recorder.history

    @property
    def phases(self) -> Mapping[tuple[str, str], PhaseDetector]:
        """The phase detector of each (site, attribute)."""
        return {} if self._recorder is None else self._recorder.phases

    @property
    def mean_phases(self) -> Mapping[str, PhaseDetector]:
        """The phase detector of each site's mean over attributes."""
        return {} if self._recorder is None else self._recorder.mean_phases

    __repr__, _repr_html_ = callback_in_text, callback_in_html

    @property
    def state_key(self) -> str:
        """The key of this callback's state in a checkpoint."""
        return self._generate_state_key(name=self.name)

    def measure_weights(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, dict[str, float]]:
        """The figures of the weight sites now, as `{site: {"gap/colour": ...}}`; no record.

        All processes call it, from `on_fit_start` to `on_fit_end`. Sites that fail are left out.
        """
        return self._running.measure_weights(trainer, pl_module)

    @override
    def state_dict(self) -> dict[str, Any]:
        return self._saved if self._run is None else self._run.state_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Before on_fit_start, or after it where the strategy has to shard the model first.
        self._saved = state_dict
        if self._run is not None:
            self._run.load_state_dict(state_dict)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle has: all records, and nothing that belongs to the fit at work."""
        return {**vars(self), "_run": None, "_saved": self.state_dict()}

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        names = [c.name for c in trainer.callbacks if isinstance(c, SemanticGeometry)]  # type: ignore[attr-defined]
        kinds = [type(logger).__name__ for logger in trainer.loggers] or "none"
        quiet = not self.alerts or trainer.fast_dev_run or trainer.barebones  # type: ignore[attr-defined]
        able = "WandbLogger" in map(kind_of, trainer.loggers)
        asked.check_alerts(quiet or able, kinds, "SemanticGeometry")
        self._shown = self._shown if names[0] == self.name else ()
        # A second fit of the same Trainer goes on where the first one ended.
        goes_on = self._run is not None and updates_of(trainer) > 0
        self._saved = self.state_dict() if goes_on else {}
        self._run = self._recorder = None

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not before: modules may be built or replaced in the model's own setup and configure_model.
        self._run = self._new_run(trainer, pl_module)
        self._recorder = self._run.recorder
        if self._saved:
            self._run.load_state_dict(self._saved)

    def _new_run(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Run:
        file = str(self.attributes_file)
        table = AttributeTable.from_file(file) if self.attributes is None else self.attributes
        ranks = Ranks.of(trainer, pl_module)
        sites = (self.unembedding, self.embedding, self.hidden)
        rows = (self._reader, self.probe, self.max_positions)
        capture = Capture(pl_module, len(table), *sites, *rows, ranks)
        how = (self.gram_size, self.max_drawn_sites, self.on_error, self.alerts)
        return Run(self.name, table, capture, ranks, *how, "eigenspectrum" in self.metrics)

    def _record_once(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """In `Trainer.validate`, `test` or `predict`, where no fit has left records: take one."""
        if trainer.state.fn != "fit" and self._recorder is None:
            run = self._new_run(trainer, pl_module)
            self._recorder = run.recorder
            record_once(run, trainer, pl_module, self._saved)

    on_validation_start = on_test_start = on_predict_start = _record_once

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # The training batch shows hidden states only up to the last forward, one update earlier.
        before = 1 if self._running.reads_training_batch else 0
        often = (self.every_n_steps, self.every_n_epochs, self.growth)
        self._running.open(trainer, schedule_of(trainer, *often, before), self.name)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        run = self._running
        run.updates.begin_batch(trainer)
        step = run.updates.count
        if step == run.recorded_step:
            return
        if run.recorder.step != step:
            if not run.schedule.is_due(step):
                return
            run.begin(trainer, pl_module, step)
            self._tell_callbacks(trainer, pl_module)
        if run.reads_training_batch:
            run.arm(batch, pl_module)

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        run = self._running
        finished = run.waits_for_batch
        if finished:
            run.collect(pl_module)
            run.finish(trainer.loggers)
        # Measured right after the update: a checkpoint saved now is judged by its own weights.
        run.updates.end_batch(trainer)
        begun = run.schedule.is_due_within(run.updates.before_batch, run.updates.count)
        if begun:
            run.begin(trainer, pl_module, run.updates.count)
        if finished or begun:
            self._tell_callbacks(trainer, pl_module)
        run.send_drawn(trainer.loggers)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._running.end(trainer, pl_module, averaged_by(trainer, self))

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        if self._run is not None:
            self._run.let_go()

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._run is not None:
            self._run.let_go()

    @property
    def _running(self) -> Run:
        if self._run is None:
            raise RuntimeError("SemanticGeometry is set up by Trainer.fit alone")
        return self._run

    def _tell_callbacks(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        tell_monitored(trainer, pl_module, self._running.recorder.take_monitored(), self._shown)
