"""The cache of the Hugging Face Hub: its steps are names in refs, its folders hashes."""

import os

import pytest
import torch
from safetensors.torch import save_file

from lightning_semgeom import analyze
from lightning_semgeom.checkpoints.runs import find_checkpoints
from tests import models
from tests.checkpoints.files import figures, head

STEPS = {"step0": 0, "step-1000": 1000, "stage1-step2000-tokens4B": 2000, "runs/a/step3000": 3000}


def add(repository, number, *refs, file="model.safetensors", blob=None):
    """A revision as the Hub's client leaves it; answers with its snapshot."""
    commit = f"{number:040x}"
    blob = repository / "blobs" / (blob or f"b{number}")
    blob.parent.mkdir(parents=True, exist_ok=True)
    if file.endswith(".safetensors"):
        save_file({"embed_out.weight": head(number)}, blob)
    else:
        torch.save({"embed_out.weight": head(number)}, blob)
    link = repository / "snapshots" / commit / file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    for ref in refs:
        (repository / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (repository / "refs" / ref).write_text(commit)
    return repository / "snapshots" / commit


@pytest.fixture
def cache(tmp_path):
    repository = tmp_path / "hub/models--org--model"
    for number, ref in enumerate(STEPS):
        add(repository, number, ref)
    for beside in (".no_exist/0/step-7.pt", "refs/refs/pr/1"):
        (repository / beside).parent.mkdir(parents=True, exist_ok=True)
        (repository / beside).write_text("none")
    (tmp_path / "hub/.locks/models--org--model").mkdir(parents=True)
    (tmp_path / "hub/.locks/models--org--model/step-8.pt").touch()
    return repository


@pytest.mark.parametrize(
    "given", ["hub", "hub/models--org--model", "hub/models--org--model/snapshots"]
)
def test_steps_are_the_names_of_revisions(tmp_path, cache, given):
    history = analyze(tmp_path / given, models.table())
    assert [record.step for record in history] == list(STEPS.values())
    for number, record in enumerate(history):
        expected = figures(head(number))
        assert {k: record.values[k] for k in expected} == pytest.approx(expected, nan_ok=True)


def test_snapshots_can_be_given_alone_and_their_files(cache):
    (one, two, *_) = sorted((cache / "snapshots").iterdir())
    found = find_checkpoints([two, one / "model.safetensors"])
    assert sorted(checkpoint.step() for checkpoint in found) == [0, 1000]


def test_a_cache_in_a_folder_of_another_step_has_its_own(tmp_path, cache):
    (tmp_path / "step-5").mkdir()
    cache.rename(tmp_path / "step-5/models--org--model")
    found = [record.step for record in analyze(tmp_path, models.table())]
    assert found == list(STEPS.values())


@pytest.mark.parametrize("file", ["lit_model.pth", "model.safetensors", "weights/deep.safetensors"])
def test_steps_with_one_blob_are_no_duplicates(tmp_path, file):
    repository = tmp_path / "models--org--model"
    for number, step in enumerate((0, 1)):
        add(repository, number, f"step{step}", file=file, blob="same")
    for path in (repository, repository / "snapshots"):
        with pytest.warns(UserWarning, match="steps 0 and 1 have bit-identical weights"):
            assert [record.step for record in analyze(path, models.table())] == [0, 1]


def test_one_commit_of_two_steps_is_both_and_a_name_without_a_step_does_not_count(tmp_path):
    add(tmp_path / "models--org--model", 3, "main", "step512", "step1000", "v1/step-1000")
    with pytest.warns(UserWarning, match="steps 512 and 1000 have bit-identical weights"):
        assert [record.step for record in analyze(tmp_path, models.table())] == [512, 1000]


def test_shards_in_a_snapshot_are_one_checkpoint(tmp_path):
    repository = tmp_path / "models--org--model"
    for number in (1, 2):
        name = f"model-0000{number}-of-00002.safetensors"
        snapshot = add(repository, 5, "step5", file=name, blob=name)
    save_file({"model.embed_tokens.weight": head(1)}, repository / "blobs" / name)
    (found,) = find_checkpoints([repository])
    assert found.step() == 5
    assert found.path == snapshot / "model-*-of-00002.safetensors"
    assert set(found.open().shapes) == {"embed_out.weight", "model.embed_tokens.weight"}


def test_a_snapshot_that_tells_no_step_says_how_it_would(tmp_path):
    add(tmp_path / "models--org--model", 1, "step10")
    add(tmp_path / "models--org--model", 2, "main")
    add(tmp_path / "models--org--model", 3)
    with pytest.warns(UserWarning, match="it is a snapshot in the Hub's cache") as told:
        assert [record.step for record in analyze(tmp_path, models.table())] == [10]
    named, unnamed = (str(warning.message) for warning in told)
    assert f"{2:040x} (main): " in named
    assert "its name in refs, 'main', tells no step. Download" in named
    assert "no file in refs names it. Download it by the branch of its step, as in" in unnamed


def test_a_step_without_weights_is_told(tmp_path, cache):
    (cache / "snapshots" / f"{1:040x}" / "model.safetensors").unlink()
    (cache / "blobs/b9.incomplete").touch()
    (cache / "refs/step9").write_text("9" * 40)
    with pytest.warns(UserWarning, match=r"\(step.*\): the Hub's cache has no weights") as told:
        assert [record.step for record in analyze(cache, models.table())] == [0, 2000, 3000]
    assert len(told) == 2
    assert "(1 unfinished downloads lie in its blobs)" in str(told[0].message)


def test_blobs_that_were_removed_are_told(cache):
    (cache / "blobs/b1").unlink()
    with pytest.warns(UserWarning, match=r"\(step-1000\): it is a link to .*b1', which is not"):
        assert len(analyze(cache, models.table())) == 3


def test_of_several_models_one_is_to_be_given(tmp_path, cache):
    add(tmp_path / "hub/models--org--other", 1, "step0")
    message = f"cache of 2 models: models--org--model, models--org--other. .*, as in '{cache}'"
    for given in ("hub", "."):
        with pytest.raises(ValueError, match=message):
            analyze(tmp_path / given, models.table())
    # One that has no weights is no second one.
    (tmp_path / "hub/models--org--other/snapshots" / f"{1:040x}" / "model.safetensors").unlink()
    (tmp_path / "hub/models--org--other/refs/step0").unlink()
    assert len(analyze(tmp_path / "hub", models.table())) == 4


def test_models_that_are_steps_of_one_run_go_together(tmp_path):
    for step in (100, 200):
        add(tmp_path / f"hub/models--org--run-step_{step}", step, "main")
    assert [r.step for r in analyze(tmp_path / "hub", models.table())] == [100, 200]


def test_two_branches_of_one_step_are_named_where_they_differ(tmp_path):
    repository = tmp_path / "models--org--model"
    add(repository, 1, "first-step10")
    add(repository, 2, "second-step10")
    with pytest.raises(ValueError, match=r"\(first-step10\)' and '.*\(second-step10\)' differ"):
        analyze(repository, models.table())
