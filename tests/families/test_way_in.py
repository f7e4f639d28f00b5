"""The lines that a user of transformers adds: they run as they stand."""

from math import isfinite

import pytest
import torch

from lightning_semgeom import AttributeTable, SemanticGeometry
from tests import models
from tests.families.models import FAMILIES, TOKENS, Tuned, loader

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

LINES = """
tokenizer = AutoTokenizer.from_pretrained("gpt2")
tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
table = AttributeTable.from_dict({"space": [t.startswith(("Ġ", "▁")) for t in tokens]})
semgeom = SemanticGeometry(table, hidden="model.transformer.h.*", shift_labels=True)
Trainer(max_epochs=1, callbacks=[semgeom]).fit(module, loader)  # module.model is the GPT-2
"""


def small_tokenizer(name):
    assert name == "gpt2"
    vocabulary = {("Ġ" if index % 3 else "") + f"w{index}": index for index in range(TOKENS)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="w0"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model)


def test_five_lines_follow_a_model_of_transformers(tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", small_tokenizer)
    gpt2 = FAMILIES["gpt2"]
    assert len(LINES.split("\n")) == 7  # five, and an empty one at each end
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
    exec(LINES, names)
    semgeom, table = names["semgeom"], names["table"]
    assert table.names == ("space",)
    assert torch.equal(table.codes[:, 0], (torch.arange(TOKENS) % 3 > 0).long())
    assert [record.step for record in semgeom.history] == [0, 1, 2, 3, 4, 5, 6]
    values = semgeom.history.records[-2].values
    assert values["semgeom_unembedding/rows"] == TOKENS
    assert isfinite(values["semgeom_hidden.model.transformer.h.1/gap/space"])
