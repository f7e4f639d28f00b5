"""The demo: a run that shows meaning form and fade, told as a table, a sentence and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from typing_extensions import override

from lightning_semgeom.attributes import AttributeTable
from lightning_semgeom.callback import SemanticGeometry
from lightning_semgeom.history import History
from lightning_semgeom.loggers import run_folder
from lightning_semgeom.phases import Phase, PhaseDetector
from lightning_semgeom.plots import gram_figure, timeline

STEPS = {"stdlib": 1200, "factored": 2000}
_CONTROL_SEED = 0


@dataclass(frozen=True)
class DemoRun:
    """What a demo leaves."""

    geometry: SemanticGeometry
    control: SemanticGeometry
    folder: Path


class _LossCurve(pl.Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.losses.append(outputs["loss"].item())


def run_demo(
    setting: str, seed: int, steps: int | None, out: Path, text: str | None, logger: str
) -> DemoRun:
    """Train one setting with the callback and its control, and draw what they found.

    Args:
        setting: "stdlib" or "factored".
        seed: of the weights and the data.
        steps: optimizer steps; None for the setting's own.
        out: folder for the loggers' runs.
        text: a file to train on instead of the standard library (stdlib alone).
        logger: "csv", "tensorboard" or "wandb".
    """
    steps = steps or STEPS[setting]
    made = _SETTINGS[setting](seed, steps, text)
    geometry, control = (
        SemanticGeometry(table, every_n_steps=25, name=name, **made.capture)
        for table, name in (
            (made.table, "semgeom"),
            (made.table.shuffled(_CONTROL_SEED), "semgeom_control"),
        )
    )
    loss = _LossCurve()
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[geometry, control, loss],
        logger=_logger(logger, out),
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=10,
        gradient_clip_val=made.clip,
    )
    trainer.fit(made.model, made.data)
    folder = run_folder(trainer)
    curve = np.arange(len(loss.losses)), np.array(loss.losses)
    picture = timeline(geometry.history, control.history, curve, geometry.phases)
    picture.savefig(folder / "timeline.png", dpi=110)
    for site in geometry.history.sites:
        _draw_grams(geometry.history, site, folder)
    return DemoRun(geometry, control, folder)


def _logger(kind: str, out: Path) -> Logger:
    out.mkdir(parents=True, exist_ok=True)
    if kind == "wandb":
        return WandbLogger(project="lightning-semgeom", save_dir=out)
    return TensorBoardLogger(out) if kind == "tensorboard" else CSVLogger(out)


@dataclass(frozen=True)
class _Setting:
    model: pl.LightningModule
    data: pl.LightningDataModule
    table: AttributeTable
    capture: dict[str, Any]
    clip: float | None = None


def _stdlib(seed: int, steps: int, text: str | None) -> _Setting:
    from lightning_semgeom.settings.stdlib import StdlibData, StdlibModel, stdlib_attributes

    data = StdlibData(steps, seed=seed, text=text)
    vocab_size = data.tokenizer.get_vocab_size()
    options = {
        "hidden": "gpt.transformer.ln_f",
        "probe": data.probe_dataloader(),
        "shift_labels": True,
    }
    table = stdlib_attributes(data.tokenizer)
    model = StdlibModel(vocab_size, steps, seed=seed)
    return _Setting(model, data, table, options, clip=1.0)


def _factored(seed: int, steps: int, text: str | None) -> _Setting:
    from lightning_semgeom.settings.factored import (
        FactoredData,
        FactoredModel,
        factored_attributes,
    )

    if text is not None:
        raise ValueError("--text goes with --setting stdlib; the factored setting makes its own.")
    options = {"hidden": "final_norm", "positions": "last"}
    return _Setting(FactoredModel(seed), FactoredData(), factored_attributes(), options)


_SETTINGS = {"stdlib": _stdlib, "factored": _factored}


def _draw_grams(history: History, site: str, folder: Path) -> None:
    """Gram pictures at the start, at the largest gap and at the end, side by side."""
    gaps, kept = known_gaps(history, site, "gap"), history.gram_steps(site)
    if not gaps:
        return
    known, peak = list(gaps), max(gaps, key=lambda step: gaps[step])
    chosen = [
        (name, min(kept, key=lambda k: abs(k - step)))
        for name, step in (("start", known[0]), ("peak", peak), ("end", known[-1]))
    ]
    grams = [history.gram(site, step) for _, step in chosen]
    titles = [f"{name}: step {step}" for name, step in chosen]
    figure = gram_figure(
        [(title, gram) for title, (gram, _) in zip(titles, grams, strict=True)],
        [bands for _, bands in grams],
    )
    attribute = history.attributes(site)[0]
    figure.suptitle(f"{site}: cosines of rows in the order of '{attribute}'", fontsize=11)
    figure.savefig(folder / f"gram_{site}.png", dpi=110)


_HEADER = ("site", "attribute", "onset", "peak", "collapse", "start", "peak", "end", "z at peak")


def table_of(run: DemoRun) -> str:
    """Onset, peak and collapse of each site and attribute, and of the shuffled control."""
    rows: list[tuple[str, ...]] = [_HEADER]
    for callback, suffix in ((run.geometry, ""), (run.control, " (shuffled)")):
        for (site, attribute), detector in callback.phases.items():
            rows.append(_row(callback.history, site, attribute, detector, suffix))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(left + right))
    above = " " * (sum(widths[:5]) + 10) + "gap".center(sum(widths[5:8]) + 4)
    return "\n".join([above.rstrip(), lines[0], "-" * len(lines[0]), *lines[1:]])


def _row(
    history: History, site: str, attribute: str, detector: PhaseDetector, suffix: str
) -> tuple[str, ...]:
    gaps = known_gaps(history, site, f"gap/{attribute}")
    if not gaps:
        return (site, attribute + suffix, *["-"] * (len(_HEADER) - 2))
    _, z = history.curve(history.key(site, f"z/{attribute}"))
    top = max(gaps, key=lambda step: gaps[step])
    z_at_peak = z[[record.step for record in history].index(top)]
    first, *_, last = gaps.values()
    return (
        site,
        attribute + suffix,
        _step(detector.onset_step),
        _step(detector.peak_step),
        _ending(detector),
        f"{first:.3f}",
        f"{gaps[top]:.3f}",
        f"{last:.3f}",
        f"{z_at_peak:.1f}",
    )


def known_gaps(history: History, site: str, metric: str) -> dict[int, float]:
    """The gap of all or one attribute by step, where it is defined."""
    steps, gaps = history.curve(history.key(site, metric))
    return {int(step): float(g) for step, g in zip(steps, gaps, strict=True) if not isnan(g)}


def _step(step: int | None) -> str:
    return "-" if step is None else str(step)


def _ending(detector: PhaseDetector) -> str:
    words = {Phase.NONE: "-", Phase.EMERGED: "still rising", Phase.DECAYING: "fading"}
    return words.get(detector.phase, _step(detector.collapse_step))


def sentence_of(run: DemoRun) -> str:
    """The run in plain words, at its first site."""
    history = run.geometry.history
    site = history.sites[0]
    phases = {a: d for (where, a), d in run.geometry.phases.items() if where == site}
    told = [_told(attribute, d, history, site) for attribute, d in phases.items()]
    alarms = sum(d.onset_step is not None for d in run.control.phases.values())
    control = "shuffled attributes never did" if not alarms else f"so did {alarms} shuffled curves"
    return f"In the {site}, {'; '.join(told)}; {control}."


def _told(attribute: str, detector: PhaseDetector, history: History, site: str) -> str:
    if detector.onset_step is None:
        return f"{attribute} did not emerge"
    start = f"{attribute} emerged at step {detector.onset_step}"
    if detector.peak_step is None or detector.peak_gap is None:
        return f"{start} and had not fallen from its peak by the end"
    *_, end = known_gaps(history, site, f"gap/{attribute}").values()
    left = f"{max(end, 0) / detector.peak_gap:.0%}".replace("%", " %")
    return f"{start}, peaked at {detector.peak_step} and kept {left} of that to the end"
