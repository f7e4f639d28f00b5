"""The command on models that tell no step: final ones, each looked at on its own."""

import csv
import re

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lightning_semgeom import (
    AttributeTable,
    History,
    analyze,
    attribute_similarity,
    directions,
)
from lightning_semgeom.commands.arguments import given_steps
from lightning_semgeom.commands.cli import main
from tests.attributes import vocabularies
from tests.checkpoints.files import save

TOKENIZER = vocabularies.byte_level()
TABLE = AttributeTable.surface(TOKENIZER)
COLOURS = "id,colour\n" + "".join(f"{row},{'rgb'[row % 3]}\n" for row in range(12))


def saved(folder, seed):
    """A model of `save_pretrained`, whose tokens with a space before them lie together."""
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=len(TABLE), n_embd=16, n_layer=1, n_head=2, n_positions=8)
    model = GPT2LMHeadModel(config)
    spaced = TABLE.codes[:, TABLE.names.index("space")] == 0
    with torch.no_grad():
        model.lm_head.weight[spaced] += torch.randn(16) / 20
    model.save_pretrained(folder)
    return model.lm_head.weight.detach()


def analyzed(*arguments):
    try:
        return main(["analyze", *map(str, arguments)])
    except SystemExit as end:
        return end.code


@pytest.fixture
def tokenizer(tmp_path):
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    return "--tokenizer", tmp_path, "--attributes", "surface"


def test_one_final_model_has_figures_tokens_and_a_page_and_no_word_of_phases(
    tmp_path, tokenizer, capsys
):
    weight, out = saved(tmp_path / "final", 0), tmp_path / "out"
    assert analyzed(tmp_path / "final", *tokenizer, "--out", out) == 0
    told = capsys.readouterr().out
    rows = {tuple(line.split()[:3]): line.split() for line in told.splitlines()}
    expected = attribute_similarity(weight, TABLE)
    a = TABLE.names.index("space")
    line = next(cells for key, cells in rows.items() if key[:2] == ("unembedding", "space"))
    assert line[2:5] == [
        f"{expected[m][a]:.{d}f}" for m, d in (("gap", 3), ("z", 1), ("strength", 3))
    ]
    assert "rows that share a value of space are more alike than others (gap " in told
    assert "With shuffled attributes no gap is larger than 0.0" in told
    near = directions(weight, TABLE)["space", "space"].nearest
    texts = {row: TOKENIZER.decode([int(row)]) for row in near}
    shown = [f"<{row}>" if "\ufffd" in text else text for row, text in texts.items()]
    assert f"  space space: {'  '.join(map(repr, shown))}" in told
    page = (out / "report.html").read_text()
    main_part = re.search(r"<main>.*?</main>", page, re.DOTALL).group()
    words = told + re.sub(r"<[^>]*>", " ", main_part)
    assert not [word for word in ("onset", "peak", "gone", "emerged", "Phases") if word in words]
    assert "more alike than others" in page
    history = History.load(out / "final/semgeom")
    assert [record.step for record in history] == [0]
    assert history.picture("unembedding", 0).gram.shape == (96, 96)
    with (out / "final/directions.csv").open() as file:
        lines = [*csv.DictReader(file)]
    assert len(lines) == sum(TABLE.num_values)
    shares = [float(line["explained"]) for line in lines]
    assert shares == sorted(shares, reverse=True)


def test_several_models_stand_side_by_side_and_a_broken_one_is_told(tmp_path, capsys):
    for name in ("a", "b"):
        save(tmp_path / f"models/{name}/model.pt", torch.randn(12, 4))
    (tmp_path / "models/c.pt").write_text("cut")
    (tmp_path / "colours.csv").write_text(
        "id,colour\n" + "".join(f"{i},{'rgb'[i % 3]}\n" for i in range(12))
    )
    file = ("--attributes", tmp_path / "colours.csv")
    assert analyzed(tmp_path / "models", *file) == 1
    told = capsys.readouterr()
    assert "models/c.pt: it is no file of torch.save" in told.err
    names = [line.split()[0] for line in told.out.splitlines() if " unembedding " in line]
    assert names == ["a/model.pt"] * 2 + ["b/model.pt"] * 2
    assert "Nearest" not in told.out  # rows have no names
    out = tmp_path / "models/semgeom_analysis"
    assert (out / "a_model.pt/semgeom_control/history.jsonl").is_file()
    page = (out / "report.html").read_text()
    assert "<b>a_model.pt.</b>" in page
    assert "<b>b_model.pt.</b>" in page


def test_steps_that_are_said_make_a_run_of_models(tmp_path, capsys):
    generator = torch.Generator().manual_seed(0)
    for name in ("first", "last"):
        save(tmp_path / f"{name}.pt", torch.randn(12, 4, generator=generator))
    (tmp_path / "colours.csv").write_text(
        "id,colour\n" + "".join(f"{i},{'rgb'[i % 3]}\n" for i in range(12))
    )
    paths = (tmp_path / "first.pt", tmp_path / "last.pt", "--attributes", tmp_path / "colours.csv")
    (tmp_path / "steps.csv").write_text("name,step\nother,1\n\nlast, 20\n")
    out = tmp_path / "out"
    assert given_steps([str(tmp_path / "steps.csv"), "a=b=3"]) == {"other": 1, "last": 20, "a=b": 3}
    (tmp_path / "steps.csv").write_text("last, 20\n")
    said = ("--step-of", "first.pt=10", "--step-of", tmp_path / "steps.csv", "--out", out)
    assert analyzed(*paths, *said) == 0
    assert [record.step for record in History.load(out / "semgeom")] == [10, 20]
    for said, text in (
        ("final=10", "no checkpoint is called 'final'; there are 'first.pt', 'last.pt'."),
        ("first", "'first' is neither NAME=STEP with a whole number nor a file"),
        (tmp_path / "colours.csv", "line 2 is not NAME,STEP: '0,r'"),
    ):
        assert analyzed(*paths, "--step-of", said) == 2
        assert text in capsys.readouterr().err
    with pytest.warns(UserWarning, match="last.pt: it tells no step.*--step-of NAME=STEP"):
        history = analyze(paths[:2], AttributeTable.from_file(paths[-1]), step_of={"first": 10})
    assert [record.step for record in history] == [10]
