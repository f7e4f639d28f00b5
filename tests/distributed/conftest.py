"""What the processes of all jobs found, once a session."""

import pytest
import torch

from tests.distributed import worker
from tests.distributed.cases import CASES, JOBS
from tests.distributed.launch import launch


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    """{size: {job: [what each process found]}}."""
    folder = tmp_path_factory.mktemp("jobs")
    return {size: launch(folder / str(size), size, names) for size, names in JOBS.items()}


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """{job: what one process finds with the same weights and all batches}."""
    folder = tmp_path_factory.mktemp("alone")
    names = sorted({name for _, name in CASES})
    with torch.random.fork_rng():
        worker.run(folder, names, rank=0, size=1)
    return {name: worker.read(folder, name, 0) for name in names}
