"""A Hub that is slow, full, cut off or closed: what is tried again, what is told, what goes on."""

import json
import re
import socket
import time

import huggingface_hub
import pytest

from lightning_semgeom import analyze
from lightning_semgeom.checkpoints.online import asking, kept, revisions
from tests import models
from tests.hub import (
    ROWS,
    RUN,
    as_of_another_process,
    fill,
    header_of,
    steps_of,
    told_by,
    weights,
)


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


def test_a_long_wait_is_told(hub, monkeypatch, capsys):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    fill(hub, steps=(0,))
    hub.faults["GET *refs*"] = [(429, {"Retry-After": "9999"})]
    analyze(RUN, models.table())
    assert waited == [320]
    assert "The Hub asks to wait for 320 s." in capsys.readouterr().err


def test_the_offline_mode_of_huggingface_hub_is_kept_to_and_told(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="its revisions: HF_HUB_OFFLINE is set"):
        analyze(RUN, models.table())
    assert not hub.asked


def test_a_shard_that_is_not_there_is_told_with_what_is(hub):
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
    files = {"model.safetensors.index.json": json.dumps(index).encode(), **weights(1)}
    files["other.safetensors"] = files.pop("model.safetensors")
    hub["org/run"].put("step1", files)
    with pytest.raises(ValueError, match=r"which is not there; there is 'other\.safetensors'"):
        analyze(RUN, models.table())


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
    with pytest.raises(
        ValueError, match=r"'model.safetensors': it is gated: ask for access on its"
    ):
        analyze("hf://org/run@main", models.table(), step_of={"run": 1})


def test_a_server_that_is_not_there_is_told_and_others_are_not_waited_for_as_long(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="no answer from the Hub, 5 times in a row"):
        analyze(RUN, models.table())
    with pytest.raises(ValueError, match="its revisions: no answer from the Hub \\("):
        analyze("hf://other", models.table())  # once


@pytest.mark.parametrize("address", [RUN, "hf://org/run-*", f"{RUN}@main"])
def test_a_server_that_never_answers_is_not_waited_for_for_ever(hub, monkeypatch, address):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        with pytest.raises((ValueError, OSError), match="no answer from the Hub"):
            analyze(address, models.table(), step_of={"run": 1} if "@" in address else None)


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


def test_a_place_that_cannot_be_written_costs_what_is_kept_and_no_figure(hub, tmp_path):
    (tmp_path / "assets").write_text("a file")
    fill(hub)
    history, told = told_by(RUN, models.table())
    assert steps_of(history) == [0, 1, 2]
    assert told
    assert all("what is fetched from the Hub cannot be kept: [Errno" in line for line in told)
