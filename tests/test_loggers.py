"""What the Trainer's loggers hold after a real run, read back with their own readers."""

import csv
import math
import struct

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from lightning_semgeom import SemanticGeometry
from tests import models

KEYS = ("semgeom/gap", "semgeom_unembedding/z/colour", "semgeom_hidden.body/asymmetry")


def fit(tmp_path, *loggers):
    callback = SemanticGeometry(models.table(), hidden="body", every_n_steps=6)
    trainer = models.trainer(tmp_path, callback, logger=list(loggers))
    trainer.fit(models.TinyModel(), models.batches())
    return callback.history


def assert_same(found, history):
    """`found`: {key: {step: value}} as a logger has it."""
    for key in KEYS:
        steps, values = history.curve(key)
        assert sorted(found[key]) == steps.tolist()
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            assert found[key][step] == pytest.approx(value, abs=1e-6, nan_ok=True)


def test_csv_rows_hold_all_keys_at_the_right_steps(tmp_path):
    logger = CSVLogger(tmp_path)
    history = fit(tmp_path, logger)
    with open(f"{logger.log_dir}/metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row["semgeom/phase"]]
    found = {key: {int(row["step"]): float(row[key] or "nan") for row in ours} for key in KEYS}
    assert_same(found, history)
    assert set(history.keys) <= set(rows[0])
    assert any(row["train_loss"] for row in rows)
    assert (tmp_path / "lightning_logs/version_0/semgeom/history.jsonl").exists()


def test_tensorboard_scalars_hold_all_keys_at_the_right_steps(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    history = fit(tmp_path, logger)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert set(history.keys) <= set(events.Tags()["scalars"])
    assert_same({key: {e.step: e.value for e in events.Scalars(key)} for key in KEYS}, history)


def wandb_rows(path):
    """The history rows of an offline run file: LevelDB log framing around protobuf records."""
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
            record = Record.FromString(b"".join(parts))
            parts = []
            if record.WhichOneof("record_type") == "history":
                yield {
                    (item.key or "/".join(item.nested_key)): item.value_json
                    for item in record.history.item
                }


def test_wandb_rows_hold_a_whole_record_each_at_the_right_step(tmp_path, monkeypatch):
    import pathlib

    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(project="test", save_dir=tmp_path, offline=True)
    history = fit(tmp_path, logger)
    sync_file = pathlib.Path(logger.experiment.settings.sync_file)
    folder = tmp_path / "test" / str(logger.version) / "semgeom"
    wandb.teardown()
    rows = [row for row in wandb_rows(sync_file) if "semgeom/gap" in row]
    assert len(rows) == len(history)
    found = {key: {} for key in KEYS}
    for row in rows:
        assert set(history.keys) <= set(row)
        for key in KEYS:
            step = int(float(row["trainer/global_step"]))
            found[key][step] = float(row[key].strip('"').replace("NaN", "nan"))
    assert_same(found, history)
    assert (folder / "history.jsonl").exists()


class FailingLogger(CSVLogger):
    def log_metrics(self, metrics, step=None):
        if "semgeom/gap" in metrics and step > 3:
            raise ConnectionError("the backend is gone")
        super().log_metrics(metrics, step)


def test_a_logger_that_raises_is_one_warning_and_the_others_are_told(tmp_path):
    failing, other = FailingLogger(tmp_path / "a"), CSVLogger(tmp_path / "b")
    with pytest.warns(
        UserWarning, match="not written at step 4.\n  FailingLogger: ConnectionError"
    ) as caught:
        history = fit(tmp_path, failing, other)
    assert sum("FailingLogger" in str(warning.message) for warning in caught) == 1
    with open(f"{other.log_dir}/metrics.csv", encoding="utf-8") as file:
        ours = [row for row in csv.DictReader(file) if row["semgeom/phase"]]
    assert [int(row["step"]) for row in ours] == [record.step for record in history]
    assert not math.isnan(float(ours[-1]["semgeom/gap"]))
