"""StopAfterPeak: end training when structure is past its peak, with the weights of the peak."""

from __future__ import annotations

from math import isclose, isfinite, nan

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.rank_zero import (  # type: ignore[attr-defined]
    rank_zero_info,
    rank_zero_warn,
)
from typing_extensions import override

from lightning_semgeom.callback import SemanticGeometry
from lightning_semgeom.faults import attempted
from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.record.phases import PhaseDetector


class StopAfterPeak(pl.Callback):
    """End training when a gap that `SemanticGeometry` follows is past its confirmed peak.

    It ends as `EarlyStopping` would: on all processes at once, not before the Trainer's `min_steps`
    and `min_epochs`. A peak is confirmed at about 1.4 times its step (docs/results/phase-rule.md),
    so its weights have to be kept from before: by a `ModelCheckpoint` that monitors the same gap,
    with `every_n_train_steps=1`; it writes when a capture has a new largest gap. With
    `restore_peak` they are put back into the model after training, also where something else ended
    it, if a peak was confirmed: of a checkpoint that holds an average in their place, as
    `WeightAveraging` saves it, the weights that were trained. What was put back is measured and
    compared with the record of the peak.

    Args:
        site: `unembedding`, `embedding` or `hidden.<module>`; None: the callback's first site.
        attribute: whose gap; None: the mean over attributes.
        min_drop: share of the peak's gap by which the averaged gap must have fallen.
        restore_peak: whether to put the weights of the peak back after training.
        name: of the `SemanticGeometry` to listen to.

    Raises:
        ValueError: if `min_drop` is out of range; before training starts, if there is no such
            callback, site or attribute, if that callback comes after this one, or if `restore_peak`
            finds no ModelCheckpoint that keeps the peak.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from lightning_semgeom.settings.factored import (
        ...     FactoredData, FactoredModel, factored_attributes,
        ... )
        >>> semgeom = SemanticGeometry(factored_attributes())
        >>> with TemporaryDirectory() as folder:
        ...     trainer = pl.Trainer(
        ...         max_steps=2000, callbacks=[semgeom, StopAfterPeak(restore_peak=False)],
        ...         accelerator="cpu", logger=False, enable_checkpointing=False,
        ...         enable_progress_bar=False, enable_model_summary=False,
        ...         default_root_dir=folder,
        ...     )
        ...     trainer.fit(FactoredModel(), FactoredData())
        >>> trainer.global_step < 100
        True
    """

    @checked_kinds
    def __init__(
        self,
        site: str | None = None,
        attribute: str | None = None,
        min_drop: float = 0.1,
        restore_peak: bool = True,
        name: str = "semgeom",
    ) -> None:
        super().__init__()
        _check(0 <= min_drop < 1, f"min_drop must lie in [0, 1); got {min_drop}.")
        self.site = site
        self.attribute = attribute
        self.min_drop = min_drop
        self.restore_peak = restore_peak
        self.name = name
        self._detector: PhaseDetector | None = None
        self._monitors: tuple[str, ...] = ()
        self._seen: int | None = None

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        geometry = self._geometry(trainer)
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        self._detector, self._seen = None, None
        _check(
            callbacks.index(geometry) < callbacks.index(self),
            "put it after the SemanticGeometry in callbacks=[...], which measures first.",
        )

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        geometry = self._geometry(trainer)
        first = next(iter(geometry.mean_phases))
        site, attribute = self.site or first, self.attribute
        followed: dict[tuple[str, str | None], PhaseDetector] = dict(geometry.phases.items())
        followed |= {(s, None): detector for s, detector in geometry.mean_phases.items()}
        _check(
            (site, attribute) in followed,
            f"site='{site}', attribute={attribute!r} is not measured. Sites: "
            f"{', '.join(geometry.mean_phases)}; attributes: "
            f"{', '.join(a for s, a in geometry.phases if s == first)}.",
        )
        self._detector = followed[site, attribute]
        key = f"{self.name}_{site}/gap"
        self._monitors = (key if attribute is None else f"{key}/{attribute}",)
        if (site, attribute) == (first, None):
            self._monitors = (f"{self.name}/gap", *self._monitors)
        _check(
            not self.restore_peak
            or bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
            or self._keeper(trainer) is not None,
            "restore_peak=True needs a callback that keeps the weights of the peak: ModelCheckpoint"
            f"(monitor='{self._monitors[0]}', mode='max', every_n_train_steps=1).",
        )

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        detector = self._following
        if detector.last_step == self._seen:
            return
        self._seen = detector.last_step
        peak, gap = detector.peak_gap, detector.average_gap
        is_past = peak is not None and gap is not None and gap <= (1 - self.min_drop) * peak
        # The figures are the same on all processes; one that ends alone would leave the others.
        if trainer.strategy.reduce_boolean_decision(is_past, all=False):
            trainer.should_stop = True
            rank_zero_info(
                f"StopAfterPeak: {self._monitors[0]} is past its peak of step "
                f"{detector.peak_step}; training is to end at step {self._seen}."
            )

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # After on_train_end, where SemanticGeometry and ModelCheckpoint see the last weights.
        detector = self._detector
        if detector is None:
            rank_zero_info("StopAfterPeak: nothing was trained; the weights stay as they are.")
            return
        keeper = self._keeper(trainer)
        if not self.restore_peak or keeper is None:
            return
        if detector.peak_step is None or detector.peak_gap is None:
            rank_zero_info("StopAfterPeak: no peak was confirmed; the weights stay as they are.")
            return
        score = keeper.best_model_score
        if score is None or not isclose(float(score), detector.peak_gap, rel_tol=1e-4):
            rank_zero_warn(
                f"StopAfterPeak: the peak at step {detector.peak_step} has a gap of "
                f"{detector.peak_gap:.4f}, but the best checkpoint has {score}: "
                f"'{keeper.best_model_path}'. It is of another moment, so the weights stay as they "
                "are."
            )
            return
        fault = attempted(self._restore, keeper.best_model_path, trainer, pl_module)
        if isinstance(fault, Exception):
            # The run is over and its last weights are sound: not a reason to end with an error.
            rank_zero_warn(
                f"StopAfterPeak: the weights of the peak could not be put back from "
                f"'{keeper.best_model_path}': {type(fault).__name__}: {fault}"
            )
        # Measuring is done by all processes together.
        if trainer.strategy.reduce_boolean_decision(not isinstance(fault, Exception), all=True):
            self._tell_what_is_back(trainer, pl_module, detector.peak_step)

    def _restore(self, path: str, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        # This run wrote it, or the one that it resumed: as safe to load as the latter's ckpt_path.
        checkpoint = trainer.strategy.load_checkpoint(path, weights_only=False)
        # Where WeightAveraging puts its average in the place of the weights, it keeps these here.
        if "current_model_state" in checkpoint:
            checkpoint = {**checkpoint, "state_dict": checkpoint["current_model_state"]}
        trainer.strategy.load_model_state_dict(checkpoint, strict=model.strict_loading)

    def _tell_what_is_back(self, trainer: pl.Trainer, model: pl.LightningModule, step: int) -> None:
        """Compare the gaps of the weights with those in the record of `step`."""
        geometry = self._geometry(trainer)
        recorded = next((r.values for r in geometry.history if r.step == step), {})
        pairs = {}
        for site, figures in geometry.measure_weights(trainer, model).items():
            wanted = recorded.get(f"{self.name}_{site}/gap", nan)
            if isfinite(wanted):
                pairs[site] = wanted, figures["gap"]
        others = {s: p for s, p in pairs.items() if not isclose(*p, rel_tol=1e-3, abs_tol=1e-4)}
        if others:
            told = ", ".join(f"{b:.4f} in {s} and not {a:.4f}" for s, (a, b) in others.items())
            rank_zero_warn(
                f"StopAfterPeak: the checkpoint of step {step} was put back, but its weights have "
                f"a gap of {told}, as the record of that step has: another callback has put other "
                "weights into the checkpoint, or into the model when it was saved."
            )
            return
        found = ", ".join(f"a gap of {gap:.4f} in {site}" for site, (_, gap) in pairs.items())
        rank_zero_info(
            f"StopAfterPeak: the weights are those of step {step} again"
            + (f": measured anew they have {found}." if found else "; no weight site says so.")
        )

    @property
    def _following(self) -> PhaseDetector:
        if self._detector is None:
            raise RuntimeError("StopAfterPeak is set up by Trainer.fit alone")
        return self._detector

    def _geometry(self, trainer: pl.Trainer) -> SemanticGeometry:
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        found = {c.name: c for c in callbacks if isinstance(c, SemanticGeometry)}
        _check(
            self.name in found,
            f"it listens to a SemanticGeometry with name='{self.name}'; the Trainer's are called "
            f"{', '.join(found) or 'nothing: there is none'}.",
        )
        return found[self.name]

    def _keeper(self, trainer: pl.Trainer) -> ModelCheckpoint | None:
        """The callback that keeps the weights of the largest gap."""
        for checkpoint in trainer.checkpoint_callbacks:
            if (
                isinstance(checkpoint, ModelCheckpoint)
                and checkpoint.monitor in self._monitors
                and checkpoint.mode == "max"
                and checkpoint.save_top_k != 0
                and checkpoint._every_n_train_steps == 1
            ):
                return checkpoint
        return None


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(f"StopAfterPeak: {message}")
