"""What the processes of a job found, each job done once a session, when it is first asked for."""

from functools import cache

import pytest
import torch

from tests.distributed import worker
from tests.distributed.cases import ALONE
from tests.distributed.launch import Team


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    """A function of the number of processes and a job's name: what each process found."""
    teams = {}

    @cache
    def run(size, name):
        if size not in teams or teams[size].has_ended:
            teams[size] = Team(tmp_path_factory.mktemp("jobs"), size)
        return teams[size].run(name)

    yield run
    ends = {size: team.close() for size, team in teams.items()}
    assert ends == {size: [0] * size for size in teams}


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """A function of a job's name: what one process finds with the same weights and all batches."""

    @cache
    def run(name):
        folder = tmp_path_factory.mktemp("alone")
        with torch.random.fork_rng():
            worker.run(folder, name, rank=0, size=1)
        return worker.read(folder, name, 0)

    return lambda name: run(ALONE.get(name, name))
