"""Pictures and figures for a server: a thread beside the training waits for it."""

import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, WandbLogger

from lightning_semgeom.show.loggers import sender_beside
from tests.show.test_drawing import At
from tests.show.test_loggers import LAST, SHOWN, assert_mlflow_holds, fit


@pytest.fixture
def mlflow():
    """Imported where it is asked for: it takes more than a second, in each worker."""
    return importlib.import_module("mlflow")


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory):
    """The address of a real tracking server, with a store of its own in SQLite."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    arguments = (
        "server", "--backend-store-uri", f"sqlite:///{folder}/store.db",
        "--artifacts-destination", folder / "artifacts", "--port", str(port), "--workers", "1",
    )  # fmt: skip
    with open(folder / "server.txt", "w") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while not answers(f"{address}/health"):
            alive = server.poll() is None and time.monotonic() < until
            assert alive, (folder / "server.txt").read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # and its workers
        server.wait()


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


@pytest.mark.processes
def test_a_tracking_server_holds_metrics_and_images(tmp_path, mlflow_server):
    logger = MLFlowLogger(experiment_name="test", tracking_uri=mlflow_server)
    history = fit(tmp_path, logger)
    assert_mlflow_holds(logger, history)


@pytest.mark.processes
def test_figures_that_a_tracking_server_gets_beside_the_run_are_all_there(
    tmp_path, mlflow, mlflow_server
):
    logger = MLFlowLogger(experiment_name="test", tracking_uri=mlflow_server, synchronous=False)
    history = fit(tmp_path, logger)
    mlflow.set_tracking_uri(mlflow_server)
    mlflow.flush_async_logging()  # as at the end of a program
    assert_mlflow_holds(logger, history)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A logger of MLflow's into files."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return MLFlowLogger(experiment_name="test", tracking_uri=f"file:{tmp_path}/mlruns")


@pytest.mark.processes
def test_a_server_that_takes_its_time_over_pictures_holds_no_step(
    tmp_path, mlflow, store, monkeypatch
):
    send, trained, waits = mlflow.MlflowClient.log_image, threading.Event(), []

    def slow(*arguments, **named):
        waits.append(trained.wait(60))  # in vain, where training waits for this
        return send(*arguments, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "log_image", slow)
    history = fit(tmp_path, store, callbacks=[At(LAST, trained.set)])
    assert all(waits)
    assert_mlflow_holds(store, history)


@pytest.mark.processes
def test_a_server_that_takes_no_pictures_is_one_warning_and_others_have_them(
    tmp_path, mlflow, store, monkeypatch
):
    def refuse(*arguments, **named):
        raise ConnectionError("no more room")

    monkeypatch.setattr(mlflow.MlflowClient, "log_image", refuse)
    files = CSVLogger(tmp_path)
    message = "SendingError: MLFlowLogger: semgeom_gram/unembedding: ConnectionError: no more room"
    with pytest.warns(UserWarning, match=message) as told:
        history = fit(tmp_path, store, files)
    assert len([w for w in told if "SemanticGeometry" in str(w.message)]) == 1
    drawn = sorted(Path(files.log_dir).glob("semgeom_map/*.png"))
    assert [int(file.stem[-8:]) for file in drawn] == SHOWN
    assert history.records[-1].step == LAST


@pytest.mark.processes
def test_images_for_wandb_are_made_by_the_thread_that_draws(tmp_path, monkeypatch):
    import wandb

    makers, make = set(), wandb.Image.__init__

    def made(*arguments, **named):
        makers.add(threading.current_thread().name)
        make(*arguments, **named)

    monkeypatch.setattr(wandb.Image, "__init__", made)
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(project="test", save_dir=tmp_path, offline=True)
    fit(tmp_path, logger)
    logger.experiment.finish()
    wandb.teardown()
    assert makers == {"semgeom pictures"}


def test_what_goes_to_files_at_once_needs_no_thread(tmp_path):
    assert sender_beside(CSVLogger(tmp_path)) is None
