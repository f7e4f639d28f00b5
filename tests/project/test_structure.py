"""The imports point one way, and heavy or optional packages are imported where they are used."""

import ast
from functools import cache
from pathlib import Path

import pytest

import lightning_semgeom

ROOT = Path(lightning_semgeom.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
OPTIONAL = {
    *("wandb", "wandb_workspaces", "tokenizers", "transformers", "peft", "safetensors"),
    *("matplotlib", "pandas", "tensorboard", "scipy", "sklearn", "plotly", "PIL"),
    *("upath", "huggingface_hub"),
}
# What each wing knows of the others: the data goes one way.
KNOWS = {
    "stores": {"faults", "extras"},
    "attributes": {"extras"},
    "geometry": {"kinds", "extras"},
    "record": {"faults", "kinds", "stores", "extras"},
    "capture": {"faults", "kinds", "attributes", "geometry"},
    "measure": {"faults", "attributes", "geometry", "capture", "record"},
    "show": {"faults", "kinds", "record", "stores", "extras"},
    "checkpoints": {
        *("_version", "faults", "kinds", "stores", "attributes", "capture", "measure", "record"),
        "extras",
    },
    "run": {"faults", "attributes", "capture", "measure", "record", "show"},
    "look": {"kinds", "attributes", "capture", "measure", "record"},
    "evaluation": {"run"},
    "callback": {"kinds", "attributes", "capture", "record", "show", "run", "evaluation"},
    "training": {"faults", "kinds", "attributes", "geometry", "capture", "record", "callback"},
    "settings": {"attributes", "extras"},
    "commands": {
        *("_version", "faults", "stores", "attributes", "geometry", "record", "show"),
        *("checkpoints", "callback", "settings", "extras"),
    },
    "cli": {"commands"},
    "faults": set(),
    "extras": set(),
    "kinds": set(),
    "_version": set(),
}
# `metric.plot()` and `history.plot()` draw: they look for how when they are called.
DRAWS = {"geometry", "record"}
DRAWN_BY = "lightning_semgeom.show.plots"
WITHOUT_LIGHTNING = {"kinds", "attributes", "geometry", "record", "show", "faults", "checkpoints"}


def wing(module):
    return module.split(".")[1]


def module_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


@cache
def imports(path):
    """(module, "top", "call" or "types") of each import: when the file asks for it."""
    return tuple(_imports(path))


def _imports(path):
    tree = ast.parse(path.read_text())
    when = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            when |= dict.fromkeys(ast.walk(node), "call")
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            when |= dict.fromkeys(ast.walk(node), "types")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names = inner & MODULES or {node.module}
        else:
            continue
        for name in names:
            yield name, when.get(node, "top")


each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


@each_file
def test_imports_point_one_way(path):
    if path.parent == ROOT and path.name == "__init__.py":
        return
    own = wing(module_of(path))
    for module, when in imports(path):
        if module.split(".")[0] == "lightning_semgeom" and when != "types" and wing(module) != own:
            draws = when == "call" and own in DRAWS and module.startswith(DRAWN_BY)
            assert draws or wing(module) in KNOWS[own], f"{own} imports {module}"


@each_file
def test_what_is_heavy_or_optional_is_imported_where_it_is_used(path):
    for module, when in imports(path):
        assert when != "top" or module.split(".")[0] not in OPTIONAL, module


@each_file
def test_tensors_tables_and_records_know_no_lightning(path):
    if path.parent == ROOT and path.name in ("__init__.py", "callback.py", "run.py"):
        return
    if wing(module_of(path)) in WITHOUT_LIGHTNING:
        for module, when in imports(path):
            assert when == "types" or module.split(".")[0] != "lightning", module


@each_file
def test_torchmetrics_is_met_in_the_metric_classes_alone(path):
    if path.parent != ROOT / "geometry/metrics":
        for module, when in imports(path):
            assert when == "types" or module.split(".")[0] != "torchmetrics", module


def test_no_module_imports_itself_by_way_of_others_not_even_when_called():
    edges = {}
    for path in FILES:
        found = {module for module, when in imports(path) if when != "types"}
        edges[module_of(path)] = found & MODULES - {"lightning_semgeom"}
    while leaves := {module for module, others in edges.items() if not others & edges.keys()}:
        edges = {module: others for module, others in edges.items() if module not in leaves}
    assert not edges


@each_file
def test_no_file_is_longer_than_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("name", sorted(set(lightning_semgeom.__all__) - {"__version__"}))
def test_each_public_name_has_an_example_that_runs_as_a_doctest(name):
    public = getattr(lightning_semgeom, name)
    assert ">>> " in public.__doc__
