"""A training script as a user has it: `python -m tests.distributed.launched DIR STRATEGY N`."""

import sys

import numpy as np
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy

from lightning_semgeom.show import dashboard
from tests.distributed import models
from tests.distributed.jobs import geometry

if __name__ in ("__main__", "__mp_main__"):
    # Which picture is due when, and on which process, is looked at: to lay out and fill 32 of them
    # would take ten times as long as all else.
    dashboard.pixels = lambda figure: np.zeros((1, 1, 3), np.uint8)

START_METHODS = {"ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork"}


class OwnData(models.PathModel):
    def train_dataloader(self):
        return models.batches(self.trainer.global_rank, self.trainer.world_size)


def main(folder, strategy, devices):
    started = DDPStrategy(process_group_backend="gloo", start_method=START_METHODS[strategy])
    logger = CSVLogger(folder, version=0)
    trainer = models.trainer(
        folder, geometry(), strategy=started, devices=int(devices), logger=logger
    )
    trainer.fit(OwnData())


if __name__ == "__main__":
    main(*sys.argv[1:])
