"""The callback in a YAML file: the example as a user runs it, and what arrives of each option."""

import csv
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from lightning.pytorch.cli import LightningCLI

from lightning_semgeom import AttributeTable, History, SemanticGeometry
from lightning_semgeom.settings.factored import FactoredData, FactoredModel, factored_attributes
from tests.warm import python

ROOT = Path(__file__).parent.parent
CONFIG = yaml.safe_load((ROOT / "examples/cli.yaml").read_text())
OPTIONS = CONFIG["trainer"]["callbacks"][0]["init_args"]
NOT_IN_YAML = {"attributes", "probe"}
ARGUMENTS = inspect.getdoc(SemanticGeometry).partition("Args:\n")[2].partition("\n\n")[0]
DESCRIBED = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", ARGUMENTS, re.MULTILINE))
OTHER = {
    "attributes_file": "other.tsv",
    "unembedding": False,
    "embedding": True,
    "hidden": "block",
    "labels": 1,
    "positions": "all",
    "shift_labels": True,
    "every_n_steps": 7,
    "every_n_epochs": 3,
    "growth": None,
    "max_positions": 77,
    "gram_size": 5,
    "max_drawn_sites": 2,
    "on_error": "warn",
    "alerts": True,
    "name": "other",
    "metrics": "eigenspectrum",
}


class Probed(SemanticGeometry):
    """Gives what YAML cannot say, and keeps what it did say."""

    def __init__(self, **options):
        super().__init__(probe=[{}], **options)
        self.options = options


def run(*arguments):
    return python("examples/cli.py", "fit", *arguments, cwd=ROOT)


def defaults():
    parameters = inspect.signature(SemanticGeometry).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "probe"}


def test_the_file_of_attributes_is_that_of_the_setting():
    assert AttributeTable.from_file(ROOT / "examples/factored.csv") == factored_attributes()


def test_the_example_says_each_option_that_yaml_can_say():
    said = set(inspect.signature(SemanticGeometry).parameters) - NOT_IN_YAML
    assert set(OPTIONS) == said - {"every_n_epochs"}
    assert set(OTHER) == said
    # Where there are but two values, the example has the one that is not the default.
    same = {key for key, value in OTHER.items() if value == defaults()[key]}
    assert same == {"positions", "on_error"}
    assert all(OPTIONS[key] != OTHER[key] for key in same)


@pytest.mark.parametrize("options", [OPTIONS, OTHER], ids=["the example's", "other values"])
def test_each_option_in_yaml_arrives_at_the_constructor(tmp_path, monkeypatch, options):
    callback = {"class_path": f"{__name__}.Probed", "init_args": options}
    config = {"seed_everything": False, "trainer": {"logger": False, "callbacks": [callback]}}
    file = tmp_path / "cli.yaml"
    file.write_text(yaml.safe_dump(config))
    monkeypatch.setattr(sys, "argv", ["cli.py"])
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of how Lightning calls it
    cli = LightningCLI(FactoredModel, FactoredData, run=False, args=["--config", str(file)])
    (made,) = (c for c in cli.trainer.callbacks if isinstance(c, SemanticGeometry))
    assert made.options == defaults() | options
    assert made.probe == [{}]


@pytest.mark.processes
def test_the_example_trains_and_leaves_what_its_options_say(tmp_path):
    done = run("--config", "examples/cli.yaml", "--trainer.logger.init_args.save_dir", tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "lightning_logs/version_0"
    history = History.load(folder / OPTIONS["name"])
    assert [record.step for record in history] == [
        *(0, 1, 2, 3, 5, 8, 12, 18, 27),  # growth
        *(30, 40, 50, 59, 60),  # every_n_steps, and the ends
    ]
    hidden = ["block.mlp.0", "block.mlp.1", "block.mlp.2", "final_norm"]
    assert history.sites == ["unembedding", "embedding", *(f"hidden.{name}" for name in hidden)]
    assert history.attributes("unembedding") == ["a", "b", "c"]
    _, z = history.curve("semgeom_unembedding/z")
    assert z[0] < 3
    assert z[-1] > 10
    _, unread = history.curve("semgeom_embedding/gap")
    np.testing.assert_allclose(unread, unread[0], atol=1e-5)
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["semgeom/phase"]]
    assert [int(row["step"]) for row in rows] == [record.step for record in history]
    drawn = {file.stem.rpartition("_")[0] for file in folder.glob(f"{OPTIONS['name']}_gram/*")}
    sites = history.sites
    assert drawn == {sites[0], sites[2], sites[3], sites[5]}  # max_drawn_sites


@pytest.mark.processes
def test_the_help_says_of_each_option_what_the_docstring_does():
    told = run("--trainer.callbacks.help", "lightning_semgeom.SemanticGeometry")
    assert told.returncode == 0, told.stderr
    assert set(DESCRIBED) == set(inspect.signature(SemanticGeometry).parameters)
    assert DESCRIBED["hidden"].startswith("names of modules whose outputs are captured")
    for text in DESCRIBED.values():
        assert "".join(text.split()) in "".join(told.stdout.split())  # wherever lines are broken


@pytest.mark.processes
def test_an_option_that_is_not_there_is_an_error_that_names_it(tmp_path):
    file = tmp_path / "cli.yaml"
    file.write_text((ROOT / "examples/cli.yaml").read_text().replace("hidden:", "hiden:"))
    done = run("--config", file)
    assert done.returncode == 2
    assert "Option 'hiden' is not accepted" in done.stderr
    assert "Traceback" not in done.stderr
