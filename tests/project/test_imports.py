"""What each way into the package imports, counted in a fresh process: modules, not seconds."""

import ast
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_semgeom

HEAVY = ["numpy", "torch", "torchmetrics", "lightning"]
# What each public name needs; what stands further down brings all above it.
NEEDS = {
    None: ["PhaseDetector", "SpectralPhaseDetector", "__version__", "spectral_phase"],
    "numpy": ["History", "Snapshot", "compare", "loss_deceleration"],
    "torch": [
        *("AttributeAlignment", "AttributeTable", "Concepts", "Direction", "GramAnchor"),
        *("GramDispersion", "analyze", "attribute_similarity", "concepts", "directions"),
        *("cosine_third_moment", "eigenspectrum", "linguistic_collapse", "neural_collapse"),
        *("ood_orthogonality", "partial_gap", "predicted_order", "probe_from", "spectrum"),
        *("steer", "support_matrix", "whitened"),
    ],
    "torchmetrics": ["AttributeSimilarity", "NeuralCollapse", "Spectrum"],
    "lightning": ["GeometryRegularizer", "SemanticGeometry", "StopAfterPeak", "snapshot"],
}
OPTIONAL = {
    *("matplotlib", "plotly", "pandas", "tokenizers", "transformers", "sklearn", "upath", "wandb"),
    *("huggingface_hub", "scipy"),
}
WATCHED = sorted({*HEAVY, *OPTIONAL})

LOOK_UP = """
import json, sys
import lightning_semgeom
watched, names = json.loads(sys.stdin.read())
found = [("import", [m for m in sys.modules if m.startswith("lightning_semgeom")])]
for name in names:
    getattr(lightning_semgeom, name)
    found.append((name, [m for m in watched if m in sys.modules]))
print(json.dumps(found))
"""
COMMANDS = """
import contextlib, io, json, sys
from lightning_semgeom.commands.cli import main
watched, commands = json.loads(sys.stdin.read())
found = []
for arguments in commands:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
    found.append((status, told.getvalue(), [m for m in watched if m in sys.modules]))
print(json.dumps(found))
"""


def answer(code, *given, cwd=None):
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(given), cwd=cwd, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.processes
def test_each_public_name_brings_what_it_needs_and_no_more():
    allowed = {name: {*HEAVY[:k]} for k, names in enumerate(NEEDS.values()) for name in names}
    assert sorted(allowed) == lightning_semgeom.__all__
    # Lightning brings all there is, torchmetrics all but Lightning, which `geometry` never imports.
    asked = [name for name in allowed if not allowed[name] & {"torchmetrics", "lightning"}]
    (_, ours), *found = answer(LOOK_UP, WATCHED, asked)
    assert {*ours} == {"lightning_semgeom", "lightning_semgeom._version"}
    for name, modules in found:
        assert {*modules} == allowed[name], name


ANALYZE = ["analyze", "here", "--attributes"]
HELP = [[], ["demo"], ["analyze"], ["report"], ["wandb-workspace"]]
WRONG = {
    "COMMAND": [],
    "invalid choice: 'train'": ["train"],
    "invalid choice: 'none'": ["demo", "--setting", "none"],
    "invalid int value: 'one'": ["demo", "--seed", "one"],
    "must be 1 or more; got 0": ["demo", "--steps", "0"],
    "--text goes with --setting stdlib": ["demo", "--setting", "latent", "--text", "rows.csv"],
    "--text: 'none.txt' cannot be read as UTF-8 text": ["demo", "--text", "none.txt"],
    "--out: 'rows.csv' is a file; expected a folder": ["demo", "--out", "rows.csv/runs"],
    "required: --attributes": ["analyze", "here"],
    "not allowed with argument": [*ANALYZE, "rows.csv", "--threshold", "1", "--quantile", ".5"],
    "invalid float value: 'half'": [*ANALYZE, "rows.csv", "--quantile", "half"],
    "quantile must lie between 0 and 1; got 2": [*ANALYZE, "rows.csv", "--quantile", "2"],
    "threshold must be a finite number": [*ANALYZE, "rows.csv", "--threshold", "inf"],
    "no file or folder at 'none'": ["analyze", "here", "none", "--attributes", "rows.csv"],
    "--hidden goes with --text": [*ANALYZE, "rows.csv", "--hidden", "layers.*"],
    "--context goes with --text": [*ANALYZE, "rows.csv", "--context", "8"],
    "give the --tokenizer of the model, too": [*ANALYZE, "rows.csv", "--text", "rows.csv"],
    "no attribute file at 'none.csv'": [*ANALYZE, "none.csv"],
    "no attribute file at 'here'": [*ANALYZE, "here"],
    "about a vocabulary: give its --tokenizer": [*ANALYZE, "surface"],
    "no tokenizer at 'here/tokenizer.json'": [*ANALYZE, "python", "--tokenizer", "here"],
    "no tokenizer at 'none.json'": [*ANALYZE, "rows.csv", "--tokenizer", "none.json"],
    "surface has no columns of numbers": [
        *(*ANALYZE, "surface", "--tokenizer", "here", "--threshold", "1"),
    ],
    "--out: 'rows.csv' is a file": [*ANALYZE, "rows.csv", "--out", "rows.csv"],
    "required: RUN_FOLDER": ["report"],
    "no history in 'here'": ["report", "here"],
    "no history in 'none'": ["report", "run", "none"],
    "--out: 'here' is a folder": ["report", "run", "-o", "here"],
    "--out: there is no folder 'none'": ["report", "run", "-o", "none/page.html"],
    "required: --project": ["wandb-workspace", "--entity", "me"],
    "no history at 'here/history.jsonl'": [
        *("wandb-workspace", "--entity", "me", "--project", "it", "here"),
    ],
}


@pytest.mark.processes
def test_help_and_what_is_wrong_with_arguments_are_told_before_anything_heavy_is_imported(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "run/semgeom").mkdir(parents=True)
    (tmp_path / "run/semgeom/history.jsonl").touch()
    (tmp_path / "rows.csv").write_text("id,colour\n0,red\n1,blue\n")
    shown = [[*command, "--help"] for command in HELP] + [["--version"]]
    found = answer(COMMANDS, WATCHED, [*shown, *WRONG.values()], cwd=tmp_path)
    for arguments, (status, told, modules) in zip(shown, found, strict=False):
        assert (status, modules) == (0, []), arguments
        assert told.startswith(
            "usage: " if "--help" in arguments else lightning_semgeom.__version__
        )
    for message, (status, told, modules) in zip(WRONG, found[len(shown) :], strict=True):
        assert (status, modules) == (2, []), message
        assert message in told
        assert len(told.splitlines()) == 1


def test_names_for_type_checkers_and_for_the_interpreter_are_the_same():
    tree = ast.parse(Path(lightning_semgeom.__file__).read_text())
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(guarded.test) == "TYPE_CHECKING"
    checked = {alias.name: node.module for node in guarded.body for alias in node.names}
    modules = lightning_semgeom._MODULES
    assert checked == {name: f"lightning_semgeom.{modules[name]}" for name in modules}
    assert lightning_semgeom.__all__ == sorted([*modules, "__version__"])


def test_names_are_listed_and_a_star_brings_them_all():
    assert set(lightning_semgeom.__all__) <= set(dir(lightning_semgeom))
    starred = {}
    exec("from lightning_semgeom import *", starred)
    assert starred.keys() - {"__builtins__"} == set(lightning_semgeom.__all__)


def test_an_unknown_name_is_refused_as_any_module_refuses_it():
    with pytest.raises(AttributeError, match=r"^module 'lightning_semgeom' has no attribute 'x'$"):
        lightning_semgeom.x  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'x' from 'lightning_semgeom'"):
        exec("from lightning_semgeom import x")


@pytest.mark.parametrize("name", sorted(set(lightning_semgeom.__all__) - {"__version__"}))
def test_a_public_name_is_one_object_that_pickles_by_where_it_is(name):
    public = getattr(lightning_semgeom, name)
    assert public.__module__ == f"lightning_semgeom.{lightning_semgeom._MODULES[name]}"
    assert pickle.loads(pickle.dumps(public)) is public
    assert getattr(lightning_semgeom, name) is public
