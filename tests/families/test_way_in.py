"""The lines that a user of transformers adds: they run as they stand."""

from math import isfinite

import pytest

from lightning_semgeom import (
    AttributeTable,
    History,
    SemanticGeometry,
    attribute_similarity,
    directions,
    snapshot,
)
from tests import models
from tests.attributes.vocabularies import LINES, byte_level
from tests.families.models import FAMILIES, TOKENS, Tuned, loader
from tests.project.pages import blocks_of

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")


def small_tokenizer(name):
    assert name == "gpt2"
    # Nothing but the leading space tells two of them apart.
    vocabulary = {("Ġ" if index % 3 else "") + "w" * (9 + index): index for index in range(TOKENS)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="w" * 9))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model)


def test_five_lines_follow_a_model_of_transformers(tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", small_tokenizer)
    gpt2 = FAMILIES["gpt2"]
    blocks = blocks_of("README.md", having="AutoTokenizer")
    (lines,) = (block for block in blocks if "Trainer(" in block)
    assert len(lines.splitlines()) == 5
    names = {
        "AutoTokenizer": transformers.AutoTokenizer,
        "AttributeTable": AttributeTable,
        "SemanticGeometry": SemanticGeometry,
        "Trainer": lambda callbacks, **options: models.trainer(
            tmp_path, *callbacks, **{"max_steps": -1} | options
        ),
        "module": Tuned(gpt2.make()),
        "loader": loader(gpt2.rows(24)),
    }
    exec(lines, names)
    semgeom, table = names["semgeom"], names["table"]
    assert table.names == ("space",)
    assert table.codes[:, 0].tolist() == [int(index % 3 > 0) for index in range(TOKENS)]
    assert [record.step for record in semgeom.history] == [0, 1, 2, 3, 4, 5, 6]
    values = semgeom.history.records[-2].values
    assert values["semgeom_unembedding/rows"] == TOKENS
    assert isfinite(values["semgeom_hidden.model.transformer.h.1/gap/space"])


def test_the_first_look_in_the_readme_prints_gaps_and_near_tokens(capsys, monkeypatch):
    tokenizer = byte_level()
    model = FAMILIES["gpt2"].make(rows=tokenizer.get_vocab_size())
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda name: wrapped)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", lambda name: model)
    (look,) = blocks_of("README.md", having="print(snapshot(")
    (near,) = blocks_of("README.md", having="directions(")
    theirs = ("AutoTokenizer", "AutoModelForCausalLM")
    given = {name: getattr(transformers, name) for name in theirs}
    ours = {"AttributeTable": AttributeTable, "directions": directions, "snapshot": snapshot}
    exec(look + near, names := given | ours)
    assert "space: gap" in capsys.readouterr().out
    nearest = names["found"]["case", "upper"].nearest
    assert {"USA", "NASA", "ĠUSA", "ĠNASA"} & set(nearest)


def test_one_look_at_a_saved_model_of_transformers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = byte_level()
    saved = FAMILIES["gpt2"].make(rows=tokenizer.get_vocab_size(), n_positions=64)
    saved.save_pretrained("model")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained("model")
    (lines,) = blocks_of("docs/how-to/without-lightning.md", having="found.to_pandas()")
    names = {"path": "model", "texts": LINES[:5]}
    exec(lines, names)
    found, frame, history = names["found"], names["frame"], History.load("looks/final")
    layers = [f"hidden.transformer.h.{layer}" for layer in (0, 1)]
    assert found.sites == history.sites == ["unembedding", *layers]
    assert len(names["rows"]) == sum(len(batch["input_ids"][0]) - 1 for batch in names["batches"])
    words = frame.loc[("unembedding", "space")]
    table = AttributeTable.surface(tokenizer)
    expected = attribute_similarity(saved.lm_head.weight, table)["gap"]
    assert words["gap"] == pytest.approx(float(expected[table.names.index("space")]), rel=1e-5)


def test_the_loop_of_looks_follows_phases(tmp_path):
    (lines,) = blocks_of("docs/how-to/without-lightning.md", having="history.append(snapshot(")
    model, steps = models.StagedModel(), iter(range(1, 200))
    names = {
        "History": History,
        "snapshot": snapshot,
        "model": model,
        "table": model.table(),
        "batches": range(120),
        "train": lambda model, batch: model.set_head(next(steps)),
    }
    exec(lines, names)
    milestones = names["history"].milestones("unembedding", "colour")
    assert milestones.peak_step == model.PEAK
    assert milestones.collapse_step is not None
