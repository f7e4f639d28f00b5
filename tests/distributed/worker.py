"""One process of a job: `python -m tests.distributed.worker FOLDER JOB`, started by `launch`."""

import json
import logging
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from tests.distributed import faulty_jobs, jobs, regularized_jobs

# Who waits for a collective that another does not come to is told; a slow machine is no fault.
TIMEOUT = timedelta(seconds=120)


def run(folder, name, rank, size):
    own = folder / name
    own.mkdir(exist_ok=True)
    module = next(m for m in (jobs, faulty_jobs, regularized_jobs) if hasattr(m, name))
    job = getattr(module, name)
    (folder / f"{name}.{rank}.json").write_text(json.dumps(job(own, rank, size)))


def read(folder, name, rank):
    return json.loads((folder / f"{name}.{rank}.json").read_text())


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        run(Path(sys.argv[1]), sys.argv[2], dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
