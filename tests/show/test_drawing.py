"""The process that draws beside a run: when there is one, how it ends, what it may not cost."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger
from torch.utils.data import DataLoader
from tqdm import tqdm

from lightning_semgeom import History, SemanticGeometry
from lightning_semgeom.record.record import Record
from lightning_semgeom.show import dashboard, drawing
from lightning_semgeom.show.dashboard import spread
from lightning_semgeom.show.sheets import Sheet, Shown
from tests import models
from tests.warm import python

LAST = 60
SHOWN = [0, 10, 30, 33, LAST]  # each tenth record, the one that confirms the peak, and the last


@pytest.fixture
def started(monkeypatch):
    """The drawing processes that were started, in a list."""
    found = []

    class Kept(drawing.DrawingProcess):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            found.append(self)

    monkeypatch.setattr(dashboard, "DrawingProcess", Kept)
    return found


def fit(tmp_path, *callbacks, logger=None, **options):
    """The history of a run of a model whose gap peaks, and its folder."""
    callback = SemanticGeometry(models.StagedModel.table(), every_n_steps=50, **options)
    logger = CSVLogger(tmp_path) if logger is None else logger
    trainer = models.trainer(tmp_path, *callbacks, callback, logger=logger, max_steps=LAST)
    trainer.fit(models.StagedModel(), DataLoader(torch.zeros(300)))
    return callback.history, Path(tmp_path, "lightning_logs/version_0")


def steps_of(folder, key="semgeom_gram/unembedding"):
    return sorted(int(file.stem[-8:]) for file in folder.glob(f"{key}_*.png"))


def assert_ended(process):
    """It is gone and was waited for, and so is the thread that talked to it."""
    assert process._process.returncode is not None
    assert not process._thread.is_alive()


class At(pl.Callback):
    """Does something after a number of batches."""

    def __init__(self, batches, act):
        self.batches, self.act = batches, act

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx + 1 == self.batches:
            self.act()


@pytest.mark.processes
def test_all_is_drawn_when_fit_returns_and_no_process_is_left(tmp_path, started, monkeypatch):
    bars = []

    class Bar(tqdm):
        def __init__(self, **options):
            super().__init__(**{**options, "disable": False, "file": io.StringIO()})
            bars.append(self)

    monkeypatch.setattr(dashboard, "tqdm", Bar)
    _, folder = fit(tmp_path)
    assert steps_of(folder) == SHOWN
    (process,), (bar,) = started, bars
    assert_ended(process)
    assert bar.n == bar.total >= len(("gram", "shared", "map", "timeline"))
    assert bar.delay == 2


@pytest.mark.processes
@pytest.mark.parametrize("fault", [ArithmeticError, KeyboardInterrupt])
def test_no_process_is_left_after_an_exception(tmp_path, started, fault):
    def end():
        raise fault

    kept = signal.getsignal(signal.SIGINT)  # Lightning ignores Ctrl-C once it has been pressed
    with pytest.raises((ArithmeticError, SystemExit)):
        fit(tmp_path, At(5, end))
    signal.signal(signal.SIGINT, kept)
    (process,) = started
    assert_ended(process)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_kill_9_leaves_no_process_and_all_that_a_report_draws(tmp_path):
    done = python("-m", "tests.show.killed", tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 60
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not is_running(pid)
    history = History.load(tmp_path / "lightning_logs/version_0/semgeom")
    assert {0, 10} <= set(history.picture_steps("unembedding"))


class FiguresAlone(Logger):
    name, version = "figures", 0

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, *arguments, **named):
        pass


@pytest.mark.parametrize("logger", [False, FiguresAlone()])
def test_no_process_is_started_where_no_logger_takes_pictures(tmp_path, started, logger):
    fit(tmp_path, logger=logger)
    assert not started


@pytest.mark.processes
def test_where_drawing_lags_the_oldest_pictures_are_given_up_and_this_is_told_once(
    tmp_path, monkeypatch
):
    class Stopped(drawing.DrawingProcess):
        """Draws nothing before the end of the run."""

        def __init__(self, *arguments):
            super().__init__(*arguments)
            os.kill(self._process.pid, signal.SIGSTOP)

        def order(self, sheet):
            while self._waiting and not self._undrawn:
                time.sleep(0.01)  # until the first one is at work
            return super().order(sheet)

        def take(self):
            os.kill(self._process.pid, signal.SIGCONT)
            return super().take()

    monkeypatch.setattr(dashboard, "DrawingProcess", Stopped)
    monkeypatch.setattr(drawing, "MOST_WAITING", 2)
    with pytest.warns(UserWarning, match=r"those of step 10, and .* report` draws them") as told:
        history, folder = fit(tmp_path)
    assert len([w for w in told if "SemanticGeometry" in str(w.message)]) == 1
    assert steps_of(folder) == [0, 33, LAST]
    assert set(history.picture_steps("unembedding")) >= {0, 10, 33, LAST}


BROKEN = {
    "cannot be started": ("sys.executable", "/nowhere/python", "FileNotFoundError: .*nowhere"),
    "ends at once": ("PROGRAM", "raise MemoryError('no room')", "status 1: MemoryError: no room"),
    "says something else": ("PROGRAM", "print('hello')", "ended with status 0: "),
}


@pytest.mark.processes
@pytest.mark.parametrize(("name", "value", "message"), BROKEN.values(), ids=BROKEN)
def test_a_drawing_process_that_breaks_is_one_warning_and_figures_go_on(
    tmp_path, started, monkeypatch, name, value, message
):
    monkeypatch.setattr(f"lightning_semgeom.show.drawing.{name}", value)
    with pytest.warns(UserWarning, match=f"pictures: .*{message}") as told:
        history, folder = fit(tmp_path)
    assert len([w for w in told if "SemanticGeometry" in str(w.message)]) == 1
    assert history.records[-1].step == LAST
    assert steps_of(folder) == []
    for process in started:
        assert_ended(process)


@pytest.mark.processes
def test_a_drawing_process_that_is_killed_is_one_warning_and_figures_go_on(tmp_path, started):
    kill = At(40, lambda: os.kill(started[0]._process.pid, signal.SIGKILL))
    with pytest.warns(UserWarning, match="pictures: ChildProcessError: .* status -9") as told:
        history, _ = fit(tmp_path, kill)
    assert len([w for w in told if "SemanticGeometry" in str(w.message)]) == 1
    assert history.records[-1].step == LAST


@pytest.mark.processes
def test_a_drawing_process_that_says_nothing_is_not_waited_for_for_ever(
    tmp_path, started, monkeypatch
):
    monkeypatch.setattr(drawing, "PROGRAM", "import time; time.sleep(1000)")
    monkeypatch.setattr(drawing, "LONGEST", 0.1)
    with pytest.warns(UserWarning, match="TimeoutError: the drawing process said nothing"):
        fit(tmp_path)
    assert_ended(started[0])


@pytest.mark.processes
def test_a_picture_that_cannot_be_drawn_costs_no_figure_and_no_other_picture(tmp_path):
    def lose_the_peak():
        (tmp_path / "lightning_logs/version_0/semgeom/pictures/unembedding/00000021.npz").unlink()

    with pytest.warns(
        UserWarning, match="DrawingError: semgeom_gram/unembedding: FileNotFoundError"
    ) as told:
        history, folder = fit(tmp_path, At(25, lose_the_peak))
    assert len([w for w in told if "SemanticGeometry" in str(w.message)]) == 1
    assert steps_of(folder) == [0, 10, 33, LAST]
    assert steps_of(folder, "semgeom/timeline") == [30, LAST]
    assert history.records[-1].step == LAST


@pytest.mark.processes
def test_with_on_error_raise_a_broken_drawing_process_ends_the_run(tmp_path, started, monkeypatch):
    monkeypatch.setattr(drawing, "PROGRAM", "raise MemoryError")
    with pytest.raises(ChildProcessError, match="ended with status 1: MemoryError"):
        fit(tmp_path, on_error="raise")
    assert_ended(started[0])


@pytest.mark.processes
def test_of_many_sites_the_first_the_last_and_some_between_are_drawn_and_all_are_kept(tmp_path):
    callback = SemanticGeometry(
        models.table(), embedding=True, hidden="body.*", every_n_steps=1, max_drawn_sites=3
    )
    logger = CSVLogger(tmp_path)
    models.trainer(tmp_path, callback, max_steps=1, logger=logger).fit(
        models.TinyModel(), models.batches()
    )
    drawn = {file.stem.rpartition("_")[0] for file in Path(logger.log_dir).rglob("semgeom_map/*")}
    sites = callback.history.sites
    assert drawn == {sites[0], sites[2], sites[-1]}
    assert len(sites) == 5
    assert all(callback.history.picture_steps(site) for site in sites)


def test_sites_are_spread_evenly():
    sites = [str(number) for number in range(34)]
    assert spread(sites, 34) == spread(sites, 100) == sites
    assert spread(sites, 1) == ["0"]
    assert spread(sites, 2) == ["0", "33"]
    assert spread(sites, 8) == ["0", "5", "9", "14", "19", "24", "28", "33"]
    for most in range(2, 34):
        places = np.array(spread(sites, most), dtype=int)
        gaps = np.diff(places)
        assert (places[0], places[-1], len(places)) == (0, 33, most)
        assert 1 <= gaps.min() <= gaps.max() <= gaps.min() + 1


def test_at_least_one_site_is_drawn():
    with pytest.raises(ValueError, match="max_drawn_sites must be 1 or more: 0"):
        SemanticGeometry(models.table(), max_drawn_sites=0)


DRAW = """
import json, pickle, sys
from lightning_semgeom.show.worker import KeptDrawings, main
drawn = pickle.load(sys.stdin.buffer).drawn(KeptDrawings())
print(json.dumps([key for key, picture in drawn if picture.png]))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.processes
def test_drawing_imports_neither_torch_nor_lightning():

    history = History()
    for step in range(3):
        values = {"semgeom/gap": 0.1, "semgeom_x/gap/a": 0.1, "semgeom_x/asymmetry": 0.5}
        history.append(Record(step, values))
    picture = models.picture(np.eye(4), [["a"], ["a"], ["b"], ["b"]])
    sheet = Sheet("semgeom", 2, {"x": Shown("x, step 2", picture)}, history.records)
    done = subprocess.run(
        [sys.executable, "-c", DRAW], input=pickle.dumps(sheet), capture_output=True, timeout=200,
        check=True,
    )  # fmt: skip
    keys, modules = map(json.loads, done.stdout.splitlines())
    assert keys == [*(f"semgeom_{k}/x" for k in ("gram", "shared", "map")), "semgeom/timeline"]
    assert len(keys) == len(sheet)
    assert "matplotlib" in modules
    assert not {"torch", "torchmetrics", "lightning", "pandas", "tqdm"} & {*modules}


@pytest.mark.processes
def test_a_run_that_goes_on_where_no_warning_is_due_has_none(tmp_path):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(tmp_path)
    assert not [w for w in told if "SemanticGeometry" in str(w.message)]
    assert not [w for w in told if issubclass(w.category, ResourceWarning)]
