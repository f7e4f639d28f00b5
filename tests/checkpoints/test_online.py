"""Models on the Hub, from a real server on loopback: what is listed, fetched, kept, and told."""

import json
import re
import time
import warnings
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.utils import _cache_assets
from safetensors.torch import save as as_safetensors

from lightning_semgeom import analyze
from lightning_semgeom.checkpoints.online import asking, kept, revisions
from lightning_semgeom.checkpoints.online.addresses import places_at
from lightning_semgeom.checkpoints.online.path import HubPath
from tests import models
from tests.checkpoints.files import head
from tests.checkpoints.hub_server import HubServer

ROWS = models.TOKENS * models.WIDTH * 4
BODY = {f"layers.{i}.weight": torch.randn(60, 60) for i in range(12)}  # a header of a kilobyte
RUN = "hf://org/run"


@pytest.fixture(scope="module")
def running():
    server = HubServer()
    yield server
    server.close()


@pytest.fixture
def hub(running, tmp_path, monkeypatch):
    """An empty Hub, nothing of which is kept yet."""
    running.repositories.clear()
    running.faults.clear()
    running.token, running.page = None, 1000
    running.forget()
    constants = huggingface_hub.constants
    template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.01)
    as_of_another_process(monkeypatch)
    return running


def as_of_another_process(monkeypatch):
    """Nothing is known but what lies on disk."""
    monkeypatch.setattr(revisions, "_answers", {})
    monkeypatch.setattr(revisions, "_trees", {})


def model(step, **more):
    return {"lm_head.weight": head(step), **BODY, **more}


def weights(step, **more):
    return {"model.safetensors": as_safetensors(model(step, **more))}


def fill(hub, name="org/run", steps=(0, 1, 2), main=True):
    for step in steps:
        hub[name].put(f"step{step}", weights(step))
    if main:
        hub[name].put("main", weights(99))


def on_disk(folder, steps):
    for step in steps:
        (folder / f"step{step}").mkdir(parents=True)
        (folder / f"step{step}/model.safetensors").write_bytes(weights(step)["model.safetensors"])
    return folder


def steps_of(history):
    return [record.step for record in history]


def figures(history):
    return repr([(record.step, dict(record.values)) for record in history])


def header_of(data):
    return 8 + int.from_bytes(data[:8], "little")


def told_by(*arguments, **named):
    """The history, and the lines of what was wrong."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        history = analyze(*arguments, **named)
    return history, [str(warning.message) for warning in told]


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


def test_a_connection_that_is_cut_is_tried_again_from_the_piece_that_was_cut(hub, monkeypatch):
    monkeypatch.setattr(kept, "PIECE", 200)
    fill(hub, steps=(0,))
    hub.faults[f"GET /{'[0-9a-f]' * 64}"] = [None, None, None, None, "cut", "cut"]
    assert steps_of(analyze(RUN, models.table())) == [0]
    header = header_of(weights(0)["model.safetensors"])
    assert hub.sent("large") == header + ROWS + 200  # two halves of one piece
    pieces = sum(-(-size // 200) for size in (512, header - 512, ROWS))
    assert hub.counts()["large"] == pieces + 2


def test_what_was_interrupted_goes_on_without_what_it_has(hub, monkeypatch):
    monkeypatch.setattr(kept, "PIECE", 200)
    fill(hub)
    hub.faults[f"GET /{'[0-9a-f]' * 64}"] = [*[None] * 10, *[503] * 99]
    history, told = told_by(RUN, models.table())
    assert steps_of(history) == [0]
    assert len(told) == 2
    assert all("the Hub answers with status 503, 5 times in a row." in line for line in told)
    hub.faults.clear()
    as_of_another_process(monkeypatch)
    assert steps_of(analyze(RUN, models.table())) == [0, 1, 2]
    assert hub.sent("large") == 3 * (header_of(weights(0)["model.safetensors"]) + ROWS)


def test_a_limit_of_the_rate_is_waited_for_as_long_as_the_hub_says(hub, monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    fill(hub, steps=(0, 1))
    window = {"RateLimit": '"api";r=0;t=7', "RateLimit-Policy": '"fixed window";"api";q=1;w=300'}
    hub.faults["GET *refs*"] = [(429, {"Retry-After": "3"}), (429, window)]
    hub.faults["GET *resolve*"] = [(429, {"Retry-After": "2"})]
    assert steps_of(analyze(RUN, models.table())) == [0, 1]
    assert waited == [3, 8, 2]


def test_each_revision_that_cannot_be_had_is_one_line_and_the_rest_goes_on(hub):
    fill(hub, steps=(0, 1, 2, 3))
    hub["org/run"].put("step4", {"README.md": b"no weights", "logs/x.txt": b""})
    hub["org/run"].put("step5", {"model.safetensors": weights(5)["model.safetensors"][:-9]})
    gone = hub["org/run"].branches["step1"]
    del hub["org/run"].commits[gone]
    trees = {name: hub["org/run"].branches[name] for name in ("step2", "step3")}
    hub.faults[f"GET *tree/{trees['step2']}*"] = [(429, {"Retry-After": "0"})] * 5
    hub.faults[f"GET *resolve/{trees['step3']}*"] = [403]
    history, told = told_by([RUN, "hf://org/nowhere", "hf://org/run@step77"], models.table())
    assert steps_of(history) == [0]
    assert {line.partition(": ")[0]: line.partition(": ")[2] for line in told} == {
        "hf://org/nowhere": "its revisions: there is no such repository, or it is private: check "
        "its name, or log in with `hf auth login`, or set HF_TOKEN.",
        f"{RUN}@step1": "its list of files: there is no such revision.",
        f"{RUN}@step2": "its list of files: the Hub limits the rate of requests, 5 times in a row. "
        "Call it again later: what was fetched is kept.",
        f"{RUN}@step3": "'model.safetensors': access is refused (403): log in with `hf auth "
        "login`, or set HF_TOKEN.",
        f"{RUN}@step4": "it has no weights that are known: expected model.safetensors, "
        "pytorch_model.bin, or an index of several; it has 'README.md', 'logs'.",
        f"{RUN}@step5": f"it is cut or no safetensors file (it has "
        f"{len(weights(5)['model.safetensors']) - 9} of {len(weights(5)['model.safetensors'])} "
        "bytes).",
        f"{RUN}@step77": "its revision 'step77': there is no such revision.",
    }
    assert all("\n" not in line for line in told)


def test_where_nothing_can_be_had_that_is_the_error(hub):
    with pytest.raises(ValueError, match="hf://org/none: its revisions: there is no such repo"):
        analyze("hf://org/none", models.table())
    hub["org/run"].put("main", weights(1))
    hub["org/run"].gated = True
    with pytest.raises(ValueError, match="'model.safetensors': it is gated: ask for access on its"):
        analyze("hf://org/run@main", models.table(), step_of={"run": 1})


def test_a_server_that_is_not_there_is_told(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="no answer from the Hub, 5 times in a row"):
        analyze(RUN, models.table())


def test_a_token_opens_what_is_private_and_goes_nowhere_else(hub, tmp_path, capfd):
    token = "hf_" + "abcdefgh" * 4
    fill(hub)
    hub["org/run"].private = hub["org/run"].gated = True
    hub.token = token
    with pytest.raises(ValueError, match="or it is private"):
        analyze(RUN, models.table())
    (tmp_path / "token").write_text(token)
    revisions._answers.clear()
    hub.faults["GET *tree*"] = [(403, {"X-Error-Message": f"not with {token}"})]
    hub.forget()
    history, told = told_by(RUN, models.table(), folder=tmp_path / "out")
    assert steps_of(history) == [1, 2]
    assert len(told) == 1
    own = {one.token for one in hub.asked if one.kind != "large"}
    assert own == {f"Bearer {token}"}
    assert {one.token for one in hub.asked if one.kind == "large"} == {None}
    (tmp_path / "token").unlink()
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 8
    assert not any(token.encode() in data for data in written)
    assert token not in "".join([*told, *capfd.readouterr()])


def test_what_a_client_says_is_told_without_the_token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fault = ValueError("Illegal header value b'Bearer hf_secret'\nand more")
    assert asking.without_token(fault) == "Illegal header value b'Bearer ***'"


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


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://datasets/org/name", "is no model; expected hf://org/name"),
        ("hf://org/name@", "is no address on the Hub"),
        ("hf://*/name", "leaves the owner open"),
    ],
)
def test_an_address_that_is_none_is_told(hub, address, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        analyze(address, models.table())
    assert not hub.asked


def test_addresses_name_repository_revision_and_what_is_inside():
    place = HubPath.at("org/name", "refs/pr/1", "a", "b.pt")
    assert str(place) == "hf://org/name@refs%2Fpr%2F1/a/b.pt"
    assert (place.repository, place.revision, place.inside) == ("org/name", "refs/pr/1", "a/b.pt")
    assert HubPath.at("gpt2") == HubPath("gpt2@main")
    for address in ("hf://org/name@refs/pr/1/a/b.pt", Path("hf://org/name@refs%2Fpr%2F1/a/b.pt")):
        assert places_at(address) == [place]


def test_a_place_that_cannot_be_written_costs_what_is_kept_and_no_figure(hub, monkeypatch):
    fill(hub)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    history, told = told_by(RUN, models.table())
    assert steps_of(history) == [0, 1, 2]
    assert {*told} == {"what is fetched from the Hub cannot be kept: no space left"}
