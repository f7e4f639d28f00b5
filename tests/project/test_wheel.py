"""What is built has all that is needed, is fit for an index, and the package runs from it alone."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import lightning_semgeom
from tests.warm import ROOT

PACKAGE = ROOT / "lightning_semgeom"


def done(*arguments, cwd, **environment):
    """What a Python of its own prints: one that has imported nothing of ours."""
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=250,
        check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def copied(folder):
    """What a build reads: it writes into the folder that it reads."""
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.mark.processes
def test_the_wheel_installed_alone_runs_the_first_code_of_the_readme(tmp_path):
    pip = ("-m", "pip", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index")
    code = f"from setuptools.build_meta import build_sdist as build; build({str(tmp_path)!r})"
    done("-c", code, cwd=copied(tmp_path / "source"))
    (sdist,) = tmp_path.glob("*.tar.gz")
    done(*pip, "wheel", sdist, *offline, "--no-build-isolation", "-w", tmp_path, cwd=tmp_path)
    wheel = tmp_path / f"lightning_semgeom-{lightning_semgeom.__version__}-py3-none-any.whl"
    told = done("-m", "twine", "check", "--strict", sdist, wheel, cwd=tmp_path)
    assert told.count("PASSED") == 2
    with zipfile.ZipFile(wheel) as built:
        there = {name for name in built.namelist() if name.startswith(PACKAGE.name + "/")}
        entries = built.read(
            f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info/entry_points.txt"
        ).decode()
    assert "lightning-semgeom = lightning_semgeom.commands.cli:main" in entries
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert there == {str(path.relative_to(ROOT)) for path in files}
    done(*pip, "install", *offline, "--target", tmp_path / "alone", wheel, cwd=tmp_path)
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    code += "\nimport lightning_semgeom; print(lightning_semgeom.__file__)"
    told = done("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "alone")).splitlines()
    assert told[-1] == str(tmp_path / "alone/lightning_semgeom/__init__.py")
    assert 20 <= int(told[-2].split()[-1]) <= 80
    assert (tmp_path / "timeline.png").stat().st_size > 10_000
