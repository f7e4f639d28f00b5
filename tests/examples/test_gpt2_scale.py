"""GPT-2 on the machine's own source, made small: a run that was ended goes on, none runs twice."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.examples import scripts


@pytest.fixture
def corpus(imported, monkeypatch, tmp_path):
    module = imported("gpt2_corpus")
    folders = [tmp_path / name for name in ("library", "packages")]
    for folder in folders:
        (folder / "inner").mkdir(parents=True)
    for k in range(30):
        text = f"def area{k}(radius):\n    return {k} * radius ** 2\n" * 20
        (folders[k % 2] / "inner" / f"m{k}.py").write_text(text)
    (folders[0] / "again.py").write_text((folders[1] / "inner/m1.py").read_text())
    (folders[0] / "made.py").write_text("x = 1\n" * module.LARGEST)
    (folders[0] / "text.txt").write_text("not Python")
    monkeypatch.setattr(module.sysconfig, "get_path", lambda name: folders[0])
    monkeypatch.setattr(module.site, "getsitepackages", lambda: [folders[1], folders[0] / "inner"])
    return module


def test_each_text_is_read_once_and_what_programs_make_is_left_out(corpus):
    texts = corpus.read_source(1)
    assert len({*texts}) == len(texts) == 30
    assert all(text.startswith("def area") for text in texts)
    size = len(texts[0])
    few = corpus.read_source(3.5 * size / 1e6)
    assert few == texts[: len(few)]
    assert len(few) in (3, 4)  # texts differ a little in length


def test_tokens_give_the_texts_back_and_are_made_once(corpus, tmp_path, monkeypatch):
    tokenizer, tokens = corpus.prepared(tmp_path / "kept", 300, 1)
    end = tokenizer.token_to_id(corpus.END)
    assert tokenizer.get_vocab_size() == 300
    assert end == 299
    assert tokens.dtype == np.uint16
    parts = np.split(tokens, np.flatnonzero(tokens == end) + 1)
    assert [tokenizer.decode(part[:-1].tolist()) for part in parts[:-1]] == corpus.read_source(1)
    assert not len(parts[-1])
    monkeypatch.setattr(corpus, "read_source", None)
    again, same = corpus.prepared(tmp_path / "kept", 300, 1)
    assert isinstance(again, Tokenizer)
    assert np.array_equal(same, tokens)


@pytest.mark.processes
def test_a_run_goes_on_from_its_checkpoint_and_is_not_run_again(tmp_path):
    arguments = ("--quick", "--steps", "8", "--out", tmp_path)

    def told_after_training():
        told = scripts.run_smaller("gpt2_scale", *arguments)
        return told[told.index("AttributeTable") :]

    told = told_after_training()
    folder = tmp_path / "quick-8/seed0"
    lines = scripts.rows_of(told)
    for site in ("layer 2", "layer 4", "last norm", "unembedding"):
        attributes = [line[1] for line in lines if line[0] == site]
        assert {"kind", "space", "frequency"} <= {*attributes}, site
    assert (tmp_path / "quick-8/table.md").read_text().strip() in told
    assert (tmp_path / "quick-8/gpt2_scale.png").stat().st_size > 10_000
    files = sorted(folder.glob("semgeom*/history.jsonl"))
    whole = [file.read_text() for file in files]
    assert len(whole) == 3
    assert told_after_training() == told
    assert [file.read_text() for file in files] == whole
    # As if it had been ended after its checkpoint of step 5.
    (folder / "done").unlink()
    assert told_after_training() == told

    def figures(text):
        records = map(json.loads, text.splitlines())
        return {r["step"]: r["values"] for r in records if "values" in r}

    for file, before in zip(files, whole, strict=True):
        assert figures(file.read_text()) == figures(before)
