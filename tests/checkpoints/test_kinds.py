"""Each kind of checkpoint, written as users' are, gives the figures of its weight."""

import json
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from lightning_semgeom import analyze
from tests import models
from tests.checkpoints.files import figures, head, save
from tests.distributed import models as distributed_models
from tests.distributed.launch import launch
from tests.figures import assert_same

# Files of several kinds have the same head, which is told and no fault here.
pytestmark = pytest.mark.filterwarnings("ignore:steps .* have bit-identical weights")


def assert_gives(path, weight, tensor=None, site="unembedding"):
    (record,) = analyze(path, models.table(), tensor)
    expected = figures(weight, name=f"semgeom_{site}")
    ours = {key: record.values[key] for key in expected}
    assert ours == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_a_lightning_checkpoint(tmp_path):
    model = models.TinyModel()
    saving = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_train_steps=7)
    models.trainer(tmp_path, saving, max_steps=7, enable_checkpointing=True).fit(
        model, models.batches()
    )
    assert_gives(tmp_path, model.lm_head.weight.detach())
    (record,) = analyze(tmp_path, models.table())
    assert record.step == 7  # from inside
    assert_gives(tmp_path, model.embed.weight.detach(), "embed", site="embedding")


@pytest.mark.processes
def test_sharded_lightning_checkpoints_agree_with_the_live_run(tmp_path):
    (live, _) = launch(tmp_path, 2, "fsdp2_saved")
    folder = tmp_path / "fsdp2_saved"
    assert {p.name for p in (folder / "step=2.ckpt").iterdir()} >= {".metadata", "meta.pt"}
    (folder / "step=4.ckpt").rename(folder / "another.ckpt")  # its step is in meta.pt alone
    for tensor, site in ((None, "unembedding"), ("embed", "embedding")):
        history = analyze(folder, distributed_models.table(), tensor)
        assert [record.step for record in history] == [2, 4, 6]
        for record, (step, values) in zip(history, live, strict=True):
            assert step == record.step
            keys = figures(head(1, 13), distributed_models.table(), f"semgeom_{site}")
            assert_same({k: record.values[k] for k in keys}, {k: values[k] for k in keys})


def test_a_folder_of_torch_distributed_checkpoint(tmp_path):
    state = {"model": {"output.weight": head(), "tok_embeddings.weight": head(1)}, "step": 3}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*assuming the intent is to save in a single")
        dcp.save(state, checkpoint_id=tmp_path / "step-3", no_dist=True)
    assert_gives(tmp_path, head())
    assert_gives(tmp_path / "step-3", head(1), "model.tok_embeddings", site="embedding")


def test_a_file_of_safetensors(tmp_path):
    save_file({"transformer.wte.weight": head(), "h.0.weight": head(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="it tells no step, neither by its name nor inside"):
        analyze(tmp_path / "a.safetensors", models.table())
    (tmp_path / "a.safetensors").rename(tmp_path / "global_step20.safetensors")
    assert_gives(tmp_path, head(2), "h.0")


def test_padding_rows_are_no_part_of_any_kind(tmp_path):
    padded = torch.cat([head(), 50 * head(1)])
    save(tmp_path / "a/step1.pth", padded)
    save_file({"lm_head.weight": padded}, tmp_path / "step1.safetensors")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*assuming the intent is to save in a single")
        dcp.save({"lm_head.weight": padded}, checkpoint_id=tmp_path / "step1", no_dist=True)
    for path in ("a/step1.pth", "step1.safetensors", "step1"):
        assert_gives(tmp_path / path, head())


SIZES = {"vocab_size": models.TOKENS, "pad_token_id": 0, "eos_token_id": 1}


def gpt2():
    return GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_embd=8, n_head=2, n_positions=16, bos_token_id=1, **SIZES)
    )


def bert():
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertForMaskedLM(BertConfig(hidden_size=8, **layers, **SIZES))


def t5():
    return T5ForConditionalGeneration(
        T5Config(num_layers=1, d_model=8, num_heads=2, d_kv=4, d_ff=8, **SIZES)
    )


@pytest.mark.parametrize("made", [gpt2, bert, t5])
def test_a_hugging_face_folder_in_one_file_and_in_shards(tmp_path, made):
    model = made()
    for name, size in (("checkpoint-5", "1GB"), ("checkpoint-10", "2KB")):
        model.save_pretrained(tmp_path / name, max_shard_size=size)
    assert (tmp_path / "checkpoint-5/model.safetensors").is_file()
    assert len(list((tmp_path / "checkpoint-10").glob("model-*.safetensors"))) > 1
    weight = model.get_output_embeddings().weight.detach()
    assert_gives(tmp_path / "checkpoint-5", weight)
    assert_gives(tmp_path / "checkpoint-10", weight)
    assert_gives(tmp_path / "checkpoint-10/model.safetensors.index.json", weight)
    assert [record.step for record in analyze(tmp_path, models.table())] == [5, 10]


def test_a_hugging_face_folder_with_pickled_weights_whole_and_in_shards(tmp_path):
    state = {"gpt_neox.embed_in.weight": head(1), "embed_out.weight": head()}
    whole, sharded = tmp_path / "step1", tmp_path / "final"
    whole.mkdir()
    torch.save(state, whole / "pytorch_model.bin")
    torch.save({"no": "weights"}, whole / "training_args.bin")
    sharded.mkdir()
    places = {}
    for number, (name, tensor) in enumerate(state.items(), start=1):
        places[name] = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: tensor}, sharded / places[name])
    index = {"metadata": {}, "weight_map": places}
    (sharded / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (sharded / "trainer_state.json").write_text('{"global_step": 2}')
    for path in (whole, sharded):
        assert_gives(path, head())
    assert [record.step for record in analyze(tmp_path, models.table())] == [1, 2]


@pytest.mark.parametrize("holder", [None, "state_dict", "model", "model_state_dict", "module"])
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "_forward_module.", "module._orig_mod."])
def test_a_state_dict_whoever_wrapped_it(tmp_path, holder, prefix):
    state = {f"{prefix}lm_head.weight": head(), f"{prefix}transformer.wte.weight": head(1)}
    saved = state if holder is None else {holder: state, "rng": torch.zeros(3, 3)}
    torch.save(saved, tmp_path / "step-1.pth")
    assert_gives(tmp_path, head())
    assert_gives(tmp_path, head(1), "transformer.wte", site="embedding")
    assert_gives(tmp_path, head(1), f"{prefix}transformer.wte.weight", site="embedding")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_other_precisions(tmp_path, dtype):
    assert_gives(tmp_path, save(tmp_path / "step1.pt", head().to(dtype)))


def test_nanogpt_s_file_has_its_step_and_its_compiled_names(tmp_path):
    weights = {"_orig_mod.transformer.wte.weight": head(3), "_orig_mod.lm_head.weight": head(3)}
    saved = {"model": weights, "iter_num": 250, "config": {"dataset": "text"}, "model_args": {}}
    torch.save(saved, tmp_path / "ckpt.pt")
    (record,) = analyze(tmp_path, models.table())
    assert record.step == 250
    expected = figures(head(3))
    assert {key: record.values[key] for key in expected} == pytest.approx(expected, nan_ok=True)
