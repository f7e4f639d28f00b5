"""The command as a user runs it: a process."""

import subprocess
import sys

import matplotlib.image
import pytest

from lightning_semgeom import History


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "lightning_semgeom.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=250,
        cwd=cwd,
        check=False,
    )


def test_the_factored_demo_tells_its_run_and_leaves_history_and_pictures(tmp_path):
    done = run("demo", "--setting", "factored", "--steps", 300, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "semgeom/gap" in done.stderr + done.stdout  # the progress bar
    lines = done.stdout.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("site"))
    rows = [line.split() for line in lines[header + 2 : header + 14]]
    assert [row[0] for row in rows] == (["unembedding"] * 3 + ["hidden.final_norm"] * 3) * 2
    assert [row[1] for row in rows[:3]] == ["a", "b", "c"]
    assert all(row[2] == "(shuffled)" and row[3] == "-" for row in rows[6:])
    assert "In the unembedding, a emerged at step" in done.stdout
    assert "shuffled attributes never did" in done.stdout
    folder = tmp_path / "lightning_logs/version_0"
    assert f"Open in a browser: {folder / 'report.html'}" in done.stdout
    assert "b emerged at step" in (folder / "report.html").read_text()
    assert len(History.load(folder / "semgeom")) > 20
    assert len(History.load(folder / "semgeom_control")) > 20
    for name in ("timeline", "gram_unembedding", "gram_hidden.final_norm"):
        assert matplotlib.image.imread(folder / f"{name}.png").std() > 0.05


def test_the_stdlib_demo_runs_on_a_text_of_one_s_own(tmp_path):
    text = tmp_path / "text.py"
    text.write_text(
        "\n\n".join(f"def f{i}(x):\n    return x + {i}  # Note {i}" for i in range(4000))
    )
    done = run("demo", "--text", text, "--steps", 30, "--out", tmp_path, "--logger", "tensorboard")
    assert done.returncode == 0, done.stderr
    assert "kind" in done.stdout
    assert list((tmp_path / "lightning_logs/version_0").glob("events.*"))
    assert (tmp_path / "lightning_logs/version_0/timeline.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "COMMAND"),
        (("demo", "--steps", "0"), "must be 1 or more; got 0"),
        (("demo", "--setting", "none"), "invalid choice: 'none'"),
        (("demo", "--setting", "factored", "--text", "a"), "--text goes with --setting stdlib"),
        (("demo", "--text", "/none"), "cannot be read as UTF-8 text"),
    ],
)
def test_wrong_arguments_exit_with_2_and_say_why(tmp_path, arguments, message):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_there_for_each_command():
    assert "demo" in run("--help").stdout
    for command, option in (
        ("demo", "--setting"),
        ("report", "--out"),
        ("wandb-workspace", "--name"),
    ):
        assert option in run(command, "--help").stdout
    assert run("--version").stdout.strip()
