"""Files named as parts are one checkpoint, or are refused with what is missing."""

import json

import pytest
import torch
from safetensors.torch import save_file

from lightning_semgeom import AttributeTable, analyze
from lightning_semgeom.checkpoints.parts import Kind, parts_of
from lightning_semgeom.checkpoints.runs import find_checkpoints
from tests import models
from tests.checkpoints.files import figures, head, save

# Files of several kinds have the same head, which is told and no fault here.
pytestmark = pytest.mark.filterwarnings("ignore:steps .* have bit-identical weights")

EMBEDDING, HEAD = {"embed_tokens.weight": head(1)}, {"lm_head.weight": head()}


def write(file, tensors):
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file) if file.suffix == ".safetensors" else torch.save(tensors, file)


def assert_gives(path, weight, steps, tensor=None, site="unembedding"):
    """Figures of `weight` at each step, and no warning."""
    history = analyze(path, models.table(), tensor)
    assert [record.step for record in history] == steps
    expected = figures(weight, name=f"semgeom_{site}")
    for record in history:
        ours = {key: record.values[key] for key in expected}
        assert ours == pytest.approx(expected, nan_ok=True, abs=1e-12)


def assert_refused(path, message):
    """What is there is one checkpoint, and that is refused."""
    with pytest.raises(ValueError, match=message):
        analyze(path, models.table())
    assert len(find_checkpoints([path])) == 1


# Shards of save_pretrained

NAMES = (
    *("model-0000{}-of-00002.safetensors", "pytorch_model-0000{}-of-00002.bin"),
    *("model.fp16-0000{}-of-00002.safetensors", "my_own-0000{}-of-00002.safetensors"),
    *("model-{}-of-2.safetensors", "model_weights_{}_of_2.pt", "0000{}-of-00002.safetensors"),
)


@pytest.mark.parametrize("name", NAMES)
def test_all_shards_without_their_index_are_the_model(tmp_path, name):
    for step in (100, 200):
        for number, tensors in ((1, EMBEDDING), (2, HEAD)):
            write(tmp_path / f"run/checkpoint-{step}" / name.format(number), tensors)
    assert_gives(tmp_path / "run", head(), [100, 200])
    assert_gives(tmp_path / "run/checkpoint-100" / name.format(1), head(), [100])
    assert_gives(tmp_path / "run", head(1), [100, 200], "embed_tokens", site="embedding")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("there", "lacking"), [(1, 2), (2, 1)])
def test_a_shard_alone_is_refused_with_what_is_missing(tmp_path, name, there, lacking):
    folder = tmp_path / "run/checkpoint-100"
    write(folder / name.format(there), EMBEDDING if there == 1 else HEAD)
    message = rf"it is shard {there} of 2: '{name.format(lacking)}' is not there, nor is the index"
    assert_refused(tmp_path / "run", message)
    with pytest.raises(ValueError, match=message):
        analyze(folder / name.format(there), models.table(), "embed_tokens")


def test_several_shards_that_are_missing_are_told_in_one_line(tmp_path):
    for number in (2, 7):
        write(tmp_path / f"step-1/model-0000{number}-of-00009.safetensors", {f"{number}": head()})
    message = (
        r"it is shards 2, 7 of 9: 'model-00001-of-00009.safetensors', .* and 3 more are not there"
    )
    assert_refused(tmp_path, message)


def test_the_only_shard_of_one_is_the_model_and_counted_from_zero_as_well(tmp_path):
    write(tmp_path / "step-1/model-00001-of-00001.safetensors", EMBEDDING)
    write(tmp_path / "step-2/model-00000-of-00002.safetensors", EMBEDDING)
    write(tmp_path / "step-2/model-00001-of-00002.safetensors", {"b": torch.ones(3)})
    assert_gives(tmp_path / "step-1", head(1), [1])  # whole, and its head is tied
    (tmp_path / "step-2/config.json").write_text('{"tie_word_embeddings": false}')
    assert_refused(tmp_path / "step-2", "does not stand for a tied head: its 'config.json' has")


def test_a_shard_whose_download_has_not_ended_is_missing(tmp_path):
    write(tmp_path / "step-1/model-00001-of-00002.safetensors", EMBEDDING)
    (tmp_path / "step-1/model-00002-of-00002.safetensors.incomplete").touch()
    assert_refused(tmp_path, "it is shard 1 of 2: 'model-00002-of-00002.safetensors' is not there")
    (tmp_path / "step-1/model-00001-of-00002.safetensors").unlink()
    assert_refused(tmp_path, "one of 2 shards: .*00001-of-.* 'model-00002-of-.* are not there")


def test_a_link_to_nothing_is_a_shard_that_is_missing(tmp_path):
    write(tmp_path / "step-1/model-00001-of-00002.safetensors", EMBEDDING)
    (tmp_path / "step-1/model-00002-of-00002.safetensors").symlink_to("../../blobs/gone")
    assert_refused(tmp_path, "it is shard 1 of 2: 'model-00002-of-00002.safetensors' is not there")


def indexed(folder, places):
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"weight_map": places})
    (folder / "model.safetensors.index.json").write_text(text)
    return folder


def test_with_an_index_a_shard_that_is_missing_is_named_also_where_a_shard_is_given(tmp_path):
    one, two = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    folder = indexed(tmp_path / "step-1", {"embed_tokens.weight": one, "lm_head.weight": two})
    write(folder / one, EMBEDDING)
    assert_refused(folder, f"names the shard '{two}', which is not there; there is '{one}'")
    with pytest.raises(ValueError, match=f"names the shard '{two}', which is not there"):
        analyze(folder / one, models.table())
    write(folder / two, HEAD)
    for given in (folder, folder / one, folder / two):
        assert_gives(given, head(), [1])


def test_the_shard_with_the_head_is_enough_where_an_index_tells_what_is_in_the_others(tmp_path):
    one, two = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    places = {
        "embed_tokens.weight": one,
        "layers.0.attention.output.weight": one,  # called as a head is, and in a layer
        "layers.0.q.lora_A.weight": one,
        "lm_head.weight": two,
    }
    folder = indexed(tmp_path / "step-1", places)
    write(folder / two, HEAD)
    (folder / "config.json").write_text('{"tie_word_embeddings": false}')
    for given in (folder, folder / two):
        assert_gives(given, head(), [1])
    with pytest.raises(ValueError, match=f"'embed_tokens.weight' cannot be read: .*'{one}', which"):
        analyze(folder, models.table(), "embed_tokens")


@pytest.mark.parametrize("name", ["model.decoder.weight", "lm_head.lora_B.default.weight"])
def test_a_shard_is_not_enough_where_another_may_have_a_head_or_a_part_of_it(tmp_path, name):
    one, two = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    folder = indexed(tmp_path / "step-1", {name: one, "lm_head.weight": two})
    write(folder / two, HEAD)
    assert_refused(folder, f"'{name}' cannot be read: .*names the shard '{one}'")
    assert len(analyze(folder, models.table(), "lm_head.weight")) == 1  # it is said which


def test_an_index_of_other_files_is_told_with_those_that_are_there(tmp_path):
    folder = indexed(tmp_path / "step-1", {"lm_head.weight": "other-00002-of-00003.safetensors"})
    for number, tensors in ((1, EMBEDDING), (2, HEAD)):
        write(folder / f"model-0000{number}-of-00002.safetensors", tensors)
    message = "'other-00002-of-00003.safetensors', which is not there; there is 'model-00001-of-00"
    assert_refused(tmp_path, message)


def test_an_index_that_leaves_out_a_shard_is_refused(tmp_path):
    one = "model-00001-of-00002.safetensors"
    folder = indexed(tmp_path / "step-1", {"embed_tokens.weight": one})
    write(folder / one, EMBEDDING)
    assert_refused(tmp_path, f"names 1 of the 2 shards that there are by the name of '{one}'")


def test_a_head_that_the_index_leaves_out_is_the_head(tmp_path):
    folder = indexed(tmp_path / "step-1", {"embed_tokens.weight": "a.safetensors"})
    write(folder / "a.safetensors", EMBEDDING | HEAD)
    assert_gives(tmp_path, head(), [1])


def test_one_tensor_in_two_shards_without_an_index_is_refused(tmp_path):
    for number in (1, 2):
        write(tmp_path / f"step-1/model-0000{number}-of-00002.safetensors", HEAD)
    assert_refused(tmp_path, r"shards 'model-00001.*' and 'model-00002.*' both have 'lm_head.weig")


def test_a_shard_that_cannot_be_read_is_named(tmp_path):
    write(tmp_path / "step-1/model-00001-of-00002.safetensors", EMBEDDING)
    (tmp_path / "step-1/model-00002-of-00002.safetensors").write_text("")
    assert_refused(tmp_path, "in its part 'model-00002-of-00002.safetensors', it is empty")


def test_the_step_of_shards_may_stand_beside_them_or_in_their_name(tmp_path):
    for number, tensors in ((1, EMBEDDING), (2, HEAD)):
        write(tmp_path / f"last/model-0000{number}-of-00002.safetensors", tensors)
        write(tmp_path / f"named/step-8-0000{number}-of-00002.safetensors", tensors)
        write(tmp_path / f"named/step-9-0000{number}-of-00002.safetensors", tensors)
    (tmp_path / "last/trainer_state.json").write_text('{"global_step": 7}')
    assert_gives(tmp_path, head(), [7, 8, 9])


@pytest.mark.parametrize("name", ["epoch-1-of-3", "step-5-of-100", "seed-1-of-2", "phase_1_of_2"])
def test_other_numbers_of_many_are_no_shards(tmp_path, name):
    save(tmp_path / f"{name}.ckpt", global_step=5)
    assert_gives(tmp_path, head(), [5])


# A head that is not tied


@pytest.mark.parametrize(
    ("config", "tied"),
    [
        ({"tie_word_embeddings": False}, False),
        ({"tie_word_embeddings": False, "text_config": {"tie_word_embeddings": False}}, False),
        ({"text_config": {"tie_word_embeddings": False}}, False),
        ({"tie_word_embeddings": False, "text_config": {"tie_word_embeddings": True}}, True),
        ({"tie_word_embeddings": True}, True),
        ({"text_config": None}, True),
        ({}, True),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model-1-of-1.bin"])
def test_the_configuration_may_contradict_a_tied_head(tmp_path, name, config, tied):
    write(tmp_path / "step-1" / name, EMBEDDING)
    (tmp_path / "step-1/config.json").write_text(json.dumps(config))
    if tied:
        assert_gives(tmp_path, head(1), [1])
    else:
        message = "'embed_tokens.weight' does not stand for a tied head: its 'config.json' has tie"
        assert_refused(tmp_path, message)
    assert_gives(tmp_path, head(1), [1], "embed_tokens", site="embedding")


def test_a_configuration_that_cannot_be_read_contradicts_nothing(tmp_path):
    write(tmp_path / "step-1/model.safetensors", EMBEDDING)
    (tmp_path / "step-1/config.json").write_text("{")
    assert_gives(tmp_path, head(1), [1])


# Files of layers


def neox(folder, ranks=(0,), last=True):
    for rank in ranks:
        layers = {0: {"word_embeddings.weight": head(1)}}
        layers |= {number: {"mlp.weight": head(number, 32)} for number in (2, 3)}
        layers |= {5: {"norm.weight": torch.ones(8)}}
        layers |= {6: {"final_linear.weight": head()}} if last else {}
        for number, tensors in layers.items():
            write(folder / f"layer_{number:02d}-model_{rank:02d}-model_states.pt", tensors)
        torch.save({"module": None}, folder / f"mp_rank_{rank:02d}_model_states.pt")
    return folder


def test_files_of_layers_are_one_checkpoint(tmp_path):
    for step in (0, 1000):
        neox(tmp_path / f"global_step{step}")
    assert_gives(tmp_path, head(), [0, 1000])
    one = tmp_path / "global_step1000/layer_02-model_00-model_states.pt"
    assert_gives([one, tmp_path / "global_step1000/mp_rank_00_model_states.pt"], head(), [1000])
    assert_gives(tmp_path, head(1), [0, 1000], "word_embeddings", site="embedding")
    assert_gives(tmp_path, head(3, 32)[: models.TOKENS], [0, 1000], "layer_03.mlp")
    (found,) = find_checkpoints([one])
    assert "mlp.weight" not in found.open().shapes


def test_without_the_file_of_the_head_the_embedding_stands_for_nothing(tmp_path):
    neox(tmp_path / "global_step0", last=False)
    message = "'word_embeddings.weight' does not stand for a tied head: files of layers do not"
    assert_refused(tmp_path, message)


@pytest.mark.parametrize("ranks", [(0, 1), (0, 1, 2, 3)])
def test_layers_cut_by_tensor_parallelism_are_one_refusal(tmp_path, ranks):
    neox(tmp_path / "global_step0", ranks)
    assert_refused(tmp_path, rf"cut into {len(ranks)} parts .*model_00, model_01.* Join them first")


def test_layers_of_which_parts_are_missing_are_refused(tmp_path):
    neox(tmp_path / "a/global_step0", (1,))
    assert_refused(tmp_path / "a", "files of model_00 are not there")
    neox(tmp_path / "b/global_step0")
    torch.save({}, tmp_path / "b/global_step0/mp_rank_01_model_states.pt")
    assert_refused(tmp_path / "b", "each of its layers is cut into 2 parts")


# DeepSpeed


@pytest.mark.parametrize("prefix", ["", "bf16_"])
@pytest.mark.parametrize("inner", ["global_step20", "step=20.ckpt/checkpoint"])
def test_zero_3_is_told_with_what_joins_it(tmp_path, prefix, inner):
    save(tmp_path / "step-1.pt")
    for rank in range(3):
        states = {"module": {"lm_head.weight": torch.empty(0)}, "param_shapes": []}
        name = f"{prefix}zero_pp_rank_{rank}_mp_rank_00"
        write(tmp_path / inner / f"{name}_model_states.pt", states)
        write(tmp_path / inner / f"{name}_optim_states.pt", {})
    tag = (tmp_path / inner).name
    message = rf"ZeRO-3 over 3 files.* `python zero_to_fp32.py . OUT --tag {tag}` in '.*'"
    with pytest.warns(UserWarning, match=message) as told:
        assert [record.step for record in analyze(tmp_path, models.table())] == [1]
    assert len(told) == 1
    for kind in ("model", "optim"):
        with pytest.raises(ValueError, match=r"join .*zero_to_fp32.py|Join .*zero_to_fp32.py"):
            analyze(tmp_path / inner / f"{name}_{kind}_states.pt", models.table())


def test_a_folder_of_zero_3_that_has_the_joined_model_is_measured(tmp_path):
    write(tmp_path / "checkpoint-5/model.safetensors", HEAD)
    name = "zero_pp_rank_0_mp_rank_00_model_states.pt"
    write(tmp_path / "checkpoint-5/global_step5" / name, {"module": {}})
    assert_gives(tmp_path, head(), [5])


def deepspeed(folder, ranks, tensors=HEAD, **beside):
    for rank in ranks:
        state = {"module": tensors, **beside}
        write(folder / f"global_step5/mp_rank_{rank:02d}_model_states.pt", state)
    return folder


def test_the_one_part_of_deepspeed_is_the_model(tmp_path):
    assert_gives(deepspeed(tmp_path / "a", [0], mp_world_size=1), head(), [5])
    assert_gives(deepspeed(tmp_path / "b", [0]), head(), [5])
    assert_gives(deepspeed(tmp_path / "c", [0], EMBEDDING, mp_world_size=1), head(1), [5])
    write(tmp_path / "a/global_step5/zero_pp_rank_1_mp_rank_00_optim_states.pt", {})
    write(tmp_path / "a/global_step5/layer_0_expert_0_mp_rank_00_model_states.pt", {"up": head(2)})
    assert_gives(tmp_path / "a", head(), [5])


def test_parts_of_deepspeed_are_one_refusal(tmp_path):
    message = "it is cut into parts of model parallelism, 'mp_rank_00_.*', 'mp_rank_01_model_states"
    assert_refused(deepspeed(tmp_path / "a", [0, 1]), message)
    alone = message + ".pt', of which 'mp_rank_00_model_states.pt' is not there"
    assert_refused(deepspeed(tmp_path / "b", [1]), alone)
    folder = deepspeed(tmp_path / "c", [0])
    write(folder / "global_step5/zero_pp_rank_0_mp_rank_01_optim_states.pt", {})
    assert_refused(folder, "of which 'mp_rank_01_model_states.pt' is not there")
    told = "one of 2 parts .* as it says itself; 'mp_rank_01_model_states.pt' is not there"
    assert_refused(deepspeed(tmp_path / "d", [0], mp_world_size=2), told)
    assert_refused(deepspeed(tmp_path / "e", [0], EMBEDDING), "whether there are more is not known")


# Llama, Megatron, FSDP


def llama(folder, parts, rows=models.TOKENS, width=models.WIDTH):
    for part in parts:
        tensors = {"tok_embeddings.weight": torch.ones(models.TOKENS, width)}
        tensors["output.weight"] = head()[:rows]
        write(folder / f"step-1/consolidated.{part:02d}.pth", tensors)
    return folder


def test_the_one_file_of_llama_is_the_model(tmp_path):
    assert_gives(llama(tmp_path, [0]), head(), [1])


def test_parts_of_llama_are_refused(tmp_path):
    half = {"rows": models.TOKENS // 2, "width": models.WIDTH // 2}
    message = "cut into parts of model parallelism, 'consolidated.00.pth', 'consolidated.01.pth'"
    assert_refused(llama(tmp_path / "a", [0, 1], **half), message)
    assert_refused(llama(tmp_path / "b", [1], **half), "of which 'consolidated.00.pth' is not th")
    folder = llama(tmp_path / "c", [0], **half)
    table = AttributeTable.from_dict({"colour": list("rb") * 3})
    with pytest.raises(ValueError, match=r"one of 2 parts of .*'output' is \[6, 8\] and 'tok_emb"):
        analyze(folder, table)
    write(tmp_path / "d/step-1/consolidated.00.pth", {"tok_embeddings.weight": head()})
    assert_refused(
        tmp_path / "d", "'tok_embeddings.weight' does not stand for a tied head: its nam"
    )


def megatron(folder, *ranks):
    state = {"model": {"embedding.word_embeddings.weight": head(1), "output_layer.weight": head()}}
    for rank in ranks:
        write(folder / f"step-1/iter_0000001/mp_rank_{rank}/model_optim_rng.pt", state)
        write(folder / f"step-1/iter_0000001/mp_rank_{rank}/distrib_optim.pt", {})
    return folder


def test_parts_of_megatron_are_one_refusal(tmp_path):
    assert_gives(megatron(tmp_path / "a", "00"), head(), [1])
    assert_refused(megatron(tmp_path / "b", "00", "01"), "parallelism, 'mp_rank_00', 'mp_rank_01'")
    assert_refused(megatron(tmp_path / "c", "00_000", "00_001"), r"parallelism, 'mp_rank_00_\*'")
    assert_refused(megatron(tmp_path / "d", "01"), "of which 'mp_rank_00' is not there")
    # Each part is given, or its folder.
    files = [*tmp_path.glob("b/step-1/*/*/model_optim_rng.pt")]
    for given in (files, [file.parent for file in files], [files[0]]):
        with pytest.raises(ValueError, match=r"could be measured: \S* it is cut [^*]*$"):
            analyze(given, models.table())


def test_the_number_of_ranks_in_a_name_tells_of_parts(tmp_path):
    write(tmp_path / "a/step-1/model_world_size_1_rank_0.pt", HEAD)
    assert_gives(tmp_path / "a", head(), [1])
    for rank in (0, 2):
        write(tmp_path / f"b/step-1/model_world_size_4_rank_{rank}.pt", HEAD)
    assert_refused(tmp_path / "b", r"over 4 ranks, of which 'model_world_size_4_rank_1.pt', .*3.pt")


# Files of ranks


@pytest.mark.parametrize(
    "name", ["rank{}.pt", "model-rank-{}.pt", "step-1-rank_{}.pt", "rank_{}/m.pt"]
)
def test_copies_by_each_rank_are_one_checkpoint_and_parts_are_refused(tmp_path, name):
    for rank in range(3):
        write(tmp_path / "step-1" / name.format(rank), HEAD)
    assert_gives(tmp_path, head(), [1])
    for other in ({"lm_head.weight": head(1)}, EMBEDDING, {"lm_head.weight": head()[:6]}):
        write(tmp_path / "step-1" / name.format(2), other)
        assert_refused(tmp_path, "its 3 files differ: they are parts that each process saved")


def test_the_file_of_another_rank_than_the_first_is_refused_alone(tmp_path):
    write(tmp_path / "step-1/rank1.pt", HEAD)
    assert_refused(tmp_path, "'rank0.pt' is not there: it may be a part")


def test_the_first_rank_alone_is_measured_and_its_embedding_stands_for_no_head(tmp_path):
    write(tmp_path / "a/ep0-step1-rank0.pt", HEAD)
    assert_gives(tmp_path / "a", head(), [1])
    write(tmp_path / "b/ep0-step1-rank0.pt", EMBEDDING)
    assert_refused(tmp_path / "b", "'embed_tokens.weight' does not stand for a tied head: its nam")


@pytest.mark.parametrize("name", ["lora_rank8.pt", "rank-8/model.pt", "low_rank_4.pt", "frank1.pt"])
def test_the_rank_of_an_adapter_is_no_part(tmp_path, name):
    write(tmp_path / "step-1" / name, HEAD)
    assert_gives(tmp_path, head(), [1])


def test_names_of_parts_and_of_none(tmp_path):
    folder = tmp_path / "mp_rank_00"
    folder.mkdir()
    kinds = {
        "model-00001-of-00002.safetensors": Kind.SHARDS,
        "layer_00-model_00-model_states.pt": Kind.LAYERS,
        "zero_pp_rank_0_mp_rank_00_model_states.pt": Kind.ZERO,
        "consolidated.00.pth": Kind.LLAMA,
        "model_world_size_2_rank_0.pt": Kind.WORLD,
        "rank0.pt": Kind.RANKS,
        "model_optim_rng.pt": Kind.MEGATRON,
    }
    for name, kind in kinds.items():
        assert parts_of(folder / name).kind is kind
    for name in ("model.safetensors", "model_00001.pt", "epoch=0-step=5.ckpt", "last-v1.ckpt"):
        assert parts_of(tmp_path / name) is None
