"""A training script as a user has it: `python -m tests.distributed.launched DIR STRATEGY N`."""

import sys

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy

from tests.distributed import models
from tests.distributed.jobs import geometry

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
