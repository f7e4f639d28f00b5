from pathlib import Path

import pytest

from lightning_semgeom.checkpoints.runs import Checkpoint, find_checkpoints
from lightning_semgeom.checkpoints.tensors import CheckpointError
from tests.checkpoints.files import save


def steps(*paths):
    return {checkpoint.path: checkpoint.step() for checkpoint in find_checkpoints(paths)}


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step143000/model.safetensors", 143000),
        ("step-00001000/lit_model.pth", 1000),
        ("checkpoint-500/pytorch_model.bin", 500),
        ("global_step20/mp_rank_00_model_states.pt", 20),
        ("checkpoints/epoch=3-step=120.ckpt", 120),
        ("step_7.safetensors", 7),
        ("stage1-step140000-tokens294B.pt", 140000),
        ("step-1/weights-step-2.pt", 2),
        ("step-1-to-step-3.pt", 3),
        ("step_20k/model.safetensors", 20_000),
        ("multiberts-seed_0-step_1900k.bin", 1_900_000),
        ("stage1-step-40000/model.safetensors", 40_000),
        ("ckpt_358/model.safetensors", 358),
        ("iter_0001000/mp_rank_00/model_optim_rng.pt", 1000),
        ("ep0-ba1000-rank0.pt", 1000),
        ("checkpoint_10000/model.safetensors", 10_000),
        ("checkpoint_3_10000.pt", 10_000),
    ],
)
def test_the_step_is_told_by_names_from_the_inside_out(name, step):
    assert Checkpoint(Path("run") / name, Path("run")).step() == step


@pytest.mark.parametrize(
    "name",
    ["timestep5.ckpt", "step-3m.ckpt", "v2/last.ckpt", "footstep1.pt", "abba7.pt", "ba7x.pt"],
)
def test_other_numbers_are_no_steps(tmp_path, name):
    run = tmp_path / "run"
    save(run / name)
    with pytest.raises(CheckpointError, match=r"it tells no step.*as in step-100"):
        Checkpoint(run / name, run).step()


def test_what_is_inside_goes_before_the_name_of_the_run_and_after_all_other_names(tmp_path):
    run = tmp_path / "second-step-1"
    save(run / "last.ckpt", global_step=30)
    save(run / "step-20.ckpt", global_step=30)
    save(run / "final/lit_model.pth", step_count=40, iter_num=320)
    save(run / "nano/ckpt.pt", iter_num=50)
    save(run / "nothing.pt")
    found = {path.relative_to(run).as_posix(): step for path, step in steps(run).items()}
    assert found == {
        "last.ckpt": 30,
        "step-20.ckpt": 20,
        "final/lit_model.pth": 40,
        "nano/ckpt.pt": 50,
        "nothing.pt": 1,
    }


def test_a_folder_that_is_given_tells_the_step_of_what_it_holds(tmp_path):
    for step in (5, 10):
        save(tmp_path / f"step-{step}/lit_model.pth")
    found = steps(tmp_path / "step-5", tmp_path / "step-10/lit_model.pth")
    assert list(found.values()) == [10, 5] or list(found.values()) == [5, 10]


def test_files_that_lie_beside_weights_are_passed_over_unless_they_are_given(tmp_path):
    wanted = save_all(tmp_path, "step-1.ckpt", "deep/er/step-2.pt")
    save_all(tmp_path, "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin")
    save_all(tmp_path, ".hidden/step-3.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    save_all(tmp_path, "sampler.bin", "sampler_1.bin", "dl_state_dict.bin", "scaler.pt")
    save_all(tmp_path, "random_states_0.pt")
    (tmp_path / "hparams.yaml").write_text("a: 1")
    assert {c.path for c in find_checkpoints([tmp_path])} == wanted
    given = [tmp_path / "optimizer.pt"]
    assert [c.path for c in find_checkpoints(given)] == given


def test_sharded_folders_of_the_optimizer_are_passed_over_unless_they_are_given(tmp_path):
    """As transformers' Trainer with FSDP has them beside the weights."""
    for name in ("pytorch_model_fsdp_0", "optimizer_0"):
        (tmp_path / f"checkpoint-10/{name}").mkdir(parents=True)
        (tmp_path / f"checkpoint-10/{name}/.metadata").touch()
    weights, optimizer = tmp_path / "checkpoint-10/pytorch_model_fsdp_0", [*tmp_path.glob("*/op*")]
    assert steps(tmp_path) == steps(tmp_path / "checkpoint-10") == {weights: 10}
    assert [c.path for c in find_checkpoints(optimizer)] == optimizer


def test_a_folder_with_a_model_is_one_whatever_its_name(tmp_path):
    save_all(tmp_path, "optimizer-adam/pytorch_model.bin", "scheduler-cosine/step-1.pt")
    found = {c.path for c in find_checkpoints([tmp_path])}
    assert found == {tmp_path / "optimizer-adam", tmp_path / "scheduler-cosine/step-1.pt"}


def save_all(folder, *names):
    for name in names:
        save(folder / name)
    return {folder / name for name in names}


def test_a_folder_of_save_pretrained_is_one_checkpoint_and_may_hold_earlier_ones(tmp_path):
    save_all(tmp_path, "pytorch_model.bin", "optimizer.bin", "other.pt")
    save_all(tmp_path, "checkpoint-5/pytorch_model.bin", "checkpoint-5/global_step5/states.pt")
    found = {c.path for c in find_checkpoints([tmp_path])}
    assert found == {tmp_path, tmp_path / "checkpoint-5"}
    alone = tmp_path / "checkpoint-5"
    assert [c.path for c in find_checkpoints([alone])] == [alone]


def test_the_same_file_counts_once_by_its_own_name(tmp_path):
    save(tmp_path / "step-5.ckpt")
    (tmp_path / "a_link.ckpt").symlink_to("step-5.ckpt")
    paths = [tmp_path, tmp_path / "step-5.ckpt", tmp_path / "a_link.ckpt"]
    assert [c.path for c in find_checkpoints(paths)] == [tmp_path / "step-5.ckpt"]


def test_the_current_folder_can_be_given(tmp_path, monkeypatch):
    save(tmp_path / "step-5/model.pth")
    monkeypatch.chdir(tmp_path / "step-5")
    assert list(steps(Path()).values()) == [5]


def test_a_missing_path_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file or folder at '.*nothing'"):
        find_checkpoints([tmp_path / "nothing"])
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in '.*': expected files \*.ckpt"):
        find_checkpoints([tmp_path])
