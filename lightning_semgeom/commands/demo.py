"""The demo: a run that shows meaning form and fade, told as a table, a sentence and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from lightning_semgeom.callback import SemanticGeometry
from lightning_semgeom.commands.progress import StepBar
from lightning_semgeom.extras import check_installed
from lightning_semgeom.record.history import History
from lightning_semgeom.record.places import CONTROL
from lightning_semgeom.record.summary import known_gaps
from lightning_semgeom.settings.controlled import Network, Setting, network_setting
from lightning_semgeom.show.loggers import run_folder
from lightning_semgeom.show.plots import gram_row, timeline
from lightning_semgeom.show.report.page import write_report
from lightning_semgeom.show.report.runs import find_runs

_CONTROL_SEED = 0


@dataclass(frozen=True)
class DemoRun:
    """What a demo leaves."""

    geometry: SemanticGeometry
    control: SemanticGeometry
    folder: Path


def run_demo(
    setting: Literal["stdlib"] | Network,
    seed: int,
    steps: int,
    out: Path,
    text: str | None,
    logger: str,
) -> DemoRun:
    """Train one setting with the callback and its control, and draw what they found.

    It trains on a CUDA device where there is one. The arguments are as `arguments.check_demo` lets
    them pass.

    Args:
        setting: "stdlib", "factored", "latent" or "pictures".
        seed: of the weights and the data.
        steps: optimizer steps.
        out: folder for the loggers' runs.
        text: a file to train on instead of the standard library (stdlib alone).
        logger: "csv", "tensorboard" or "wandb".

    Raises:
        ModuleNotFoundError: if what draws, or what the setting needs, is not installed.
    """
    check_installed(matplotlib="plots", plotly="report")  # now, and not when it has trained
    made = _made(setting, seed, steps, text)
    geometry, control = (
        SemanticGeometry(table, every_n_steps=25, name=name, **made.capture)
        for table, name in (
            (made.table, "semgeom"),
            (made.table.shuffled(_CONTROL_SEED), "semgeom" + CONTROL),
        )
    )
    # First: it is closed before the geometry's last pictures, which have a bar of their own.
    progress = StepBar(f"{geometry.name}/gap")
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=1,
        callbacks=[progress, geometry, control],
        logger=_logger(logger, out),
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=10,
        gradient_clip_val=made.clip,
    )
    trainer.fit(made.model, made.data)
    folder = run_folder(trainer)
    curve = np.arange(len(progress.losses)), np.array(progress.losses)
    picture, _ = timeline(geometry.history, control.history, curve)
    picture.savefig(folder / "timeline.png", dpi=110)
    for site in geometry.history.sites:
        _draw_grams(geometry.history, site, folder)
    write_report(find_runs([folder]), folder / "report.html")
    return DemoRun(geometry, control, folder)


def _logger(kind: str, out: Path) -> Logger:
    out.mkdir(parents=True, exist_ok=True)
    if kind == "wandb":
        check_installed(wandb="wandb")
        return WandbLogger(project="lightning-semgeom", save_dir=out)
    return TensorBoardLogger(out) if kind == "tensorboard" else CSVLogger(out)


def _made(setting: Literal["stdlib"] | Network, seed: int, steps: int, text: str | None) -> Setting:
    if setting == "stdlib":
        from lightning_semgeom.settings.stdlib import stdlib_setting

        return stdlib_setting(steps, seed, text)
    return network_setting(setting, seed)


def _draw_grams(history: History, site: str, folder: Path) -> None:
    """Gram pictures at the start, at the largest gap and at the end, side by side."""
    gaps, kept = known_gaps(history, site), history.picture_steps(site)
    if not gaps:
        return
    known, peak = list(gaps), max(gaps, key=lambda step: gaps[step])
    chosen = [
        (name, min(kept, key=lambda k: abs(k - step)))
        for name, step in (("start", known[0]), ("peak", peak), ("end", known[-1]))
    ]
    panels = [(f"{name}: step {step}", history.picture(site, step)) for name, step in chosen]
    figure = gram_row(panels)
    figure.suptitle(f"{site}: rows in the order of '{history.attributes(site)[0]}'", fontsize=11)
    figure.savefig(folder / f"gram_{site}.png", dpi=110)
