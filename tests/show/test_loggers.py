"""What the Trainer's loggers hold after a real run, read back with their own readers."""

import csv
import gc
import importlib
import json
import math
import re
import struct
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import (
    CometLogger,
    CSVLogger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from torch.utils.data import DataLoader

from lightning_semgeom import History, SemanticGeometry
from lightning_semgeom.show.loggers import kind_of, sender_beside
from tests import models

KEYS = ("semgeom/gap", "semgeom_unembedding/z/colour", "semgeom_unembedding/asymmetry")
KINDS = ("gram", "shared", "map")
PEAK, CONFIRMED, GONE, LAST = 21, 30, 46, 60
# Each tenth record, the one that confirms the peak, and the last.
SHOWN = [0, 10, CONFIRMED, 33, LAST]


def fit(tmp_path, *loggers, steps=LAST, callbacks=(), **options):
    callback = SemanticGeometry(models.StagedModel.table(), every_n_steps=50, **options)
    trainer = models.trainer(
        tmp_path, callback, *callbacks, logger=list(loggers), max_steps=steps, log_every_n_steps=50
    )
    trainer.fit(models.StagedModel(), DataLoader(torch.zeros(300)))
    return callback.history


def assert_same(found, history):
    """`found`: {key: {step: value}} as a logger has it."""
    for key in KEYS:
        steps, values = history.curve(key)
        assert sorted(found[key]) == steps.tolist()
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            assert found[key][step] == pytest.approx(value, abs=1e-6, nan_ok=True)


class OfflineComet(CometLogger):
    """Lightning's own online=False turns Comet off; this leaves it on, into a file."""

    def _create_experiment(self):
        import comet_ml

        self._comet_config = comet_ml.ExperimentConfig(
            offline_directory=self._kwargs["offline_directory"], log_code=False
        )
        super()._create_experiment()


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The history of a run and its loggers: of files, TensorBoard's, MLflow's and Comet's."""
    folder = tmp_path_factory.mktemp("loggers")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <socket")  # Comet asks for its own IP
        # MLflow's store of files is the one that a metric named as a folder would break.
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        loggers = (
            CSVLogger(folder / "csv"),
            TensorBoardLogger(folder / "tensorboard"),
            MLFlowLogger(experiment_name="test", tracking_uri=f"file:{folder}/mlruns"),
            OfflineComet(online=False, project="test", offline_directory=str(folder)),
        )
        history = fit(folder, *loggers)
        loggers[-1].experiment.end()
        gc.collect()
        yield history, *loggers


@pytest.mark.processes
def test_the_run_that_the_tests_of_loggers_look_at_peaks_and_collapses(whole_run):
    history = whole_run[0]
    steps = [record.step for record in history]
    places = [steps.index(step) for step in SHOWN if step != CONFIRMED]
    assert places == [0, 10, 20, len(steps) - 1]
    _, peaks = history.curve("semgeom/peak_step")
    assert steps[int(np.isfinite(peaks).argmax())] == CONFIRMED
    assert peaks[-1] == PEAK
    assert history.milestones("unembedding", "colour").collapse_step == GONE


@pytest.mark.processes
def test_csv_rows_hold_all_keys_and_pictures_lie_beside_them(whole_run):
    history, logger, *_ = whole_run
    with open(f"{logger.log_dir}/metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row["semgeom/phase"]]
    found = {key: {int(row["step"]): float(row[key] or "nan") for row in ours} for key in KEYS}
    assert_same(found, history)
    assert set(history.keys) <= set(rows[0])
    folder = Path(logger.log_dir)
    assert (folder / "semgeom/history.jsonl").exists()
    for kind in KINDS:
        files = sorted((folder / f"semgeom_{kind}").glob("unembedding_*.png"))
        assert [int(file.stem[-8:]) for file in files] == SHOWN
        assert all(matplotlib.image.imread(file).std() > 0.05 for file in files)
    timelines = sorted((folder / "semgeom").glob("timeline_*.png"))
    assert [int(file.stem[-8:]) for file in timelines] == [CONFIRMED, LAST]


@pytest.mark.processes
def test_tensorboard_holds_scalars_and_a_picture_at_each_of_its_steps(whole_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history, _, logger, *_ = whole_run
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0})  # 0: keep all
    events.Reload()
    assert set(history.keys) <= set(events.Tags()["scalars"])
    assert_same({key: {e.step: e.value for e in events.Scalars(key)} for key in KEYS}, history)
    pictures = [f"semgeom_{kind}/unembedding" for kind in KINDS]
    assert {*pictures, "semgeom/timeline"} == set(events.Tags()["images"])
    for key in pictures:
        assert [event.step for event in events.Images(key)] == SHOWN
        assert {event.width for event in events.Images(key)} == {600}


def wandb_records(path):
    """The records of an offline run file: LevelDB log framing around protobuf records."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts = path.read_bytes(), 7, []
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):
            yield Record.FromString(b"".join(parts))
            parts = []


@pytest.fixture(scope="module")
def wandb_run(tmp_path_factory):
    """A real offline run: its history, its folder of files and the records of its file."""
    import wandb

    folder = tmp_path_factory.mktemp("wandb")
    bind = wandb.Image.bind_to_run

    def bind_beside(*arguments):
        assert threading.current_thread().name == "semgeom pictures"
        bind(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SILENT", "true")
        patch.setattr(wandb.Image, "bind_to_run", bind_beside)  # the training waits for none
        logger = WandbLogger(project="test", save_dir=folder, offline=True)
        history = fit(folder, logger, alerts=True)
        settings = logger.experiment.settings
        sync_file, files = Path(settings.sync_file), Path(settings.files_dir)
        version = str(logger.version)
        logger.experiment.finish()
        wandb.teardown()
    assert (folder / "test" / version / "semgeom/history.jsonl").exists()
    return history, files, [*wandb_records(sync_file)]


def unpacked(items):
    """Key to value of a row or of the summary; a picture's parts come one by one."""
    found = {}
    for item in items:
        keys = [item.key] if item.key else [*item.nested_key]
        inner = found if len(keys) == 1 else found.setdefault(keys[0], {})
        inner[keys[-1]] = json.loads(item.value_json)
    return found


def of_kind(records, kind):
    return [getattr(r, kind) for r in records if r.WhichOneof("record_type") == kind]


@pytest.mark.processes
def test_wandb_has_a_row_of_scalars_of_each_capture_and_one_of_its_pictures(wandb_run):
    history, files, records = wandb_run
    rows = [unpacked(record.item) for record in of_kind(records, "history")]
    # A row of W&B's own count comes after the other; each has the x of its record.
    figures = [row for row in rows if "semgeom/gap" in row]
    assert len(figures) == len(history)
    found = {key: {} for key in KEYS}
    for row in figures:
        assert set(history.keys) <= set(row)
        for key in KEYS:
            found[key][int(row["trainer/global_step"])] = float(row[key])
    assert_same(found, history)
    pictures = {f"semgeom_{kind}/unembedding" for kind in KINDS}
    shown = [row for row in rows if pictures & set(row)]
    assert [int(row["trainer/global_step"]) for row in shown] == SHOWN
    for row in shown:
        step = int(row["trainer/global_step"])
        assert ("semgeom/timeline" in row) == (step in (CONFIRMED, LAST))
        for key in pictures:
            assert row[key]["_type"] == "image-file"
            assert matplotlib.image.imread(files / row[key]["path"]).std() > 0.05
            of_step = PEAK if step == CONFIRMED else step
            assert row[key]["caption"].startswith(f"unembedding, step {of_step}")


def test_what_wandb_imports_at_its_first_picture_is_imported_beside_if_it_is_there(monkeypatch):
    asked, bound = [], []

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "pandas":
                asked.append(name)
                raise ModuleNotFoundError(name)

    class Picture:
        def bind_to_wandb(self, *arguments):
            bound.append(arguments)

    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    logger = type("WandbLogger", (), {"experiment": "the run"})()
    sender_beside(logger)("semgeom_gram/a", Picture(), 7)
    assert asked == ["pandas"]
    assert bound == [("the run", "semgeom_gram/a", 7)]


@pytest.mark.processes
def test_wandb_keeps_the_peak_and_the_largest_gap_in_its_summary(wandb_run):
    history, _, records = wandb_run
    summary = {}
    for record in of_kind(records, "summary"):
        summary |= unpacked(record.update)
    _, gaps = history.curve("semgeom/gap")
    assert summary["semgeom/peak_step"] == PEAK
    assert summary["semgeom/gap"]["max"] == pytest.approx(np.nanmax(gaps))
    assert summary["semgeom/gap"]["last"] == pytest.approx(gaps[-1])


@pytest.mark.processes
def test_wandb_is_told_of_a_collapse_once_and_only_if_asked(wandb_run, tmp_path, monkeypatch):
    _, _, records = wandb_run
    (alert,) = of_kind(records, "alert")
    assert alert.title == "semgeom: structure is gone"
    assert alert.text == (
        "colour is gone in unembedding: it peaked at step 21, and its gap is -0.015 at step 57."
    )

    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(project="test", save_dir=tmp_path, offline=True)
    history = fit(tmp_path, logger)
    assert history.milestones("unembedding", "colour").collapse_step == GONE
    sync_file = Path(logger.experiment.settings.sync_file)
    logger.experiment.finish()
    wandb.teardown()
    assert not of_kind(wandb_records(sync_file), "alert")


def test_alerts_without_wandb_are_refused_before_training(tmp_path):
    message = r"^SemanticGeometry: alerts=True needs a WandbLogger; the loggers are \['CSVLogger'\]"
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, CSVLogger(tmp_path), alerts=True)


def assert_mlflow_holds(logger, history):
    """What its store has of a run: figures, and pictures at their steps."""
    client = logger.experiment
    names = dict(zip(KEYS, KEYS, strict=True)) | {KEYS[1]: "semgeom_unembedding/z.colour"}
    found = {
        key: {m.step: m.value for m in client.get_metric_history(logger.run_id, name)}
        for key, name in names.items()
    }
    assert_same(found, history)
    images = [file.path for file in client.list_artifacts(logger.run_id, "images")]
    for kind in KINDS:
        # MLflow's own naming: key, step and time of each image.
        pattern = re.compile(rf"images/semgeom_{kind}[~#]unembedding[+%]step[+%](\d+)[+%].*\.png")
        found = [match for path in images if (match := pattern.fullmatch(path))]
        assert sorted(int(match[1]) for match in found) == SHOWN


@pytest.mark.processes
def test_mlflow_holds_metrics_and_images(whole_run):
    history, _, _, logger, _ = whole_run
    assert_mlflow_holds(logger, history)


@pytest.mark.processes
def test_comet_holds_metrics_and_images(whole_run):
    history, *_, logger = whole_run
    (archive,) = Path(logger.experiment.offline_directory).glob("*.zip")
    with zipfile.ZipFile(archive) as files:
        messages = [json.loads(line) for line in files.read("messages.json").splitlines()]
    found = {key: {} for key in KEYS}
    for message in messages:
        metric = message["payload"].get("metric", {})
        if metric.get("metricName") in found:
            value = metric["metricValue"]
            found[metric["metricName"]][metric["step"]] = float(value)
    assert_same(found, history)
    images = [
        message["payload"]["additional_params"]
        for message in messages
        if message["payload"].get("upload_type") == "visualization"
    ]
    for kind in KINDS:
        key = f"semgeom_{kind}/unembedding"
        assert sorted(i["step"] for i in images if i["figName"] == key) == SHOWN


@pytest.mark.parametrize("package", ["lightning.pytorch.loggers", "pytorch_lightning.loggers"])
@pytest.mark.parametrize(
    "name", ["WandbLogger", "TensorBoardLogger", "MLFlowLogger", "CometLogger", "CSVLogger"]
)
def test_loggers_of_both_packages_and_what_is_made_from_them_are_known(package, name):
    kind = getattr(importlib.import_module(package), name)
    made = type("Own", (kind,), {})
    assert kind_of(kind.__new__(kind)) == kind_of(made.__new__(made)) == name
    assert kind_of(object()) == ""


class FailingLogger(CSVLogger):
    def log_metrics(self, metrics, step=None):
        if "semgeom/gap" in metrics and step > 3:
            raise ConnectionError("the backend is gone")
        super().log_metrics(metrics, step)


@pytest.mark.processes
def test_a_logger_that_raises_is_one_warning_and_the_others_are_told(tmp_path):
    failing, other = FailingLogger(tmp_path / "a"), CSVLogger(tmp_path / "b")
    with pytest.warns(
        UserWarning, match="not written at step 4.\n  FailingLogger: ConnectionError"
    ) as caught:
        history = fit(tmp_path, failing, other, steps=20)
    assert sum("FailingLogger" in str(warning.message) for warning in caught) == 1
    with open(f"{other.log_dir}/metrics.csv", encoding="utf-8") as file:
        ours = [row for row in csv.DictReader(file) if row["semgeom/phase"]]
    assert [int(row["step"]) for row in ours] == [record.step for record in history]
    assert not math.isnan(float(ours[-1]["semgeom/gap"]))


def test_without_matplotlib_loggers_get_figures_and_one_line_says_why_no_pictures(
    tmp_path, monkeypatch, told
):
    monkeypatch.setattr("lightning_semgeom.show.dashboard.find_spec", lambda name: None)
    logger = CSVLogger(tmp_path)
    fit(tmp_path, logger, steps=20)
    assert sum("lightning-semgeom[plots]" in line for line in told) == 1
    assert not [*Path(logger.log_dir).rglob("*.png")]


class StopAt(models.pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop = batch_idx + 1 == self.step


@pytest.mark.processes
@pytest.mark.parametrize("step", [57, 60])
def test_the_end_is_shown_also_where_something_else_than_max_steps_ends_the_run(tmp_path, step):
    logger = CSVLogger(tmp_path)
    history = fit(tmp_path, logger, steps=300, callbacks=[StopAt(step)])
    assert history.records[-1].step == step  # 57 is due anyway, 60 is not
    files = (Path(logger.log_dir) / "semgeom_gram").glob("*.png")
    assert sorted(int(file.stem[-8:]) for file in files) == [0, 10, CONFIRMED, 33, step]
    assert history.picture_steps("unembedding")[-1] == step
    with open(f"{logger.log_dir}/metrics.csv", encoding="utf-8") as file:
        rows = [int(row["step"]) for row in csv.DictReader(file) if row["semgeom/phase"]]
    assert rows == [record.step for record in history]


def test_a_folder_written_as_an_address_of_this_machine_is_that_folder(tmp_path):
    callback = SemanticGeometry(models.table(), every_n_steps=1)
    trainer = models.trainer(
        tmp_path, callback, max_steps=2, default_root_dir=f"file://{tmp_path}/runs"
    )
    trainer.fit(models.TinyModel(), models.batches())
    assert len(History.load(tmp_path / "runs" / "semgeom")) == 3
