"""The command on a text: hidden states of models of transformers, to the bit those of snapshot."""

import json

import fsspec
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import processors
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
)

from lightning_semgeom import AttributeTable, History, snapshot
from lightning_semgeom.checkpoints.hidden import HiddenStates
from lightning_semgeom.commands.cli import main
from lightning_semgeom.commands.text import text_batches
from tests.attributes import vocabularies
from tests.checkpoints.files import save
from tests.checkpoints.test_hidden import assert_same, of_sites

# So short a text lacks what some attributes are about.
pytestmark = pytest.mark.filterwarnings("ignore:snapshot. figures of hidden")
CONTEXT = 8
BYTES = vocabularies.byte_level()
WORDS = vocabularies.word_piece()
WORDS.add_special_tokens(["[MASK]"])
PROSE = " ".join(vocabularies.LINES[:3])
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8}
CONFIGS = {
    "gpt2": GPT2Config(n_embd=8, n_layer=2, n_head=2, n_positions=16, vocab_size=512),
    "llama": LlamaConfig(**SMALL, intermediate_size=16, max_position_embeddings=16, vocab_size=512),
    "neox": GPTNeoXConfig(**SMALL, intermediate_size=16, vocab_size=512),
    "bert": BertConfig(**SMALL, intermediate_size=16, max_position_embeddings=16, vocab_size=512),
}
HIDDEN = {
    "gpt2": "transformer.h.*",
    "llama": "model.layers.*",
    "neox": "gpt_neox.layers.*",
    "bert": "bert.encoder.layer.*",
}


def built(kind, seed=0):
    torch.manual_seed(seed)
    made_by = AutoModelForMaskedLM if kind == "bert" else AutoModelForCausalLM
    return made_by.from_config(CONFIGS[kind])


def saved(folder, kind="gpt2", steps=(0, 5), **more):
    """A run of models of save_pretrained; answers with the models by step."""
    made = {step: built(kind, step) for step in steps}
    for step, model in made.items():
        model.save_pretrained(folder / f"step-{step}", **more)
    return made


@pytest.fixture
def asked(tmp_path):
    """The options that all calls have."""
    BYTES.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "words.json").write_text(WORDS.to_str())
    (tmp_path / "prose.txt").write_text(PROSE * 3)
    return {
        "--tokenizer": tmp_path / "tokenizer.json",
        "--attributes": "surface",
        "--text": tmp_path / "prose.txt",
        "--context": CONTEXT,
        "--batches": 2,
        "--out": tmp_path / "out",
    }


def analyzed(*paths, **options):
    given = [str(part) for option in options.items() for part in option]
    try:
        return main(["analyze", *map(str, paths), *given])
    except SystemExit as end:
        return end.code


def by_hand(ids, special, mask=None):
    """Inputs and labels of contexts, by loops."""
    inputs, labels = [], []
    for row, marks in zip(ids, special, strict=True):
        inputs.append(list(row))
        labels.append([-100] * len(row))
        usual = 0
        for position, mark in enumerate(marks):
            if mark:
                continue
            usual += 1
            if mask is None:
                labels[-1][position] = row[position]
            elif usual % 7 == 0:
                labels[-1][position], inputs[-1][position] = row[position], mask
    return {"input_ids": torch.tensor(inputs), "labels": torch.tensor(labels)}


def assert_is_snapshots(out, made, kind, table, batches):
    history = History.load(out / "semgeom")
    assert [record.step for record in history] == [*made]
    for record in history:
        look = snapshot(
            made[record.step], table, hidden=HIDDEN[kind], data=batches, shift_labels=kind != "bert"
        )
        sites = look.sites[1:]
        assert len(sites) == 2
        assert history.sites == ["unembedding", *sites]
        assert_same(record.values, look.figures, of_sites(record.values, sites))
        # The weight's own come from the file, in a sum of other parts.
        gap = record.values["semgeom_unembedding/gap"]
        assert gap == pytest.approx(look.figures["semgeom_unembedding/gap"], abs=1e-6)
    return history


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("gpt2", {}),
        ("llama", {"max_shard_size": "4KB"}),
        ("neox", {}),
    ],
)
def test_causal_models(tmp_path, asked, capsys, kind, more):
    made = saved(tmp_path / "run", kind, **more)
    assert (tmp_path / "run/step-0/model.safetensors.index.json").exists() == bool(more)
    assert analyzed(tmp_path / "run", **asked) == 0
    told = capsys.readouterr()
    parameters = sum(p.numel() for p in made[0].parameters())
    cost = f"hidden states of 2 layers: the model of {parameters / 1e6:.3g} M parameters takes "
    assert cost in told.err
    assert "MB; each of 2 checkpoints is read whole" in told.err
    rows = [line.split()[0] for line in told.out.splitlines() if line.startswith("hidden.")]
    assert len({*rows}) == 2
    ids = BYTES.encode(PROSE * 3).ids[: CONTEXT * 8]
    rows = [ids[k : k + CONTEXT] for k in range(0, len(ids), CONTEXT)]
    rows = [by_hand(part, [[0] * CONTEXT] * 4) for part in (rows[:4], rows[4:])]
    table = AttributeTable.surface(BYTES)
    assert_is_snapshots(tmp_path / "out", made, kind, table, rows)
    control = History.load(tmp_path / "out/semgeom_control")
    for record in control:
        look = snapshot(
            made[record.step], table.shuffled(0), hidden=HIDDEN[kind], data=rows, shift_labels=True,
            name="semgeom_control",
        )  # fmt: skip
        sites = [f"control_{site}" for site in look.sites[1:]]
        assert_same(record.values, look.figures, of_sites(record.values, sites))


def test_a_model_of_masked_tokens(tmp_path, asked):
    made = saved(tmp_path / "run", "bert")
    asked["--tokenizer"] = tmp_path / "words.json"
    asked["--context"] = 16
    assert analyzed(tmp_path / "run", **asked) == 0
    ids = WORDS.encode(PROSE * 3, add_special_tokens=False).ids[: 14 * 8]
    first, last = (WORDS.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    rows = [[first, *ids[k : k + 14], last] for k in range(0, len(ids), 14)]
    special, mask = [[1, *[0] * 14, 1]] * 4, WORDS.token_to_id("[MASK]")
    batches = [by_hand(part, special[: len(part)], mask) for part in (rows[:4], rows[4:8])]
    assert (batches[0]["labels"] >= 0).sum() == 8
    assert_is_snapshots(tmp_path / "out", made, "bert", AttributeTable.surface(WORDS), batches)


def test_files_of_torch_save_in_such_a_folder(tmp_path, asked):
    made = saved(tmp_path / "run")
    for step, model in made.items():
        folder = tmp_path / f"run/step-{step}"
        (folder / "model.safetensors").unlink()
        # As older ones were saved: without the name of the body.
        state = {n.removeprefix("transformer."): t for n, t in model.state_dict().items()}
        del state["lm_head.weight"]
        torch.save(state, folder / "pytorch_model.bin")
    assert analyzed(tmp_path / "run", **asked, **{"--hidden": "transformer.h.1"}) == 0
    history = History.load(tmp_path / "out/semgeom")
    assert history.sites == ["unembedding", "hidden.transformer.h.1"]
    batches, _ = text_batches(tmp_path / "prose.txt", BYTES, CONTEXT, 2, masked=False)
    for record in history:
        look = snapshot(
            made[record.step], AttributeTable.surface(BYTES), hidden="transformer.h.1",
            data=batches, shift_labels=True,
        )  # fmt: skip
        assert_same(record.values, look.figures, of_sites(record.values, look.sites[1:]))


def test_a_checkpoint_of_another_configuration_is_left_out(tmp_path, asked, capsys):
    saved(tmp_path / "run", steps=(0, 5, 7))
    for step, change in (
        (5, {"layer_norm_epsilon": 0.5}),
        (7, {"use_cache": False, "transformers_version": "0", "dtype": "bfloat16"}),
    ):
        file = tmp_path / f"run/step-{step}/config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert analyzed(tmp_path / "run", **asked) == 1
    told = capsys.readouterr().err
    assert "step-5: its 'config.json' is not that of" in told
    assert "layer_norm_epsilon 0.5 and not 1e-05." in told
    assert [r.step for r in History.load(tmp_path / "out/semgeom")] == [0, 7]


def test_a_final_model_is_looked_at(tmp_path, asked, capsys):
    model = built("gpt2", 3)
    model.save_pretrained(tmp_path / "final")
    assert analyzed(tmp_path / "final", **asked) == 0
    told = capsys.readouterr()
    assert "each of 1 checkpoints is read whole" in told.err
    assert "hidden.transformer.h.1" in told.out
    history = History.load(tmp_path / "out/final/semgeom")
    batches, _ = text_batches(tmp_path / "prose.txt", BYTES, CONTEXT, 2, masked=False)
    table = AttributeTable.surface(BYTES)
    look = snapshot(model, table, hidden="transformer.h.*", data=batches, shift_labels=True)
    assert history.sites == look.sites
    assert_same(history.records[0].values, look.figures, of_sites(look.figures, history.sites[1:]))
    assert (tmp_path / "out/final/directions.csv").exists()


def test_what_cannot_be_built_or_read_is_told(tmp_path, asked, capsys):
    def told(path, **more):
        assert analyzed(path, **{**asked, **more}) == 2
        return capsys.readouterr().err

    save(tmp_path / "file/step-1.pt", torch.randn(512, 8))
    assert "the model of" in told(tmp_path / "file")
    assert "analyze(paths, table, build=function, data=batches)" in told(tmp_path / "file")
    saved(tmp_path / "run")
    assert "--context 17 is more than the 16 positions" in told(
        tmp_path / "run", **{"--context": 17, "--text": __file__}
    )
    (tmp_path / "short.txt").write_text("the dog")
    short = told(tmp_path / "run", **{"--text": tmp_path / "short.txt"})
    assert "short.txt' has 2 tokens; a context has 8" in short
    assert "hidden='none.*' matches no module" in told(tmp_path / "run", **{"--hidden": "none.*"})
    saved(tmp_path / "bert", "bert")
    assert "has no [MASK] or <mask>" in told(tmp_path / "bert")
    file = tmp_path / "run/step-0/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "architectures": ["GPT2Model"]}))
    assert "the architectures ['GPT2Model']" in told(tmp_path / "run")


def test_a_folder_without_a_configuration_is_one_fault_where_others_have_one(
    tmp_path, asked, capsys
):
    made = saved(tmp_path / "run")
    (tmp_path / "run/step-9").mkdir()
    state = {n: t.clone() for n, t in made[0].state_dict().items()}
    save_file(state, tmp_path / "run/step-9/model.safetensors")
    assert analyzed(tmp_path / "run", **asked) == 1
    assert "step-9: it has no 'config.json'" in capsys.readouterr().err


def test_fewer_contexts_than_asked_for_are_a_note(tmp_path, asked, capsys):
    saved(tmp_path / "run")
    assert analyzed(tmp_path / "run", **{**asked, "--batches": 400}) == 0
    assert "of the 1600 contexts of 8 tokens" in capsys.readouterr().err


def test_run_text_tokenizer_and_results_may_be_in_a_store(tmp_path, asked, capsys):
    saved(tmp_path / "run")
    assert analyzed(tmp_path / "run", **asked) == 0
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.put(str(tmp_path), "memory://a", recursive=True)
    store.rm("memory://a/out", recursive=True)
    there = {"--tokenizer": "tokenizer.json", "--text": "prose.txt", "--out": "out"}
    there = {option: f"memory://a/{name}" for option, name in there.items()}
    for _ in range(2):
        assert analyzed("memory://a/run", **{**asked, **there}) == 0
    out = tmp_path / "out"
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files >= {"layers.png", "timeline.png", "report.html"}
    found = {name.removeprefix("/a/out/") for name in store.find("memory://a/out")}
    assert found == files  # the second time all was done
    assert store.cat_file("memory://a/out/layers.png")[:4] == b"\x89PNG"
    here, away = History.load(tmp_path / "out/semgeom"), History.load("memory://a/out/semgeom")
    assert repr([dict(r.values) for r in away]) == repr([dict(r.values) for r in here])
    assert analyzed("memory://a/run", **{**asked, **there, "--attributes": "python"}) == 0
    assert len(History.load("memory://a/out/semgeom/earlier.1")) == 2


def test_stages_that_count_anew_have_their_hidden_states_each(tmp_path, asked, capsys):
    for stage in ("stage1", "stage2"):
        for step, model in {n: built("gpt2", n) for n in (0, 5)}.items():
            model.save_pretrained(tmp_path / f"run/{stage}-step-{step}")
    assert analyzed(tmp_path / "run", **asked) == 0
    for stage in ("stage1", "stage2"):
        history = History.load(tmp_path / "out" / stage / "semgeom")
        assert [record.step for record in history] == [0, 5]
        assert len(history.sites) == 3
        assert (tmp_path / "out" / stage / "layers.png").is_file()


def test_a_final_model_in_a_store_is_looked_at_there(tmp_path, asked, capsys):
    saved(tmp_path / "run", steps=(0,))
    (tmp_path / "run/step-0").rename(tmp_path / "run/final")
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.put(str(tmp_path / "run"), "memory://a/run", recursive=True)
    assert analyzed("memory://a/run", **{**asked, "--out": "memory://a/out"}) == 0
    found = {name.removeprefix("/a/out/") for name in store.find("memory://a/out")}
    assert {"report.html", "final/directions.csv", "final/semgeom/history.jsonl"} <= found


def test_of_a_long_text_the_start_alone_is_read_and_the_tokenizer_is_as_before(tmp_path):
    file = tmp_path / "long.txt"
    file.write_bytes(PROSE.encode() * 200 + b"\xff" * 10)  # no text at its end
    BYTES.enable_truncation(5)
    BYTES.enable_padding(length=6)
    before = BYTES.to_str()
    batches, note = text_batches(file, BYTES, CONTEXT, 2, masked=False)
    assert BYTES.to_str() == before
    BYTES.no_truncation()
    BYTES.no_padding()
    assert note is None
    found = torch.cat([batch["input_ids"] for batch in batches]).flatten().tolist()
    assert found == BYTES.encode(PROSE * 200).ids[: len(found)]
    assert len(found) == 8 * CONTEXT


def test_special_tokens_are_at_each_context_and_no_labels(tmp_path):
    tokenizer = type(BYTES).from_str(BYTES.to_str())
    end = tokenizer.token_to_id("<|end|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", end)]
    )
    file = tmp_path / "text.txt"
    file.write_text(PROSE)
    ((batch), *_), _ = text_batches(file, tokenizer, CONTEXT, 2, masked=False)
    assert batch["input_ids"][:, 0].tolist() == [end] * 4
    assert batch["labels"][:, 0].tolist() == [-100] * 4
    assert (batch["labels"][:, 1:] == batch["input_ids"][:, 1:]).all()


def test_what_transformers_makes_anew_on_loading_is_refused(tmp_path, asked, capsys):
    config = MixtralConfig(
        **SMALL, intermediate_size=16, num_key_value_heads=2, num_local_experts=2, vocab_size=512
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "run/step-1")
    assert analyzed(tmp_path / "run", **asked) == 2
    told = capsys.readouterr().err
    assert "transformers makes other tensors of 'model.layers.0." in told
    assert "Load each checkpoint with from_pretrained, and look at it with snapshot." in told


def test_the_command_goes_on_with_its_control_where_it_was_interrupted(
    tmp_path, asked, monkeypatch
):
    saved(tmp_path / "run", steps=(0, 5, 7))
    measure, measured = HiddenStates.measure, []

    def counted(self, path, tensors):
        measured.append(path.name)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return measure(self, path, tensors)

    monkeypatch.setattr(HiddenStates, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        analyzed(tmp_path / "run", **asked)
    # As where it was killed between the history and its control.
    control = tmp_path / "out/semgeom_control/history.jsonl"
    control.write_text("".join(control.read_text().splitlines(keepends=True)[:1]))
    assert analyzed(tmp_path / "run", **asked) == 0
    assert measured[3:] == ["step-5", "step-7"]
    assert analyzed(tmp_path / "run", **{**asked, "--out": tmp_path / "whole"}) == 0
    for name in ("semgeom", "semgeom_control"):
        ours, theirs = (
            (tmp_path / out / name / "history.jsonl").read_text() for out in ("out", "whole")
        )
        assert ours == theirs
    assert (tmp_path / "out/layers.png").exists()
