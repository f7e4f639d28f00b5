"""What the README and the examples show runs as it stands there."""

import re

import pytest

from lightning_semgeom.checkpoints.chosen import ChosenSteps
from tests.warm import ROOT, python


@pytest.mark.processes
def test_the_first_ten_lines_of_code_run_and_find_a_peak(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    assert len(code.splitlines()) <= 10
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 20 <= int(done.stdout.split()[-1]) <= 80
    assert (tmp_path / "timeline.png").stat().st_size > 10_000


@pytest.mark.processes
def test_the_detector_follows_any_curve_alone(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "detector.update" in block)
    gaps = [0, 0.1, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1]
    done = python(
        "-c", f"curve = [(50 * k, gap, 9.0) for k, gap in enumerate({gaps})]\n{code}", cwd=tmp_path
    )
    # Averages 0, .05, ... .31, .30, .25, .18, .14, .12: risen at 50, a third of .98 x .4 at 450.
    assert done.stdout.split() == ["COLLAPSED", "50", "200", "450"], done.stderr


@pytest.mark.processes
def test_the_example_stops_past_the_peak_with_its_weights(tmp_path):
    done = python("-c", (ROOT / "examples/keep_the_peak.py").read_text(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    peak, step = re.search(r"gap (.*) at step (\d+)", done.stdout).groups()
    assert f"step={step}.ckpt" in done.stdout
    end, gap = re.search(
        r"ended at step (\d+); the model's gap is (.*) again", done.stdout
    ).groups()
    assert gap == peak
    assert int(step) < int(end) < 150


def test_the_tables_of_the_examples_stand_in_the_readme_as_they_were_made():
    made = [file.read_text().splitlines() for file in (ROOT / "examples/tables").glob("*.md")]
    lines = {line for of_file in made for line in of_file}
    text = (ROOT / "README.md").read_text()
    own = [
        text[text.index(f"## {first}") : text.index(f"## {following}")]
        for first, following in (
            ("A language model, thoroughly", "How sure it is"),
            ("Keep it", "Many processes"),
        )
    ]
    shown = [
        line
        for part in own
        for line in part.splitlines()
        if line.startswith("| ") and re.search(r"±|\(-?\d.* to", line)
    ]
    assert len(shown) > 80
    assert not set(shown) - lines


def test_all_files_that_the_readme_links_are_there():
    for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / link).exists(), link


def test_the_bytes_that_the_hub_would_send_follow_from_the_shapes_of_its_models():
    text = (ROOT / "README.md").read_text()
    section = text.partition("\n## The Hub\n")[2].partition("\n## ")[0]
    asked_of, asked = re.search(r"/(pythia\S+) .* --steps (\S+)", section).groups()
    published = [0, *(2**k for k in range(10)), *range(1000, 144_000, 1000)]
    chosen, lacking = ChosenSteps(asked).of(published)
    assert not lacking
    header = [cell.strip() for cell in section[section.index("| | V") :].split("\n")[0].split("|")]
    assert f"this command, {len(chosen)} steps" in header
    assert f"all {len(published)} steps" in header
    layers = {"pythia-70m": 6, "pythia-6.9b": 32}
    for name, depth in layers.items():
        row = re.search(rf"^\| {re.escape(name)} \|(.*)\|$", section, re.MULTILINE)[1]
        rows, width, some, every, whole = (cell.split()[0] for cell in row.split("|"))
        head = 2 * int(rows) * int(width)  # bytes, in fp16
        assert float(some) == round(head * len(chosen) / 1e9, 1)
        assert float(every) == round(head * len(published) / 1e9, 1)
        # GPT-NeoX: per layer 12 d^2 of matrices and 13 d of biases and norms; then the last norm.
        d = int(width)
        parameters = 2 * int(rows) * d + depth * (12 * d * d + 13 * d) + 2 * d
        assert parameters == {"pythia-70m": 70_426_624, "pythia-6.9b": 6_857_302_016}[name]
        assert float(whole) == round(2 * parameters * len(published) / 1e9, 1)
        if name in asked_of:
            some_whole = round(2 * parameters * len(chosen) / 1e9, 1)
            told = f"the rows of one matrix: {some} GB here, where the {len(chosen)} models have"
            assert f"{told} {some_whole} GB" in " ".join(text.split())
