"""Loggers, pages and commands with runs in stores."""

import re
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from lightning_semgeom import History, SemanticGeometry
from lightning_semgeom.commands.cli import main
from lightning_semgeom.show.report.page import write_report
from lightning_semgeom.show.report.runs import find_runs
from lightning_semgeom.show.workspace import sites_of
from lightning_semgeom.stores import place, read
from tests import models

STEPS = 3
STORES = {"memory": "memory://runs", "s3": "s3://bucket/runs"}


@pytest.fixture
def store(request, tmp_path, monkeypatch):
    request.getfixturevalue(request.param)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield STORES[request.param]
    assert not [path for path in (tmp_path / "work").rglob("*") if ":" in path.name]


def fit(logger, root="none"):
    callback = SemanticGeometry(models.table(), every_n_steps=1, growth=None)
    control = SemanticGeometry(
        models.table().shuffled(0), every_n_steps=1, growth=None, name="semgeom_control"
    )
    trainer = models.trainer(root, callback, control, max_steps=STEPS, logger=logger)
    trainer.fit(models.TinyModel(), models.batches())


@pytest.mark.processes
@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_csv_logger_in_a_store_has_history_and_pictures_beside_its_table(store):
    callback = SemanticGeometry(models.StagedModel.table(), every_n_steps=50)
    logger = CSVLogger(store, name="a")
    settings = {"logger": logger, "max_steps": 31, "log_every_n_steps": 50}
    trainer = models.trainer("none", callback, **settings)
    trainer.fit(models.StagedModel(), DataLoader(torch.zeros(300)))
    folder = place(f"{store}/a/version_0")
    assert len(History.load(folder / "semgeom")) == len(callback.history)
    pictures = sorted((folder / "semgeom_gram").iterdir(), key=str)
    # That of 30 shows the peak, which was read from the store.
    assert [int(file.stem[-8:]) for file in pictures] == [0, 10, 30, 31]
    assert all(read(file).startswith(b"\x89PNG") for file in pictures)
    assert not [*Path.cwd().iterdir()]


@pytest.mark.processes
def test_a_tensorboard_logger_in_a_store_has_a_history_beside_its_events(memory, monkeypatch):
    fit(TensorBoardLogger("memory://runs", name="a"))
    assert len(History.load("memory://runs/a/version_0/semgeom")) == STEPS + 1
    assert [*place("memory://runs/a/version_0").glob("events.out.*")]


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_the_page_of_a_run_in_a_store_is_that_of_the_run_on_this_machine(store, tmp_path):
    fit(False, root=f"{store}/a/b")
    fit(False, root=tmp_path / "a/b")
    write_report(find_runs([tmp_path / "a/b"]), tmp_path / "here.html")
    assert main(["report", f"{store}/a/b", "-o", str(tmp_path / "there.html")]) == 0
    assert main(["report", f"{store}/a/b"]) == 0
    page = (tmp_path / "here.html").read_bytes()
    assert (tmp_path / "there.html").read_bytes() == page
    assert place(f"{store}/a/b/report.html").read_bytes() == page
    assert sites_of(place(f"{store}/a/b")) == ["unembedding"]


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_what_a_command_cannot_take_from_a_store_is_one_line(store, tmp_path, capsys):
    fit(False, root=f"{store}/a")
    told = {
        f"no history in '{store}/none'": ["report", f"{store}/none", "-o", "page.html"],
        "is a folder; expected the name of a file": ["report", f"{store}/a", "-o", f"{store}/a"],
        f"no history at '{store}/none": [
            *("wandb-workspace", "--entity", "me", "--project", "it", f"{store}/none"),
        ],
        "is in a store; expected a folder on this machine": ["demo", "--out", store],
    }
    for message, arguments in told.items():
        assert main(arguments) == 2, arguments
        found = capsys.readouterr().err
        assert message in found
        assert len(found.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [("report",), ("analyze", "--attributes", "x.csv"), ("wandb-workspace",)]
)
def test_a_store_that_nobody_knows_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "nosuch://a"])
    assert ended.value.code == 2
    found = capsys.readouterr().err
    assert "'nosuch://a': Unsupported filesystem: 'nosuch'" in found
    assert len(found.splitlines()) == 1


def test_a_command_says_that_a_store_is_away(s3, capsys):
    s3.stop()
    assert main(["report", "s3://bucket/a", "-o", "page.html"]) == 2
    assert re.search("'s3://bucket/a/history.jsonl': .*Could not connect", capsys.readouterr().err)
