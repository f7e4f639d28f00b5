"""The lines that a user of transformers adds: they run as they stand."""

import re
from math import isfinite
from pathlib import Path

import pytest

from lightning_semgeom import AttributeTable, SemanticGeometry
from tests import models
from tests.families.models import FAMILIES, TOKENS, Tuned, loader

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

README = (Path(__file__).parents[2] / "README.md").read_text()


def small_tokenizer(name):
    assert name == "gpt2"
    # Nothing but the leading space tells two of them apart.
    vocabulary = {("Ġ" if index % 3 else "") + "w" * (9 + index): index for index in range(TOKENS)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="w" * 9))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model)


def test_five_lines_follow_a_model_of_transformers(tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", small_tokenizer)
    gpt2 = FAMILIES["gpt2"]
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (lines,) = (block for block in blocks if "AutoTokenizer" in block)
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
