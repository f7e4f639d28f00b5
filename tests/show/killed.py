"""A run that kills itself while pictures are due: `python -m tests.show.killed FOLDER`.

Processes that load its data were forked from it, with all its pipes open.
"""

import os
import signal
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from lightning_semgeom import SemanticGeometry
from lightning_semgeom.show import dashboard
from tests import models


class TellingProcess(dashboard.DrawingProcess):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        Path(sys.argv[1], "pid").write_text(str(self._process.pid))


class Killer(pl.Callback):
    """Ends the run where pictures are due, and a process that loads data has been forked since."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 1):
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder):
    dashboard.DrawingProcess = TellingProcess
    semgeom = SemanticGeometry(models.StagedModel.table(), every_n_steps=50)
    trainer = models.trainer(
        folder, semgeom, Killer(), logger=CSVLogger(folder, version=0), max_steps=60,
        reload_dataloaders_every_n_epochs=1,
    )  # fmt: skip
    loader = DataLoader(torch.zeros(12), num_workers=1, multiprocessing_context="fork")
    trainer.fit(models.StagedModel(), loader)


if __name__ == "__main__":
    main(sys.argv[1])
