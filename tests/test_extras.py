"""What is not installed is one line with what installs it, from Python and from the command."""

import json
import subprocess
import sys

import pytest

from lightning_semgeom.extras import CONTAINS, MissingExtraError, needs, told_for
from tests import models
from tests.checkpoints.files import save
from tests.record.test_summary import RISE_AND_FALL, followed
from tests.warm import ROOT

# In one process: each package is hidden while it is asked for, as if it were not installed. Before
# that all is imported that a plain install has, some of which asks for other packages itself.
CODE = """
import contextlib, io, json, sys, warnings
import torch
from lightning_semgeom import AttributeSimilarity, AttributeTable, History
from lightning_semgeom import SemanticGeometry, analyze, compare, concepts, snapshot
from lightning_semgeom import predicted_order, support_matrix
from lightning_semgeom.commands import analyze as preloaded, cli, demo
from lightning_semgeom.settings.stdlib import StdlibModel
from lightning_semgeom.settings.stdlib_text import train_tokenizer
from lightning_semgeom.show.report.page import write_report
from lightning_semgeom.show.report.runs import find_runs
from lightning_semgeom.show.workspace import workspace
from pathlib import Path
from safetensors.torch import save_file

folder, history = Path(sys.argv[1]), History.load(sys.argv[1] + "/run")
table = AttributeTable.from_dict({"colour": [*"rrbb"]})
model = torch.nn.Sequential(torch.nn.Linear(3, 4))
seen = snapshot(model, table, unembedding="0")
similarity = AttributeSimilarity(table.num_values, 4)
similarity.update(torch.eye(4), table.codes)
save_file({"lm_head.weight": torch.eye(4)}, folder / "step-1.safetensors")
(folder / "tokenizer.json").write_text("{}")
arguments = ["analyze", str(folder / "checkpoints"), "--attributes", str(folder / "colours.csv")]

ASKED = {
    "matplotlib": [
        history.plot, lambda: compare({"one": history}), seen.plot,
        lambda: similarity.plot(similarity.compute()),
    ],
    "plotly": [lambda: write_report(find_runs([folder / "run"]), folder / "page.html")],
    "pandas": [history.to_pandas, seen.to_pandas],
    "safetensors": [lambda: analyze(folder / "step-1.safetensors", table)],
    "tokenizers": [lambda: train_tokenizer([], 300)],
    "transformers": [lambda: StdlibModel(300, 10)],
    "wandb_workspaces": [lambda: workspace("me", "mine")],
    "sklearn": [lambda: concepts(torch.eye(4), 1, table)],
    "scipy": [lambda: support_matrix([], 4), lambda: predicted_order(table, None)],
    "huggingface_hub": [lambda: analyze("hf://me/mine", table)],
    "upath": [lambda: History.load("memory://run")],
}
CALLED = {
    "matplotlib": [arguments, ["demo", "--setting", "factored", "--out", str(folder)]],
    "plotly": [arguments, ["report", str(folder / "run")]],
    "safetensors": [["analyze", str(folder / "step-1.safetensors"), *arguments[2:]]],
    "tokenizers": [[*arguments[:3], "surface", "--tokenizer", str(folder)]],
    "transformers": [["demo", "--out", str(folder), "--text", str(folder / "text")]],
    "wandb_workspaces": [["wandb-workspace", "--entity", "me", "--project", "mine"]],
    "huggingface_hub": [["analyze", "hf://me/mine", "--attributes", "surface"]],
    "upath": [["report", "memory://run"]],
    "wandb": [["demo", "--setting", "factored", "--logger", "wandb", "--out", str(folder)]],
}

@contextlib.contextmanager
def hidden(package):
    own = {name: m for name, m in sys.modules.items() if name.partition(".")[0] == package}
    sys.modules.update(dict.fromkeys([package, *own]))
    yield
    del sys.modules[package]
    sys.modules.update(own)

told = []
for package in {**ASKED, **CALLED}:
    with hidden(package):
        for ask in ASKED.get(package, ()):
            try:
                told.append((package, "", f"nothing was raised: {ask()}"))
            except ModuleNotFoundError as fault:
                told.append((package, "", str(fault)))
        for command in CALLED.get(package, ()):
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                try:
                    status = cli.main(command)
                except SystemExit as end:
                    status = end.code
            told.append((package, command[0], f"{status}: {said.getvalue()}"))
print(json.dumps(told))
"""
# What installs it, for who asks in Python; for a command its own extra, where that installs it.
EXTRAS = {
    "matplotlib": "plots",
    "plotly": "report",
    "pandas": "pandas",
    "safetensors": "analyze",
    "tokenizers": "hf",
    "transformers": "hf",
    "wandb_workspaces": "workspace",
    "sklearn": "concepts",
    "scipy": "corpus",
    "huggingface_hub": "analyze",
    "upath": "",
    "wandb": "wandb",
}


@pytest.mark.processes
def test_each_package_that_is_missing_is_told_with_what_installs_it(tmp_path):
    followed(RISE_AND_FALL, folder=tmp_path / "run/semgeom")
    save(tmp_path / "checkpoints/step=0.ckpt", models.StagedModel().head_at(0))
    lines = [f"{row},{'rb'[row % 2]}" for row in range(48)]
    (tmp_path / "colours.csv").write_text("\n".join(["id,colour", *lines]))
    (tmp_path / "text").write_text("def one(): pass\n" * 9000)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, tmp_path],
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {package for package, _, _ in told} == EXTRAS.keys()
    for package, command, text in told:
        extra = EXTRAS[package]
        if extra in CONTAINS.get(command, ()) or (command, package) == ("analyze", "tokenizers"):
            extra = command
        named = f"[{extra}]" if extra else ""
        assert f"pip install 'lightning-semgeom{named}'" in text, (package, command, text)
        assert len(text.splitlines()) == 1
        assert not command or text.startswith("2: lightning-semgeom"), text


def test_the_extra_of_a_command_installs_what_is_said_of_it():
    project = (ROOT / "pyproject.toml").read_text()
    for extra, others in CONTAINS.items():
        start = project.index(f"\n{extra} = [")
        assert (
            f"lightning-semgeom[{','.join(others)}]" in project[start : project.index("]\n", start)]
        )
    for extra in {*EXTRAS.values()} - {""}:
        assert f"\n{extra} = [" in project


def test_a_package_within_another_is_told_by_its_own_name():
    with pytest.raises(MissingExtraError, match=r"^nowhere is not .*\[plots\]'\.$"), needs("plots"):
        import nowhere.within  # noqa: F401


def test_what_no_extra_names_is_told_with_that_of_the_command():
    told = told_for(ModuleNotFoundError("No module named 'torch'"), "demo")
    assert told == "No module named 'torch'. What it needs: pip install 'lightning-semgeom[demo]'."
    own = ModuleNotFoundError("Try pip install tensorboard.")
    assert told_for(own, "demo") == "Try pip install tensorboard."
