"""The same script started by each of Lightning's launchers: the history on disk is that of one."""

import csv
import os

import pytest

from lightning_semgeom import History
from tests import figures, warm

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("devices", [2, 3])
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
def test_the_history_is_that_of_one_process(tmp_path, alone, strategy, devices):
    done = warm.python(
        *("-m", "tests.distributed.launched", tmp_path, strategy, devices),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    expected = alone("ddp")["records"]
    folder = tmp_path / "lightning_logs/version_0"
    history = History.load(folder / "semgeom")
    assert [record.step for record in history] == [step for step, _ in expected]
    for record, (_, values) in zip(history, expected, strict=True):
        figures.assert_same(dict(record.values), values)
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = [int(row["step"]) for row in csv.DictReader(file) if row["semgeom/phase"]]
    assert rows == [record.step for record in history]  # one process tells the loggers
    pictures = sorted((folder / "semgeom_gram").glob("unembedding_*.png"))
    # The start, the last forward and the end.
    assert [int(file.stem[-8:]) for file in pictures] == [rows[0], *rows[-2:]]
