"""One process of a team: `python -m tests.distributed.worker FOLDER`, started by `launch`.

It reads names of jobs, a line each, until there are no more.
"""

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
    file = answer(folder, name, rank)
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(job(own, rank, size)))
    unfinished.rename(file)


def answer(folder, name, rank):
    return folder / f"{name}.{rank}.json"


def read(folder, name, rank):
    return json.loads(answer(folder, name, rank).read_text())


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        for line in sys.stdin:
            run(Path(sys.argv[1]), line.strip(), dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
