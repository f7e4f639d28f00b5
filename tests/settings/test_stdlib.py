import re

import pytest
import torch

from lightning_semgeom import AttributeTable
from lightning_semgeom.settings import stdlib, stdlib_text
from tests import models

TEXT = """def area(radius):
    if radius < 0:
        raise ValueError("radius " + str(radius))
    return 3 * radius ** 2

import sys, os
PATH = None if len(sys.argv) > 100 else os.getcwd()
class Shape(object):
    def Name(self): return "SHAPE"
"""


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "corpus.py"
    path.write_text("\n\n".join([TEXT] * 400))
    return path


@pytest.fixture(scope="module")
def data(text_file):
    return stdlib_text.StdlibData(
        steps=6, vocab_size=400, batch_size=4, context=16, text=str(text_file)
    )


def test_the_standard_library_is_read_without_its_tests():
    documents = stdlib_text.read_stdlib()
    assert len(documents) > 300
    assert sum(map(len, documents)) > 5_000_000
    assert any("class ArgumentParser" in document for document in documents)
    assert not any("class TestArgumentParser" in document for document in documents)


def test_the_table_has_a_row_a_token_with_a_leading_space_or_without(data):
    table = stdlib_text.stdlib_attributes(data.tokenizer)
    assert isinstance(table, AttributeTable)
    assert len(table) == data.tokenizer.get_vocab_size()
    assert table.names == ("kind", "space", "case")
    token = data.tokenizer.token_to_id("Ġradius")
    kind, space, case = table.codes[token].tolist()
    assert kind == -1
    assert table.values[1][space] == "space"
    assert table.values[2][case] == "lower"
    assert table.coverage()["space"].share == 1.0


def test_windows_are_text_of_the_corpus_and_depend_on_the_seed_alone(data, text_file):
    batches = list(data.train_dataloader())
    assert len(batches) == 6
    assert batches[0]["input_ids"].shape == (4, 16)
    assert torch.equal(batches[0]["input_ids"], batches[0]["labels"])
    assert data.tokenizer.decode(batches[0]["input_ids"][0].tolist()) in text_file.read_text()
    options = {"vocab_size": 400, "batch_size": 4, "context": 16, "text": str(text_file)}
    same = next(iter(stdlib_text.StdlibData(6, **options).train_dataloader()))["input_ids"]
    other = next(iter(stdlib_text.StdlibData(6, seed=1, **options).train_dataloader()))["input_ids"]
    assert torch.equal(same, batches[0]["input_ids"])
    assert not torch.equal(other, batches[0]["input_ids"])
    probe = list(data.probe_dataloader())
    assert len(probe) == 4
    assert not torch.equal(probe[0]["input_ids"], batches[0]["input_ids"])


def test_documents_that_are_held_out_are_in_no_window_that_is_trained_on(tmp_path):
    file = tmp_path / "text.txt"
    paragraphs = [f"number{k} " * 60 for k in range(400)]
    file.write_text("\n\n".join(paragraphs))
    options = {"vocab_size": 400, "batch_size": 4, "context": 16, "text": str(file)}
    data = stdlib_text.StdlibData(2000, held_out=0.25, **options)

    def words(loader):
        windows = torch.cat([batch["input_ids"] for batch in loader]).tolist()
        texts = data.tokenizer.decode_batch(windows)
        # Those at the edges of a window may be cut.
        return {word for text in texts for word in re.findall(r"(?<= )number\d+(?= )", text)}

    seen, unseen = words(data.train_dataloader()), words(data.held_out_dataloader())
    seen |= words(data.probe_dataloader())
    assert len(seen) > 100
    assert len(unseen) > 50
    assert not seen & unseen
    assert len(list(data.held_out_dataloader())) == 64
    with pytest.raises(ValueError, match="no document was held out"):
        stdlib_text.StdlibData(6, **options).held_out_dataloader()


def test_text_that_cannot_be_used_is_explained(tmp_path):
    with pytest.raises(ValueError, match=r"--text: '.*none.txt' cannot be read"):
        stdlib_text.StdlibData(6, text=str(tmp_path / "none.txt"))
    (tmp_path / "short.txt").write_text("a b")
    with pytest.raises(ValueError, match="a window of 64 needs more than that"):
        stdlib_text.StdlibData(6, text=str(tmp_path / "short.txt"))


def test_the_model_trains_from_weights_that_the_seed_alone_decides(data, tmp_path):
    state = torch.get_rng_state()
    one, same = (stdlib.StdlibModel(400, 6, context=16, width=16, seed=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.gpt.lm_head.weight is not one.gpt.transformer.wte.weight
    assert torch.equal(one.gpt.lm_head.weight, same.gpt.lm_head.weight)
    before = one.gpt.lm_head.weight.detach().clone()
    batch = next(iter(data.train_dataloader()))
    with torch.no_grad():
        logits = one(batch)
        told = one.gpt(input_ids=batch["input_ids"], labels=batch["labels"]).loss
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), batch["labels"][:, 1:]
    )
    assert float(told) == pytest.approx(float(expected), abs=1e-5)
    trainer = models.trainer(tmp_path, max_steps=6)
    trainer.fit(one, data)
    assert float(trainer.callback_metrics["train_loss"]) < float(expected)
    assert not torch.equal(before, one.gpt.lm_head.weight)


def test_the_rate_warms_up_and_falls_to_a_tenth():
    model = stdlib.StdlibModel(400, 100, context=16, width=16)
    rates = [model._rate(step) for step in range(120)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == 1.0
    assert rates[100:] == pytest.approx([0.1] * 20)
