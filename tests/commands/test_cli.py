"""The command as a user runs it: a process."""

import sys

import matplotlib.image
import pytest

from lightning_semgeom import AttributeTable, History
from lightning_semgeom.commands.analyze import attributes_of, tokenizer_at
from lightning_semgeom.commands.cli import main
from tests import models
from tests.attributes import vocabularies
from tests.attributes.small_wordnet import written
from tests.checkpoints.files import head, save
from tests.warm import python


def run(*arguments, cwd=None):
    return python("-m", "lightning_semgeom.commands.cli", *arguments, cwd=cwd)


@pytest.mark.processes
def test_the_module_of_version_0_1_is_the_same_command():
    done = python("-m", "lightning_semgeom.cli", "--version")
    assert (done.returncode, done.stdout) == (0, run("--version").stdout)


@pytest.mark.processes
def test_the_stdlib_demo_runs_on_a_text_of_one_s_own(tmp_path):
    text = tmp_path / "text.py"
    text.write_text(
        "\n\n".join(f"def f{i}(x):\n    return x + {i}  # Note {i}" for i in range(4000))
    )
    done = run("demo", "--text", text, "--steps", 10, "--out", tmp_path, "--logger", "tensorboard")
    assert done.returncode == 0, done.stderr
    assert "kind" in done.stdout
    assert list((tmp_path / "lightning_logs/version_0").glob("events.*"))
    assert (tmp_path / "lightning_logs/version_0/timeline.png").exists()


def analyzed(folder, steps=(0, 2, 5, 10, 15, 20, 30, 50, 80, 120, 170, 230, 300)):
    """A run folder with checkpoints of a run that rises and falls, and its attributes."""
    model, table = models.StagedModel(), models.StagedModel.table()
    for step in steps:
        save(folder / f"run/step={step}.ckpt", model.head_at(step))
    lines = [
        f"{row},{table.values[0][code]}" for row, code in enumerate(table.codes[:, 0].tolist())
    ]
    (folder / "colours.csv").write_text("\n".join(["id,colour", *lines]))
    return len(steps)


@pytest.mark.processes
def test_analyze_tells_a_run_that_is_over_and_leaves_histories_and_a_page(tmp_path):
    count = analyzed(tmp_path)
    (tmp_path / "run/step=7.ckpt").write_text("cut")
    done = run("analyze", tmp_path / "run", "--attributes", tmp_path / "colours.csv")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        f"lightning-semgeom: {tmp_path}/run/step=7.ckpt: it is no file of torch.save; it begins "
        "with b'cut'."
    )
    out = tmp_path / "run/semgeom_analysis"
    assert f"Open in a browser: {out / 'report.html'}" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("unembedding")]
    assert [row[:2] for row in rows] == [["unembedding", "colour"]] * 2
    assert rows[0][3] == "20"
    assert rows[1][2] == "(shuffled)"
    assert "In the unembedding, colour emerged at step" in done.stdout
    for name in ("semgeom", "semgeom_control"):
        history = History.load(out / name)
        assert len(history) == count
        assert history.picture_steps("unembedding") == [record.step for record in history]
    assert matplotlib.image.imread(out / "timeline.png").std() > 0.05
    page = (out / "report.html").read_text()
    assert "colour emerged at step" in page
    assert "class=control" in page


def test_analyze_writes_where_it_is_told_and_puts_aside_what_was_there(tmp_path, capsys):
    count, out = analyzed(tmp_path, steps=(0, 20, 50)), tmp_path / "out"
    file = ("--attributes", tmp_path / "colours.csv", "--out", out)
    for tensor in ("lm_head", "lm_head", "lm_head.weight"):  # asked otherwise, and once the same
        assert main_of("analyze", tmp_path / "run", *file, "--tensor", tensor) == 0
    assert f"Pictures and histories of {count} checkpoints: {out}" in capsys.readouterr().out
    assert len(History.load(out / "semgeom/earlier.1")) == count
    assert not (out / "semgeom/earlier.2").exists()
    one = tmp_path / "run/step=20.ckpt"
    assert main_of("analyze", one, *file[:2]) == 0
    assert (tmp_path / "run/semgeom_analysis/report.html").is_file()


def test_analyze_takes_attributes_from_a_vocabulary(tmp_path, capsys):
    vocabulary = vocabularies.byte_level()
    vocabulary.save(str(tmp_path / "tokenizer.json"))
    save(tmp_path / "step-1/lit_model.pth", head(rows=vocabulary.get_vocab_size() + 7))
    (tmp_path / "animals.tsv").write_text(
        "word\tattribute\tvalue\ndog\tanimal\tyes\ncat\tanimal\tyes\nthe\tanimal\tno\n"
        "and\tanimal\tno\n"
    )
    for attributes, names in (
        ("surface", AttributeTable.surface(vocabulary).names),
        ("python", ("kind",)),
        (tmp_path / "animals.tsv", ("animal",)),
    ):
        tokenizer = ("--attributes", attributes, "--tokenizer", tmp_path)
        assert main_of("analyze", tmp_path / "step-1", *tokenizer) == 0, capsys.readouterr().err
        told = capsys.readouterr().out.splitlines()
        found = [line.split()[1] for line in told if line.startswith("unembedding")]
        assert found[: len(names)] == [*names]


def test_several_kinds_of_attributes_are_joined_by_commas(tmp_path, capsys):
    vocabulary = vocabularies.byte_level()
    vocabulary.save(str(tmp_path / "tokenizer.json"))
    file = tmp_path / "a,b.tsv"  # a comma in the name of a file that is there
    file.write_text("word\tattribute\tvalue\ndog\tanimal\tyes\nthe\tanimal\tno\n")
    wordnet = written(tmp_path)

    def made(named, **options):
        return attributes_of(named, tokenizer_at(tmp_path), wordnet, **options)

    joined = made("wordnet,python,surface", min_count=1)
    expected = AttributeTable.wordnet(vocabulary, wordnet, min_count=1).joined(
        AttributeTable.python_tokens(vocabulary, min_count=1),
        AttributeTable.surface(vocabulary, min_count=1),
    )
    assert joined == expected
    assert made(str(file)).names == ("animal",)
    assert made("python").values == AttributeTable.python_tokens(vocabulary).values
    with pytest.raises(ValueError, match="kind"):
        made("python,python")
    save(tmp_path / "step-1.pt", head(rows=vocabulary.get_vocab_size()))
    asked = ("analyze", tmp_path / "step-1.pt", "--tokenizer", tmp_path, "--attributes")
    assert main_of(*asked, "wordnet,python", "--wordnet", tmp_path / "none") == 2
    assert f"no WordNet database at '{tmp_path}/none'" in capsys.readouterr().err
    assert main_of(*asked, "surface,none.csv") == 2
    assert "no attribute file at 'none.csv'" in capsys.readouterr().err


def test_analyze_cuts_numbers_and_leaves_out_rare_values(tmp_path, capsys):
    save(tmp_path / "step-1/model.ckpt", head(rows=24))
    norms = tmp_path / "norms.csv"
    lines = [
        f"{row},{row * 0.37:.2f},{'rare' if row < 1 else 'ab'[row % 2]}\n" for row in range(24)
    ]
    norms.write_text("id,size,kind\n" + "".join(lines))
    arguments = ("analyze", tmp_path / "step-1", "--attributes", norms)
    assert main_of(*arguments) == 1  # its figures are missing
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("lightning-semgeom: AttributeTable: each number is a value of its")
    assert "--threshold or --quantile" in told[0]
    for cut, values in (
        (("--quantile", "0.5"), "<=4.255, >4.255"),
        (("--threshold", "4"), "<=4, >4"),
    ):
        assert main_of(*arguments, *cut, "--min-count", "2") == 0
        told = capsys.readouterr()
        assert told.err.splitlines()[1].startswith(f"  size: 2 values ({values}), 2")
        assert [line.split()[1] for line in told.out.splitlines() if line.startswith("unemb")]
    assert main_of(*arguments, "--quantile", "0.5", "--min-count", "13") == 2
    assert "min_count=13 rows or more: 'size' has <=4.255 (12), >4.255 (12)" in (
        capsys.readouterr().err
    )


def main_of(*arguments):
    """The exit status, in this process: another one takes seconds."""
    try:
        return main([*map(str, arguments)])
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "lightning-semgeom: the following arguments are required: COMMAND; see lightning-s"),
        (("demo", "--steps", "0"), "lightning-semgeom demo: argument --steps: must be 1 or more"),
        (("demo", "--setting", "none"), "invalid choice: 'none'"),
        (("report",), "required: RUN_FOLDER; see lightning-semgeom report --help"),
        (("report", "/nowhere"), "no history in '/nowhere'"),
        (
            ("wandb-workspace", "--entity", "me", "--project", "it", "/nowhere"),
            "no history at '/nowhere",
        ),
        (("analyze", "run"), "required: --attributes; see lightning-semgeom analyze --help"),
        (("analyze", "none", "--attributes", "colours.csv"), "no file or folder at 'none'"),
        (("analyze", ".", "--attributes", "none.csv"), "no attribute file at 'none.csv'"),
        (("analyze", "empty", "--attributes", "colours.csv"), "no checkpoint in 'empty'"),
        (
            ("analyze", "run", "copy", "--attributes", "colours.csv"),
            "'copy/step=0.ckpt' and 'run/step=0.ckpt' differ, and both are of step 0",
        ),
        (
            ("analyze", "run", "--attributes", "colours.csv", "--tensor", "wte"),
            "no checkpoint could be measured: run/step=0.ckpt: it has no tensor 'wte'",
        ),
        (("analyze", "run", "--attributes", "surface"), "is about a vocabulary: give its --tok"),
        (
            ("analyze", "run", "--attributes", "python", "--tokenizer", "empty"),
            "no tokenizer at 'empty/tokenizer.json'",
        ),
        (
            ("analyze", "run", "--attributes", "python", "--tokenizer", "colours.csv"),
            "'colours.csv' cannot be read as a tokenizer",
        ),
        (
            ("analyze", "run", "--attributes", "c", "--threshold", "1", "--quantile", "0.5"),
            "argument --quantile: not allowed with argument --threshold; see lightning-semgeom an",
        ),
        (
            ("analyze", "run", "--attributes", "colours.csv", "--quantile", "1.5"),
            "quantile must lie between 0 and 1; got 1.5",
        ),
        (
            ("analyze", "run", "--attributes", "colours.csv", "--threshold", "nan"),
            "threshold must be a finite number; got nan",
        ),
        (
            ("analyze", "run", "--attributes", "colours.csv", "--threshold", "2"),
            "threshold and quantile cut columns of numbers, and there is none",
        ),
        (
            ("analyze", "run", "--attributes", "surface", "--tokenizer", ".", "--quantile", ".5"),
            "--attributes surface has no columns of numbers",
        ),
        (
            ("analyze", "run", "--attributes", "colours.csv", "--min-count", "0"),
            "argument --min-count: must be 1 or more; got 0",
        ),
    ],
)
def test_wrong_arguments_exit_with_2_and_one_line(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    analyzed(tmp_path)
    save(tmp_path / "copy/step=0.ckpt", models.StagedModel().head_at(9))
    (tmp_path / "empty").mkdir()
    assert main_of(*arguments) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert len(told.err.splitlines()) == 1
    assert told.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("demo", "--setting", "factored", "--text", "a"), "--text goes with --setting stdlib"),
        (("demo", "--text", "/none"), "cannot be read as UTF-8 text"),
        (("wandb-workspace", "--entity", "me"), "required: --project; see lightning-semgeom wandb"),
    ],
)
@pytest.mark.processes
def test_what_a_process_finds_wrong_is_told_without_a_traceback(tmp_path, arguments, message):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_is_missing_is_told_with_how_to_install_it(tmp_path, monkeypatch, capsys):
    analyzed(tmp_path)
    monkeypatch.setitem(sys.modules, "plotly", None)
    arguments = ("analyze", tmp_path / "run", "--attributes", tmp_path / "colours.csv")
    assert main_of(*arguments) == 2
    assert "pip install 'lightning-semgeom[analyze]'" in capsys.readouterr().err


def test_help_is_there_for_each_command(capsys):
    for arguments, expected in (
        ((), "demo"),
        (("demo",), "--setting"),
        (("analyze",), "examples:\n  lightning-semgeom analyze"),
        (("report",), "--out"),
        (("wandb-workspace",), "--name"),
    ):
        assert main_of(*arguments, "--help") == 0
        assert expected in capsys.readouterr().out
    assert main_of("--version") == 0
    assert capsys.readouterr().out.strip()
