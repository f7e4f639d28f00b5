"""A probe chosen for a table, against plain counts over all of its labels."""

import random
import subprocess
import sys
import warnings
from collections import Counter

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from lightning_semgeom import AttributeTable, SemanticGeometry, probe_from, snapshot
from lightning_semgeom.capture import windows
from tests import models
from tests.attributes import vocabularies
from tests.warm import ROOT

ALL = 10**9  # as often as the tokens can give


def words(count):
    """A tokenizer of `w0`, `w1`, ..., each with its number as id."""
    tokenizer = Tokenizer(WordLevel({f"w{k}": k for k in range(count)}, unk_token="w0"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer


def zipf(tokens, length, seed, texts=5):
    """Texts in which few tokens are frequent, as in any language; and their ids."""
    drawn = random.Random(seed)
    ids = [min(int(drawn.paretovariate(0.7)) - 1, tokens - 1) for _ in range(length)]
    cuts = sorted(drawn.randint(0, length) for _ in range(texts - 1))
    parts = [ids[a:b] for a, b in zip([0, *cuts], [*cuts, length], strict=True)]
    return [" ".join(f"w{k}" for k in part) for part in parts], ids


def labelled_some(tokens, seed, values=(3, 5), share=0.6):
    drawn = random.Random(seed)
    columns = {
        f"a{a}": [
            *(f"v{k}" for k in range(m)),
            *(
                f"v{drawn.randrange(m)}" if drawn.random() < share else None
                for _ in range(tokens - m)
            ),
        ]
        for a, m in enumerate(values)
    }
    return AttributeTable.from_dict(columns)


def counted(labels, table, per_token):
    """How often each value is met by `labels`; a token counts `per_token` times at most."""
    counts = Counter(labels)
    return {
        name: {
            value: sum(
                min(counts[token], per_token)
                for token, code in enumerate(table.codes[:, a].tolist())
                if code == number
            )
            for number, value in enumerate(table.values[a])
        }
        for a, name in enumerate(table.names)
    }


def labels_of(probe, shift):
    """The labels of each window."""
    rows = [row for batch in probe for row in batch["labels"][:, int(shift) :].tolist()]
    return [[label for label in row if label >= 0] for row in rows]


def worth(labels, table, per_value, per_token):
    met = counted(labels, table, per_token)
    return sum(min(count, per_value) for values in met.values() for count in values.values())


def quiet(texts, tokenizer, table, **options):
    """Of what is lacking other tests tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return probe_from(texts, tokenizer, table, **options)


def every_window(ids, size):
    """The labels of all windows, each token's but the first's once."""
    cut = [ids[k : k + size] for k in range(1, len(ids), size)]
    return [part for part in cut if part]


@given(
    seed=st.integers(0, 10**6),
    length=st.integers(20, 300),
    context=st.integers(2, 19),
    per_value=st.sampled_from([1, 3, 8, ALL]),
    per_token=st.integers(1, 3),
    shift=st.booleans(),
)
def test_each_value_is_met_as_often_as_asked_or_as_the_texts_have_it(
    seed, length, context, per_value, per_token, shift
):
    texts, ids = zipf(20, length, seed)
    table = labelled_some(17, seed)  # three tokens past its end
    if not any(worth([k], table, 1, 1) for k in ids[1:]):
        return
    probe = quiet(
        texts, words(20), table, per_value=per_value, per_token=per_token,
        context=context, shift_labels=shift, batch_size=3,
    )  # fmt: skip
    found = [label for row in labels_of(probe, shift) for label in row]
    met = counted(found, table, per_token)
    there, whole = (
        counted(given, table, per_token) for given in (ids[1:], [*range(17)] * per_token)
    )
    assert probe.met == met
    for name, values in met.items():
        for value, count in values.items():
            asked = min(per_value, whole[name][value])
            assert probe.asked[name][value] == asked
            assert count >= min(asked, there[name][value]), (name, value)
    assert not Counter(found) - Counter(ids[1:])  # no position twice


@given(seed=st.integers(0, 10**6), shift=st.booleans(), per_token=st.integers(1, 2))
def test_the_windows_are_those_of_a_greedy_choice_that_looks_at_all_each_time(
    seed, shift, per_token
):
    texts, ids = zipf(20, 200, seed)
    table, size = labelled_some(20, seed), 7
    probe = quiet(
        texts, words(20), table, per_value=4, per_token=per_token,
        context=size + shift, shift_labels=shift,
    )  # fmt: skip
    left, taken = every_window(ids, size), []
    whole = worth(ids[1:], table, 4, per_token)
    while worth([label for row in taken for label in row], table, 4, per_token) < whole:
        flat = [label for row in taken for label in row]
        taken.append(max(left, key=lambda row: worth(flat + row, table, 4, per_token)))
        left.remove(taken[-1])
    assert labels_of(probe, shift) == taken


def test_looking_at_a_few_windows_at_once_changes_nothing(monkeypatch):
    texts, _ = zipf(300, 4000, 0)
    table = labelled_some(300, 0, values=(4, 30))
    expected = quiet(texts, words(300), table, per_value=3, context=9)
    monkeypatch.setattr("lightning_semgeom.capture.cover._WINDOWS", 1)
    monkeypatch.setattr("lightning_semgeom.capture.cover._ENTRIES", 1)
    found = quiet(texts, words(300), table, per_value=3, context=9)
    assert labels_of(found, False) == labels_of(expected, False)
    assert len(labels_of(found, False)) > 10


@pytest.mark.parametrize("seed", range(5))
def test_windows_by_chance_meet_less(seed):
    texts, ids = zipf(300, 20_000, seed)
    table = labelled_some(300, seed, values=(4, 30))
    probe = quiet(texts, words(300), table, context=32, max_positions=320)
    chosen = labels_of(probe, False)
    assert len(chosen) == 10
    flat = [label for row in chosen for label in row]
    everything, drawn = every_window(ids, 32), random.Random(seed)
    by_chance = [
        worth([k for row in drawn.sample(everything, 10) for k in row], table, 16, 1)
        for _ in range(200)
    ]
    assert worth(flat, table, 16, 1) > 1.2 * max(by_chance)


@pytest.mark.parametrize("shift", [False, True])
def test_labels_are_the_next_tokens_of_a_piece_of_the_texts(shift):
    texts, ids = zipf(20, 150, 3)
    probe = quiet(texts, words(20), labelled_some(20, 3), context=8, shift_labels=shift)
    text = " ".join(map(str, ids))
    tails = 0
    for batch in probe:
        assert {*batch} == {"input_ids", "labels"}
        for inputs, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            assert inputs.dtype == labels.dtype == torch.int64
            assert inputs.shape == labels.shape == (8,)
            span = inputs.tolist() if shift else [*inputs.tolist(), int(labels[-1])]
            assert f" {' '.join(map(str, span))} " in f" {text} "
            known = labels >= 0
            tails += not known.all()
            following = inputs if shift else torch.tensor(span[1:])
            assert torch.equal(labels[known], following[known])
            assert set(labels[~known].tolist()) <= {-100}
    assert tails <= 1


def test_the_end_of_the_texts_is_a_window_too_whose_labels_are_not_counted_twice():
    table = AttributeTable.from_dict({"a": ["x", "x", "y", "y"]})
    texts = ["w0 w1 w0 w1 w0 w2"]  # the last token is the only y
    for shift in (False, True):
        with pytest.warns(UserWarning, match="a=y 1 of 2"):
            probe = probe_from(
                texts, words(4), table, context=4, shift_labels=shift, per_value=2, per_token=1
            )
        assert [2] in [row[-1:] for row in labels_of(probe, shift)]
        assert sum(map(len, labels_of(probe, shift))) <= 5
    assert probe.met == {"a": {"x": 2, "y": 1}}


CODE = """
import warnings
from tests.capture import test_windows as here
texts, _ = here.zipf(60, 3000, 1)
probe = here.quiet(iter(texts), here.words(60), here.labelled_some(60, 1), context=16)
print([b["input_ids"].tolist() for b in probe])
"""


@pytest.mark.processes
def test_each_process_has_the_same_windows_and_no_generator_is_touched():
    random.seed(0)
    torch.manual_seed(0)
    state, global_state = torch.get_rng_state(), random.getstate()
    texts, _ = zipf(60, 3000, 1)
    probe = quiet(texts, words(60), labelled_some(60, 1), context=16)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == global_state
    done = [
        subprocess.run(
            [sys.executable, "-c", CODE], cwd=ROOT, env={"PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": seed, "PATH": ""}, capture_output=True, text=True, timeout=200,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert done == [f"{[b['input_ids'].tolist() for b in probe]}\n"] * 2


def test_texts_shorter_than_a_window_follow_each_other():
    texts, _ = zipf(20, 200, 0, texts=1)
    expected = quiet(texts, words(20), labelled_some(20, 0), context=16)
    found = quiet(texts[0].split(), words(20), labelled_some(20, 0), context=16)
    assert labels_of(found, False) == labels_of(expected, False)


def test_a_long_text_is_encoded_in_pieces(monkeypatch):
    _, ids = zipf(20, 400, 0)
    lines = "".join(f"w{k}{' ' if place % 5 else chr(10)}" for place, k in enumerate(ids))
    expected = quiet([lines], words(20), labelled_some(20, 0), context=16)
    monkeypatch.setattr(windows, "_CHARACTERS", 50)
    pieces = [*windows._pieces(lines)]
    assert max(map(len, pieces)) <= 50
    assert len(pieces) > 20
    assert all(piece.endswith("\n") for piece in pieces[:-1])
    assert [*windows._pieces("x" * 120)] == ["x" * 50, "x" * 50, "x" * 20]  # no line ends there
    found = quiet([lines], words(20), labelled_some(20, 0), context=16)
    assert labels_of(found, False) == labels_of(expected, False)


def test_values_that_are_met_less_often_are_told_with_the_reason():
    table = AttributeTable.from_dict({"a": ["x", "x", "y", "y", "z"], "b": [*"ppqq", None]})
    texts = ["w0 w1 w0 w1 w0 w1 w2 w0 w0 w0"]
    said = (
        "probe_from: 3 of 5 values are met less often than asked: a=y 1 of 2, a=z 0 of 1, "
        "b=q 1 of 2. The texts do not have all of them: give more text.$"
    )
    with pytest.warns(UserWarning, match=said) as told:
        probe = probe_from(texts, words(5), table, context=3)
    assert told[0].filename == __file__
    assert probe.lacking() == ["a=y 1 of 2", "a=z 0 of 1", "b=q 1 of 2"]
    assert str(probe).splitlines() == [
        "1 window of 3 tokens",
        "  a: 1 of 3 values as often as asked; y 1 of 2, z 0 of 1",
        "  b: 1 of 2 values as often as asked; q 1 of 2",
    ]


def test_a_probe_that_has_no_room_says_so_and_keeps_to_it():
    texts, _ = zipf(60, 3000, 1)
    table = labelled_some(60, 1)
    with pytest.warns(UserWarning, match="max_positions=40 has no room for more: give a larger"):
        probe = probe_from(texts, words(60), table, context=16, max_positions=40)
    assert sum(map(len, labels_of(probe, False))) == 32
    # Of what all windows together meet nothing is lacking, and nobody is told anything.
    small = labelled_some(8, 0)
    done = probe_from(texts, words(60), small, context=16)
    assert done.lacking() == []
    assert done.met == counted(range(8), small, 1)


def test_texts_are_read_once_and_a_tokenizer_stays_as_it_was():
    texts, _ = zipf(60, 3000, 1)
    table, tokenizer = labelled_some(60, 1), words(60)
    expected = labels_of(quiet(texts, tokenizer, table, context=16), False)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    found = quiet((text for text in texts), tokenizer, table, context=16)
    assert labels_of(found, False) == expected
    assert tokenizer.truncation["max_length"] == 4
    assert tokenizer.padding["length"] == 8


def test_a_tokenizer_of_transformers_gives_the_same_without_special_tokens():
    from transformers import PreTrainedTokenizerFast

    tokenizer = vocabularies.word_piece()  # which would add [CLS] and [SEP]
    table = AttributeTable.surface(tokenizer, min_count=2)
    expected = labels_of(quiet(vocabularies.LINES, tokenizer, table, context=12), False)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=8)
    found = labels_of(quiet(vocabularies.LINES, wrapped, table, context=12), False)
    assert found == expected
    special = {tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    assert not special & {label for row in found for label in row}


def test_what_is_wrong_is_told_with_what_to_do():
    texts, table = ["w0 w1 w2 w3"], AttributeTable.from_dict({"a": [*"xxyy"]})
    for wrong, options, said in (
        ("w0 w1", {}, r"texts must be several texts, .*got a str: texts=\[text\]\."),
        ({"a": "w0"}, {}, "texts must be several texts, .*got a dict"),
        (["w0", b"w1"], {}, "each of texts must be a str; number 1 is a bytes"),
        ([], {}, "the texts have 0 tokens, and a window of context=128 takes 129"),
        (texts, {"context": 4}, "have 4 tokens, and a window of context=4 takes 5. Give more text"),
        (texts, {"context": 1}, "context must be 2 or more: 1"),
        (texts, {"per_value": 0}, "per_value must be 1 or more: 0"),
        (texts, {"per_token": 0}, "per_token must be 1 or more: 0"),
        (texts, {"batch_size": 0}, "batch_size must be 1 or more: 0"),
        (texts, {"max_positions": 127}, "max_positions must be 128 or more, .*context=128: 127"),
    ):
        with pytest.raises(ValueError, match=said):
            probe_from(wrong, words(4), table, **options)
    other = AttributeTable.from_dict({"a": [*"xxyy", *[None] * 9]})
    with pytest.raises(ValueError, match=r"none of the 3 tokens .* table of 13 rows\. Was it made"):
        probe_from(["w9 w9 w8"], words(10), other, context=2)
    with pytest.raises(TypeError, match="tokenizer is a str; expected a tokenizers"):
        probe_from(texts, "gpt2", table)
    assert len(quiet(texts, words(4), table, context=4, shift_labels=True)) == 1  # just enough


class SmallGPT(pl.LightningModule):
    """transformers' own, which shifts the labels by itself."""

    def __init__(self, tokens):
        super().__init__()
        import transformers

        torch.manual_seed(0)
        ids = {"bos_token_id": 0, "eos_token_id": 0}
        self.model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=tokens, n_positions=16, n_embd=16, n_layer=2, n_head=2, **ids
            )
        )

    def forward(self, batch):
        return self.model(input_ids=batch["input_ids"])

    def training_step(self, batch, batch_idx):
        return self.model(**batch).loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def test_a_gpt_in_training_is_looked_at_with_it_and_each_value_has_its_rows(tmp_path):
    texts, ids = zipf(60, 4000, 0)
    table, size = labelled_some(60, 0, values=(3, 12), share=0.9), 16
    options = {"context": size, "shift_labels": True, "per_value": 4, "max_positions": 300}
    probe = quiet(texts, words(60), table, **options)
    callback = SemanticGeometry(
        table, hidden="model.transformer.ln_f", probe=probe, shift_labels=True,
        every_n_steps=2, max_positions=300,
    )  # fmt: skip
    rows = torch.tensor(ids[:3200]).view(-1, size)
    train = torch.utils.data.DataLoader(
        [{"input_ids": row, "labels": row} for row in rows], batch_size=16
    )
    model = SmallGPT(60)
    models.trainer(tmp_path, callback, max_steps=6).fit(model, train)
    met = {label for row in labels_of(probe, True) for label in row}
    site = "semgeom_hidden.model.transformer.ln_f"
    for record in callback.history:
        assert record.values[f"{site}/rows"] == len(met)
        assert record.values[f"{site}/gap/a1"] == record.values[f"{site}/gap/a1"]  # no NaN
    of_probe = {"hidden": "model.transformer.ln_f", "data": probe}
    look = snapshot(model, table, **of_probe, shift_labels=True, max_positions=300)
    _, labels = look.rows("hidden.model.transformer.ln_f")
    flat = sorted(label for row in labels_of(probe, True) for label in row)
    assert sorted(labels.tolist()) == flat
    assert probe.positions == len(flat)
    with pytest.raises(ValueError, match="made with shift_labels=True, and here shift_labels=Fals"):
        snapshot(model, table, **of_probe)
    fewer = {"shift_labels": True, "max_positions": len(flat) - 1}
    with pytest.raises(ValueError, match=f"have {len(flat)} labels, of which max_positions="):
        snapshot(model, table, **of_probe, **fewer)
    other = SemanticGeometry(table, hidden="model.transformer.ln_f", probe=probe)
    with pytest.raises(ValueError, match="shift_labels=True, and here shift_labels=False: give"):
        models.trainer(tmp_path, other, max_steps=1).fit(model, train)
