"""The imports point one way, and heavy or optional packages are imported where they are used."""

import ast
from pathlib import Path

import pytest

import lightning_semgeom

ROOT = Path(lightning_semgeom.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
OPTIONAL = {
    *("wandb", "wandb_workspaces", "tokenizers", "transformers", "peft", "safetensors"),
    *("matplotlib", "pandas", "tensorboard", "sklearn", "plotly", "PIL"),
}
# Each room may import from those before it.
ORDER = [
    {"_version", "attributes", "geometry", "faults"},
    {"ranks"},
    {"capture"},
    {"picture", "record"},
    {"measure"},
    {"weights", "hidden"},
    {"phases"},
    {"lines"},
    {"packing"},
    {"history"},
    {"loggers", "plots", "summary"},
    {"recorder"},
    {"checkpoints"},
    {"dashboard"},
    {"run"},
    {"callback"},
    {"training"},
    {"report"},
    {"settings"},
    {"demo", "analysis", "workspace"},
    {"cli"},
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def room(parts):
    return parts[0].removesuffix(".py")


def imported(tree):
    """(module, whether at the top of the file and not for type checking) of each import."""
    guarded = set()
    for node in ast.walk(tree):
        types_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if types_only or isinstance(node, ast.FunctionDef):
            guarded.update(ast.walk(node))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in names:
            yield name, node not in guarded


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = room(path.relative_to(ROOT).parts)
    for name, at_top in imported(ast.parse(path.read_text())):
        package, *rest = name.split(".")
        assert not (at_top and package in OPTIONAL), (
            f"{name} belongs into the function that uses it"
        )
        if package == "lightning_semgeom" and rest and own != "__init__" and at_top:
            assert rest[0] == own or RANK[rest[0]] < RANK[own], f"{own} imports {name}"
        if own in ("attributes", "geometry", "phases"):
            assert package not in ("lightning", "wandb"), f"{own} is to know no Lightning"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_longer_than_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("name", sorted(set(lightning_semgeom.__all__) - {"__version__"}))
def test_each_public_name_has_an_example_that_runs_as_a_doctest(name):
    public = getattr(lightning_semgeom, name)
    assert ">>> " in public.__doc__
