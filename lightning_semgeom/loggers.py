"""Where a run's loggers and callbacks look for what we found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import lightning.pytorch as pl


def log_headline(
    pl_module: pl.LightningModule, headline: Mapping[str, float], in_progress_bar: bool
) -> None:
    """Put the headline values where ModelCheckpoint, EarlyStopping and progress bars look."""
    for key, value in headline.items():
        shown = in_progress_bar and key.endswith(("/gap", "/phase"))
        pl_module.log(key, value, logger=False, on_step=True, on_epoch=False, prog_bar=shown)


def run_folder(trainer: pl.Trainer) -> Path:
    """The folder of this run: where the first logger writes, as ModelCheckpoint has it."""
    if not trainer.loggers:
        return Path(trainer.default_root_dir)
    logger = trainer.loggers[0]
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version
