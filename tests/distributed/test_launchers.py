"""The same script started by each of Lightning's launchers: the history on disk is that of one."""

import csv
import os
import subprocess
import sys

import pytest

from lightning_semgeom import History
from tests import figures
from tests.distributed import worker

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    worker.run(folder, ["ddp"], rank=0, size=1)
    return worker.read(folder, "ddp", 0)["records"]


@pytest.mark.parametrize("devices", [2, 3])
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
def test_the_history_is_that_of_one_process(tmp_path, alone, strategy, devices):
    command = [sys.executable, "-m", "tests.distributed.launched"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV_")}
    done = subprocess.run(
        [*command, str(tmp_path), strategy, str(devices)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "lightning_logs/version_0"
    history = History.load(folder / "semgeom")
    assert [record.step for record in history] == [step for step, _ in alone]
    for record, (_, expected) in zip(history, alone, strict=True):
        figures.assert_same(dict(record.values), expected)
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = [int(row["step"]) for row in csv.DictReader(file) if row["semgeom/phase"]]
    assert rows == [record.step for record in history]  # one process tells the loggers
    pictures = sorted((folder / "semgeom_gram").glob("unembedding_*.png"))
    # The start, the last forward and the end.
    assert [int(file.stem[-8:]) for file in pictures] == [rows[0], *rows[-2:]]
