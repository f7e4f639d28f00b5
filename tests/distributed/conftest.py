"""What the processes of a job found, each job run once a session, when it is first asked for."""

from functools import cache

import pytest
import torch

from tests.distributed import worker
from tests.distributed.launch import launch


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    """A function of the number of processes and a job's name: what each process found."""
    return cache(lambda size, name: launch(tmp_path_factory.mktemp("job"), size, name))


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """A function of a job's name: what one process finds with the same weights and all batches."""

    @cache
    def run(name):
        folder = tmp_path_factory.mktemp("alone")
        with torch.random.fork_rng():
            worker.run(folder, name, rank=0, size=1)
        return worker.read(folder, name, 0)

    return run
