import pytest

from lightning_semgeom.checkpoints.names import find_tensor, site_of, sufficient
from lightning_semgeom.checkpoints.tensors import CheckpointError

BERT = {
    "bert.embeddings.word_embeddings.weight": (30, 8),
    "bert.embeddings.position_embeddings.weight": (50, 8),
    "bert.embeddings.token_type_embeddings.weight": (2, 8),
    "bert.encoder.layer.0.attention.output.dense.weight": (64, 8),
    "cls.predictions.bias": (30,),
}
T5 = {
    "shared.weight": (30, 8),
    "encoder.embed_tokens.weight": (30, 8),
    "decoder.embed_tokens.weight": (30, 8),
}
# A table of 25 rows fits into what each layer calls as the model calls its head.
OLMO = {
    "transformer.wte.weight": (30, 8),
    "transformer.blocks.0.ff_proj.weight": (64, 8),
    "transformer.blocks.0.ff_out.weight": (32, 32),
}
LORA = {"lm_head.lora_A.default.weight": (4, 8), "lm_head.lora_B.default.weight": (30, 4)}
LORA_OF_EMBEDDING = {"wte.lora_embedding_A.default": (4, 30), "wte.lora_embedding_B": (8, 4)}
# PEFT's `modules_to_save`: the frozen copy, and the weight that is trained.
SAVED_HEAD = {
    "lm_head.original_module.weight": (30, 8),
    "lm_head.modules_to_save.default.weight": (30, 8),
}
SAVED_EMBEDDING = {
    "wte.original_module.weight": (30, 8),
    "wte.modules_to_save.default.weight": (30, 8),
}


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"lm_head.weight": (30, 8), "wte.weight": (30, 8)}, "lm_head.weight"),
        ({"model.output.weight": (32, 8), "h.0.attn.output.weight": (8, 8)}, "model.output.weight"),
        ({"state_dict.module.head.weight": (30, 8)}, "state_dict.module.head.weight"),
        ({"head": (30, 8)}, "head"),
        (BERT, "bert.embeddings.word_embeddings.weight"),
        (BERT | {"cls.predictions.decoder.weight": (30, 8)}, "cls.predictions.decoder.weight"),
        (T5, "shared.weight"),
        (T5 | {"lm_head.weight": (30, 8)}, "lm_head.weight"),
        ({"wte.weight": (30, 8), "wpe.weight": (64, 8)}, "wte.weight"),
        # The moments of an optimizer, as torch.distributed.checkpoint has them beside the weights.
        ({"model.wte.weight": (30, 8), "optim.wte.weight.exp_avg": (30, 8)}, "model.wte.weight"),
        # Square: a projection of attention, and no head.
        ({"wte.weight": (30, 8), "h.0.attn.output.weight": (8, 8)}, "wte.weight"),
        # Of another width than the embedding.
        ({"wte.weight": (30, 8), "vision.head.weight": (10, 32)}, "wte.weight"),
        (
            {
                **{"wte.weight": (30, 8), "h.0.attn.output.base_layer.weight": (8, 8)},
                **{
                    "h.0.attn.output.lora_A.weight": (4, 8),
                    "h.0.attn.output.lora_B.weight": (8, 4),
                },
            },
            "wte.weight",
        ),
        (SAVED_EMBEDDING, "wte.modules_to_save.default.weight"),
        (SAVED_HEAD | SAVED_EMBEDDING, "lm_head.modules_to_save.default.weight"),
        ({"lm_head.weight": (30, 8), "wte.base_layer.weight": (30, 8)}, "lm_head.weight"),
        (OLMO | {"transformer.ff_out.weight": (30, 8)}, "transformer.ff_out.weight"),
        (OLMO, "transformer.wte.weight"),  # tied
        ({"lm_head.base_layer.weight": (30, 8)}, "lm_head.base_layer.weight"),
        # Adapters of other modules: as large as a head, called like one, of a projection.
        ({"wte.weight": (30, 8), "q.lora_B.default.weight": (30, 8)}, "wte.weight"),
        ({"wte.weight": (30, 8), "q.lora_A.output.weight": (4, 8)}, "wte.weight"),
        (
            {
                **{"wte.weight": (30, 8), "attn.output.lora_A.weight": (4, 8)},
                **{"attn.output.lora_B.weight": (8, 4)},
            },
            "wte.weight",
        ),
        (
            {
                **{"wte.weight": (30, 8), "mlp.output.base_layer.weight": (12, 32)},
                **{"mlp.output.lora_B.weight": (12, 4)},
            },
            "wte.weight",
        ),
        (
            {"lm_head.weight": (30, 8), "wte.base_layer.weight": (30, 8), **LORA_OF_EMBEDDING},
            "lm_head.weight",
        ),
    ],
)
def test_the_head_is_found_or_what_it_is_tied_to(shapes, expected):
    assert find_tensor(shapes, None, 25) == expected


@pytest.mark.parametrize(
    ("shapes", "wanted", "message"),
    [
        ({}, None, "no tensor was found for the 25 rows of the attribute table.* no matrix at all"),
        ({"lm_head.weight": (24, 8)}, None, r"the 25 rows .*matrices 'lm_head.weight' \[24, 8\]"),
        (
            {"a.head.weight": (30, 8), "b.head.weight": (30, 8)},
            None,
            r"several tensors may be the unembedding: .*tensor='a.head.weight'",
        ),
        (
            {"wte.weight": (30, 8), "lm_head.weight": (24, 8)},
            None,
            r"head 'lm_head.weight' has only 24\. .*table\.first\(24\), or .*tensor='wte.weight'",
        ),
        (
            {
                **{"wte.weight": (30, 8), "lm_head.original_module.weight": (24, 8)},
                **{"lm_head.modules_to_save.default.weight": (24, 8)},
            },
            None,
            "table has 25 rows, but the head 'lm_head.modules_to_save.default.weight' has only 24",
        ),
        (
            {"wte.weight": (30, 8), **LORA},
            None,
            "adapters of the head 'lm_head' and no weight of it; merge the adapters into the model",
        ),
        (
            {"lm_head.base_layer.weight": (30, 8), "wte.weight": (30, 8), **LORA},
            None,
            r"'lm_head.base_layer.weight' is not all that the model works with: it has the "
            r"adapters 'lm_head.lora_A.*' \[4, 8\].* merge .*tensor='lm_head.base_layer.weight'",
        ),
        (
            {"m.wte.base_layer.weight": (30, 8), "m.wte.lora_embedding_A": (4, 30)},
            None,
            "'m.wte.base_layer.weight' is not all .* the adapters 'm.wte.lora_embedding_A'",
        ),
        ({"q.lora_A.weight": (4, 8), **LORA}, None, "it holds adapters alone; merge them into the"),
        (
            {
                "lm_head.modules_to_save.a.weight": (30, 8),
                "lm_head.modules_to_save.b.weight": (30, 8),
            },
            None,
            "several tensors may be the unembedding: 'lm_head.modules_to_save.a.weight'",
        ),
        (
            {"lm_head.original_module.weight": (30, 8), "to_logits.weight": (30, 8), **LORA},
            None,
            r"It has the matrices 'to_logits.weight' \[30, 8\]. Name the one",
        ),
        (
            {"a.wte.weight": (30, 8), "b.wte.weight": (30, 8)},
            None,
            r"several tensors may be the embedding, .*'b.wte.weight' \[30, 8\]",
        ),
        (
            {"wte.weight": (30, 8), "to_logits.weight": (30, 8)},
            None,
            "'wte.weight' stands for a tied one, but this may be the head: 'to_logits.weight'",
        ),
        (BERT, "bert.embeddings.wrd_embeddings", "close names: 'bert.embeddings.word_embeddings"),
        ({"a.weight": (9, 9)}, "zzz", r"no tensor 'zzz'; it has the matrices 'a.weight' \[9, 9\]"),
        (BERT, "cls.predictions.bias", r"'cls.predictions.bias' is \[30\] and not \[rows, d\]"),
        (
            {"lm_head.weight": (24, 8)},
            "lm_head",
            r"table has 25 rows, but 'lm_head.weight' has only 24\..*table\.first\(24\)",
        ),
        (
            {"module.wte.weight": (30, 8), "_orig_mod.wte.weight": (30, 8)},
            "wte",
            "several tensors are called 'wte': 'module.wte.weight'",
        ),
    ],
)
def test_what_cannot_be_found_is_told_with_what_would_work(shapes, wanted, message):
    with pytest.raises(CheckpointError, match=message):
        find_tensor(shapes, wanted, 25)


def test_an_exact_name_goes_before_one_without_wrappers():
    shapes = {"module.wte.weight": (30, 8), "wte.weight": (30, 8)}
    assert find_tensor(shapes, "wte.weight", 25) == "wte.weight"
    assert find_tensor(shapes, "module.wte.weight", 25) == "module.wte.weight"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("lm_head", "lm_head.base_layer.weight"),
        ("lm_head.base_layer.weight", "lm_head.base_layer.weight"),
        ("wte", "wte.modules_to_save.default.weight"),
        ("wte.original_module", "wte.original_module.weight"),
        ("lm_head.lora_B.default.weight", "lm_head.lora_B.default.weight"),
    ],
)
def test_what_is_named_is_taken_with_its_adapters_left_out(wanted, expected):
    shapes = {"lm_head.base_layer.weight": (30, 8), **LORA, **SAVED_EMBEDDING}
    assert find_tensor(shapes, wanted, 25) == expected


def test_an_embedding_stands_for_no_head_that_is_known_to_be_another():
    shapes = {"model.embed_tokens.weight": (30, 8)}
    assert find_tensor(shapes, None, 25) == "model.embed_tokens.weight"
    with pytest.raises(CheckpointError, match=r"stand for a tied head: why\. .*'model.embed_tok"):
        find_tensor(shapes, None, 25, "why")
    assert find_tensor(shapes, "model.embed_tokens", 25, "why") == "model.embed_tokens.weight"
    head = {"lm_head.weight": (30, 8)}
    assert find_tensor(shapes | head, None, 25, "why") == "lm_head.weight"


def test_a_projection_in_a_layer_is_no_head_where_a_short_table_fits_into_it():
    shapes = {"wte.weight": (30, 8), "h.0.attn.output.weight": (8, 8)}
    assert find_tensor(shapes, None, 5) == "wte.weight"
    assert find_tensor(shapes | {"output.weight": (30, 8)}, None, 5) == "output.weight"
    # One that is not in a layer may be the head of as many classes, and so may one of others.
    assert find_tensor({"wte.weight": (30, 8), "head.weight": (8, 8)}, None, 5) == "head.weight"
    assert find_tensor({"wte.weight": (30, 8), "m.3.head.weight": (6, 8)}, None, 5) == (
        "m.3.head.weight"
    )


@pytest.mark.parametrize("name", ["lm_head.weight", "model.embed_tokens.weight"])
def test_weights_without_entries_are_told_to_be_joined(name):
    shapes = {"norm.weight": (8,), "h.0.weight": (0,), name: (0,)}
    with pytest.raises(CheckpointError, match=rf"'{name}' is \[0\], .*ZeRO-3.* zero_to_fp32.py"):
        find_tensor(shapes, None, 25)


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("token_embed", "embedding"),
        ("model.word_embed.weight", "embedding"),
        ("input_embeddings", "embedding"),
        ("tokens.emb.weight", "embedding"),
        ("embed_out", "unembedding"),
        ("output_embeddings", "unembedding"),
        ("unembed.weight", "unembedding"),
        ("final_linear", "unembedding"),
    ],
)
def test_input_embeddings_of_other_names_are_no_unembedding(name, site):
    assert site_of(name) == site


def test_the_site_is_the_embedding_where_the_user_names_one():
    assert site_of(None) == "unembedding"
    assert site_of("model.lm_head.weight") == "unembedding"
    assert site_of("module.transformer.wte") == "embedding"
    for kept in ("base_layer", "modules_to_save.default", "original_module"):
        assert site_of(f"m.embed_tokens.{kept}.weight") == "embedding"
        assert site_of(f"m.lm_head.{kept}.weight") == "unembedding"


@pytest.mark.parametrize(
    ("names", "wanted", "expected"),
    [
        (["wte.weight", "lm_head.weight", "h.0.attn.output.weight"], None, ["lm_head.weight"]),
        # Adapters of the head say that it is not all: they have to be seen.
        (["lm_head.weight", *LORA, *LORA_OF_EMBEDDING], None, ["lm_head.weight", *LORA]),
        (["a.output.weight", "b.head.weight"], None, ["a.output.weight", "b.head.weight"]),
        # Where no name is a head's, shapes tell: all are needed.
        (list(OLMO), None, []),
        (list(BERT), None, []),
        (list(LORA), None, []),
        (list(OLMO), "wte", []),
        (list(OLMO), "transformer.wte", ["transformer.wte.weight"]),
        (["module.a.weight", "a"], "a", ["a"]),
        (["module.a.weight", "b"], "a", ["module.a.weight"]),
    ],
)
def test_names_alone_tell_which_of_several_files_are_needed(names, wanted, expected):
    assert sufficient(names, wanted) == expected
