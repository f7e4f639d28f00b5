"""What the README and the examples show runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(code, cwd):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def test_the_first_ten_lines_of_code_run_and_find_a_peak(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    assert len(code.splitlines()) <= 10
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert 20 <= int(done.stdout.split()[-1]) <= 80
    assert (tmp_path / "timeline.png").stat().st_size > 10_000


def test_the_example_keeps_the_weights_of_the_largest_gap(tmp_path):
    done = run((ROOT / "examples/keep_the_peak.py").read_text(), tmp_path)
    assert done.returncode == 0, done.stderr
    step = int(re.search(r"at step (\d+)", done.stdout).group(1))
    assert f"step={step}.ckpt" in done.stdout


def test_all_files_that_the_readme_links_are_there():
    for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / link).exists(), link
