"""Models on the Hub, from a real server on loopback: what is found, fetched and kept."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as as_safetensors

from lightning_semgeom import analyze
from lightning_semgeom.checkpoints.online import revisions
from lightning_semgeom.checkpoints.online.addresses import places_at
from lightning_semgeom.checkpoints.online.path import HubPath
from tests import models
from tests.checkpoints.files import Creates, head
from tests.hub import (
    BODY,
    ROWS,
    RUN,
    as_of_another_process,
    figures,
    fill,
    header_of,
    on_disk,
    steps_of,
    told_by,
    weights,
)


def test_revisions_that_tell_a_step_are_measured_as_folders_on_a_disk_are(hub, tmp_path):
    fill(hub)
    there = analyze(RUN, models.table())
    assert steps_of(there) == [0, 1, 2]
    assert figures(there) == figures(analyze(on_disk(tmp_path / "disk", (0, 1, 2)), models.table()))


@pytest.mark.parametrize(
    ("revision", "step"),
    [
        ("step1000-tokens4B", 1000),
        ("stage1-step101000-tokens424B", 101000),
        ("step_360", 360),
        ("stage1-step-40000", 40000),
        ("ckpt_358", 358),
        ("run/step-7", 7),
        ("global_step143000", 143000),
    ],
)
def test_names_of_published_revisions_tell_their_step(hub, revision, step):
    hub["org/run"].put(revision, weights(1))
    hub["org/run"].put("main", weights(2))
    hub["org/run"].put("experiment", weights(3))
    assert steps_of(analyze(RUN, models.table())) == [step]


def test_branches_and_tags_are_both_found_and_one_commit_once(hub):
    fill(hub, steps=(0, 1))
    hub["org/run"].put("step2", weights(2), tag=True)
    hub["org/run"].tags["v-step1"] = hub["org/run"].branches["step1"]
    assert [place.revision for place in places_at(RUN)] == ["step0", "step1", "step2"]
    assert steps_of(analyze(RUN, models.table())) == [0, 1, 2]


def test_of_each_step_the_header_and_the_rows_are_fetched_and_nothing_twice(hub, monkeypatch):
    fill(hub)
    analyze(RUN, models.table())
    header = header_of(weights(0)["model.safetensors"])
    assert 512 < header < len(weights(0)["model.safetensors"]) / 20
    assert hub.sent("large") == 3 * (header + ROWS)  # with the 8 bytes that tell its length
    assert hub.counts() == {"refs": 1, "tree": 3, "resolve": 9, "large": 9}
    hub.forget()
    as_of_another_process(monkeypatch)
    assert steps_of(analyze(RUN, models.table())) == [0, 1, 2]
    assert hub.counts() == {"refs": 1}


def test_files_that_are_equal_are_fetched_once_and_told(hub):
    for step in (0, 1, 2):
        files = weights(step // 2)  # steps 0 and 1 are one
        hub["org/run"].put(f"step{step}", {**files, "README.md": b"%d" % step})
    history, told = told_by(RUN, models.table())
    assert len(set(hub["org/run"].branches.values())) == 3
    assert steps_of(history) == [0, 1, 2]
    assert any("steps 0 and 1 have bit-identical weights" in line for line in told)
    assert hub.sent("large") == 2 * (header_of(files["model.safetensors"]) + ROWS)


def index_of(places, suffix="safetensors"):
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    return {f"{stem}.{suffix}.index.json": json.dumps({"weight_map": places}).encode()}


def test_of_an_index_only_the_shard_with_the_head_is_fetched(hub):
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    files = {
        **index_of({**dict.fromkeys(BODY, first), "lm_head.weight": second}),
        first: as_safetensors(BODY),
        second: as_safetensors({"lm_head.weight": head(3), "pad": torch.zeros(999)}),
    }
    hub["org/run"].put("step3", files)
    assert steps_of(analyze(RUN, models.table())) == [3]
    assert not [one for one in hub.asked if first in one.path]
    assert hub.sent("large") <= 512 + ROWS
    named = analyze(RUN, models.table().first(9), tensor="layers.3")
    assert steps_of(named) == [3]
    assert [one for one in hub.asked if first in one.path]


def test_where_the_head_is_tied_all_headers_of_an_index_are_looked_at(hub):
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    places = {**dict.fromkeys(BODY, second), "embed_tokens.weight": first}
    files = {
        **index_of(places),
        first: as_safetensors({"embed_tokens.weight": head(3)}),
        second: as_safetensors(BODY),
    }
    hub["org/run"].put("step3", files)
    assert steps_of(analyze(RUN, models.table())) == [3]
    assert hub.sent("large") <= 512 + ROWS + header_of(files[second])


def as_torch(tensors, folder):
    torch.save(tensors, folder / "saved")
    return (folder / "saved").read_bytes()


def test_of_a_file_of_torch_save_the_pickle_and_the_rows_are_fetched(hub, tmp_path):
    tall = {"lm_head.weight": head(5, 4000), **{f"b{i}": torch.randn(300, 300) for i in range(4)}}
    data = as_torch(tall, tmp_path)
    hub["org/run"].put("step5", {"pytorch_model.bin": data})
    there = analyze(RUN, models.table())
    rows = tall["lm_head.weight"][: models.TOKENS].clone()
    (tmp_path / "step5.pt").write_bytes(as_torch({"lm_head.weight": rows}, tmp_path))
    assert figures(there) == figures(analyze(tmp_path / "step5.pt", models.table()))
    assert hub.sent("large") < ROWS + 3 * (1 << 16) < len(data) / 6


def test_globs_choose_revisions(hub):
    fill(hub, steps=(0, 1, 10, 11, 20))
    assert steps_of(analyze(f"{RUN}@step1*", models.table())) == [1, 10, 11]
    with pytest.raises(FileNotFoundError, match="no revision of 'org/run' is called like 'ckpt"):
        analyze(f"{RUN}@ckpt*", models.table())


def test_one_repository_a_step_is_found_by_a_glob_of_names(hub):
    for step, name in ((20_000, "20k"), (40_000, "40k")):
        hub[f"org/bert-seed_0-step_{name}"].put("main", weights(step))
    hub["org/bert-seed_1-step_20k"].put("main", weights(7))
    hub["org/bert-seed_0-final"].put("main", weights(8))
    history = analyze("hf://org/bert-seed_0-step_*", models.table())
    assert steps_of(history) == [20_000, 40_000]
    assert hub.counts()["models"] == 1
    assert hub.counts()["revision"] == 0  # the list has their commits
    with pytest.raises(FileNotFoundError, match="no model on the Hub is called like 'org/x-"):
        analyze("hf://org/x-*", models.table())


def test_one_revision_is_measured_alone(hub):
    fill(hub)
    assert steps_of(analyze(f"{RUN}@step1", models.table())) == [1]
    commit = hub["org/run"].branches["step2"]
    assert steps_of(analyze(f"{RUN}@{commit}", models.table(), step_of={f"run@{commit}": 9})) == [9]


def test_a_model_without_an_owner_is_found(hub):
    hub["gpt2"].put("main", weights(1))
    hub["gpt2"].put("step3", weights(3))
    assert steps_of(analyze("hf://gpt2", models.table())) == [3]
    assert steps_of(analyze("hf://gpt2@step3", models.table())) == [3]
    with pytest.raises(ValueError, match="hf://gpt3: its revisions: there is no such repository"):
        analyze("hf://gpt3", models.table())


def test_checkpoints_in_folders_of_a_repository_are_found_there(hub):
    files = {f"out/checkpoint-{step}/{name}": data
             for step in (5, 6) for name, data in weights(step).items()}  # fmt: skip
    hub["org/run"].put("main", files)
    assert steps_of(analyze(RUN, models.table())) == [5, 6]
    assert steps_of(analyze(f"{RUN}/out/checkpoint-6", models.table())) == [6]


def test_long_lists_of_files_are_read_page_by_page(hub):
    hub.page = 2
    files = {f"a{number}.txt": b"" for number in range(5)}
    hub["org/run"].put("step1", {**files, **weights(1)})
    assert steps_of(analyze(RUN, models.table())) == [1]
    assert hub.counts()["tree"] == 4


def test_steps_are_chosen_before_anything_of_others_is_asked(hub):
    fill(hub, steps=(0, 1, 2, 4, 8, 16))
    history, told = told_by(RUN, models.table(), steps="0:2,3,8")
    assert steps_of(history) == [0, 1, 2, 8]
    assert told == ["step 3 is not there; the nearest to 3 is 2."]
    assert hub.counts()["tree"] == 4


def test_a_finished_analysis_in_a_folder_is_done_again_for_a_changed_revision_alone(hub, tmp_path):
    fill(hub)
    folder = tmp_path / "out"
    analyze(RUN, models.table(), folder=folder)
    hub["org/run"].put("step2", weights(7))
    revisions._answers.clear()
    hub.forget()
    assert steps_of(analyze(RUN, models.table(), folder=folder)) == [0, 1, 2]
    assert hub.counts() == {"refs": 1, "tree": 1, "resolve": 3, "large": 3}


def test_addresses_name_repository_revision_and_what_is_inside():
    place = HubPath.at("org/name", "refs/pr/1", "a", "b.pt")
    assert str(place) == "hf://org/name@refs%2Fpr%2F1/a/b.pt"
    assert (place.repository, place.revision, place.inside) == ("org/name", "refs/pr/1", "a/b.pt")
    assert HubPath.at("gpt2") == HubPath("gpt2@main")
    for address in ("hf://org/name@refs/pr/1/a/b.pt", Path("hf://org/name@refs%2Fpr%2F1/a/b.pt")):
        assert places_at(address) == [place]


def test_hidden_states_take_the_whole_of_each_model(hub, tmp_path):
    for step in (0, 1):
        files = {"model.safetensors": as_safetensors(models.TinyModel(step).state_dict())}
        hub["org/run"].put(f"step{step}", files)
        (tmp_path / f"step{step}.safetensors").write_bytes(files["model.safetensors"])
    asked = {"build": models.TinyModel, "hidden": "body", "data": [*models.batches(2)]}
    there = analyze(RUN, models.table(), **asked)
    assert figures(there) == figures(analyze(tmp_path, models.table(), **asked))
    assert hub.sent("large") == 2 * len(files["model.safetensors"])


def test_a_file_of_before_torch_1_6_is_fetched_whole_and_dropped(hub, tmp_path, monkeypatch):
    large = {"body": torch.randn(300, 300), "lm_head.weight": head(5, 2000)}
    torch.save(large, tmp_path / "old", _use_new_zipfile_serialization=False)
    data = (tmp_path / "old").read_bytes()
    hub["org/run"].put("step5", {"pytorch_model.bin": data})
    first = analyze(RUN, models.table())
    assert hub.sent("large") == len(data)
    torch.save(large, tmp_path / "step5.pt")
    assert figures(first) == figures(analyze(tmp_path / "step5.pt", models.table()))
    files = [file for file in (tmp_path / "assets").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < len(data) / 50
    hub.forget()
    as_of_another_process(monkeypatch)
    assert figures(analyze(RUN, models.table())) == figures(first)
    assert hub.counts() == {"refs": 1}
    assert steps_of(analyze(RUN, models.table(), tensor="body")) == [5]
    assert hub.sent("large") == len(data) - 512


def test_a_file_of_before_torch_1_6_that_could_run_code_is_not_read(hub, tmp_path):
    dangerous = {"lm_head.weight": head(5), "x": Creates(tmp_path / "ran")}
    torch.save(dangerous, tmp_path / "old", _use_new_zipfile_serialization=False)
    hub["org/run"].put("step5", {"pytorch_model.bin": (tmp_path / "old").read_bytes()})
    with pytest.raises(ValueError, match="it is not read, since reading it could run code"):
        analyze(RUN, models.table())
    assert not (tmp_path / "ran").exists()
