"""What PEFT saves: the weight that the model works with is measured, or it is told why not."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lightning_semgeom import analyze
from tests import models
from tests.checkpoints.files import figures

peft = pytest.importorskip("peft")
# What peft and transformers tell each other, and nothing of ours.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (
        ".*is_gradient_checkpointing",
        ".*fan_in_fan_out",
        "Setting `save_embedding_layers`",
    )
]

WHOLE, ALONE = "step-1.pt", "step-1/adapter_model.safetensors"


def saved(folder, targets=("c_attn",), **options):
    """An untied GPT-2 with adapters, its state dict and what PEFT keeps of it, in `folder`."""
    sizes = {"n_layer": 1, "n_embd": models.WIDTH, "n_head": 2, "n_positions": 16}
    ids = {"vocab_size": models.TOKENS, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(**sizes, **ids, tie_word_embeddings=False))
    config = peft.LoraConfig(target_modules=list(targets), r=2, fan_in_fan_out=True, **options)
    model = peft.get_peft_model(model, config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight)
    torch.save({"state_dict": model.state_dict()}, folder / WHOLE)
    model.save_pretrained(folder / "step-1")
    return model


def assert_gives(path, weight, tensor=None, site="unembedding"):
    (record,) = analyze(path, models.table(), tensor)
    expected = figures(weight.detach(), name=f"semgeom_{site}")
    found = {key: record.values[key] for key in expected}
    assert found == pytest.approx(expected, nan_ok=True, abs=1e-12)


@pytest.mark.parametrize("file", [WHOLE, ALONE])
def test_of_modules_to_save_the_trained_weight_is_measured(tmp_path, file):
    model = saved(tmp_path, modules_to_save=["lm_head", "wte"])
    assert_gives(tmp_path / file, model.get_output_embeddings().weight)
    embedding = model.get_input_embeddings().modules_to_save["default"].weight
    wte = "base_model.model.transformer.wte"
    assert_gives(tmp_path / file, embedding, wte, site="embedding")


@pytest.mark.parametrize("file", [WHOLE, ALONE])
def test_a_head_with_adapters_is_refused_and_its_base_measured_where_it_is_named(tmp_path, file):
    model = saved(tmp_path, targets=("lm_head",))
    base = "base_model.model.lm_head.base_layer.weight"
    with pytest.raises(ValueError, match=f"'{base}' is not all .* merge .*tensor='{base}'"):
        analyze(tmp_path / file, models.table())
    assert_gives(tmp_path / file, model.get_output_embeddings().base_layer.weight, base)


def test_adapters_alone_are_told_to_be_merged(tmp_path):
    saved(tmp_path)
    with pytest.raises(ValueError, match="it holds adapters alone; merge them into the model and"):
        analyze(tmp_path / ALONE, models.table())
