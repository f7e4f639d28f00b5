"""What the README and the examples show runs as it stands there; the README stays short."""

import re

import pytest

from lightning_semgeom.checkpoints.chosen import ChosenSteps
from tests.project.pages import blocks_of, text_of
from tests.warm import ROOT, python


@pytest.mark.processes
def test_the_first_ten_lines_of_code_run_and_find_a_peak(tmp_path):
    code, *_ = blocks_of("README.md")
    assert len(code.splitlines()) <= 10
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 20 <= int(done.stdout.split()[-1]) <= 80
    assert (tmp_path / "timeline.png").stat().st_size > 10_000


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


def test_the_readme_is_at_most_160_lines_with_tables_for_a_phone():
    lines = text_of("README.md").splitlines()
    assert len(lines) <= 160
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) > 10
    assert max(map(len, tables)) <= 80


def test_the_bytes_that_the_hub_would_send_follow_from_the_shapes_of_its_models():
    section = text_of("docs/how-to/hub.md")
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
            for page in ("README.md", "docs/how-to/hub.md"):
                assert f"{told} {some_whole} GB" in " ".join(text_of(page).split())
