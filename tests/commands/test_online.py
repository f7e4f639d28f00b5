"""The command on models of the Hub, from a real server on loopback."""

import os
import subprocess
import sys

import huggingface_hub
import pytest
import torch
from safetensors.torch import save as as_safetensors

from lightning_semgeom import History
from lightning_semgeom.commands.cli import main
from tests.attributes import vocabularies
from tests.checkpoints.files import save_colours
from tests.commands.test_hidden import BYTES, PROSE, saved
from tests.hub import RUN, fill, header_of, weights

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s", "ran", "cat"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Where the command writes."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    save_colours(tmp_path / "here/colours.csv")
    return tmp_path / "here"


def pythia(step, tokenizer):
    """A revision as those of Pythia: an untied head that is padded, and the tokenizer."""
    torch.manual_seed(step)
    rows = tokenizer.get_vocab_size() + 20
    layers = {f"gpt_neox.layers.{i}.weight": torch.randn(50, 50) for i in range(12)}
    two = {name: torch.randn(rows, 16) for name in ("embed_out.weight", "gpt_neox.embed_in.weight")}
    return {
        "model.safetensors": as_safetensors({**two, **layers}),
        "config.json": b'{"tie_word_embeddings": false}',
        "tokenizer.json": tokenizer.to_str().encode(),
    }


def fill_pythia(hub, steps):
    tokenizer = vocabularies.byte_level()
    for step in steps:
        hub["org/pythia"].put(f"step{step}", pythia(step, tokenizer))
    hub["org/pythia"].put("main", pythia(99, tokenizer))
    return tokenizer.get_vocab_size() * 16 * 4


@pytest.mark.processes
def test_one_command_measures_a_private_suite_and_fetches_the_rows_alone(hub, tmp_path, here):
    rows = fill_pythia(hub, (0, 1, 2, 4, 8))
    hub.token = "hf_" + "abcdefgh" * 4
    hub["org/pythia"].private = True
    ours = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": hub.token}
    # An interpreter of its own: huggingface_hub reads the environment as it is imported.
    command = "-m lightning_semgeom.commands.cli analyze hf://org/pythia --attributes surface"
    done = subprocess.run(
        [sys.executable, *command.split(), "--steps", "0:2,8"],
        cwd=here, env={**os.environ, **ours}, capture_output=True, text=True, check=False,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "lightning-semgeom: the tokenizer is that of hf://org/pythia@step8\n" in done.stderr
    assert "Pictures and histories of 4 checkpoints: semgeom_analysis" in done.stdout
    history = History.load(here / "semgeom_analysis/semgeom")
    assert [record.step for record in history] == [0, 1, 2, 8]
    header = header_of(pythia(0, vocabularies.byte_level())["model.safetensors"])
    assert hub.sent("large") == 4 * (header + rows)
    assert {one.token for one in hub.asked if one.kind == "large"} == {None}
    assert hub.token not in done.stdout + done.stderr
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and hub.token in _text(p)]


def _text(path):
    return path.read_bytes().decode(errors="replace")


def test_a_revision_that_is_gone_is_one_line_and_the_exit_status_1(hub, capsys):
    fill(hub, steps=(0, 1, 2))
    del hub["org/run"].commits[hub["org/run"].branches["step1"]]
    assert main(["analyze", RUN, "--attributes", "colours.csv"]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        f"lightning-semgeom: {RUN}@step1: its list of files: there is no such revision."
    ]
    assert "histories of 2 checkpoints" in told.out


def test_a_model_at_a_revision_is_looked_at_alone(hub, capsys, here):
    fill(hub)
    for address in (f"{RUN}@main", f"{RUN}@v1"):
        hub["org/run"].put("v1", weights(5))
        assert main(["analyze", address, "--attributes", "colours.csv"]) == 0
        assert "does not stand out from chance" in capsys.readouterr().out
    assert (here / "semgeom_analysis/run@v1/semgeom/history.jsonl").is_file()


def test_models_of_two_repositories_are_looked_at_side_by_side(hub, capsys):
    for name in ("org/small", "org/large"):
        hub[name].put("main", weights(len(name)))
    addresses = ["hf://org/small", "hf://org/large"]
    assert main(["analyze", *addresses, "--attributes", "colours.csv"]) == 0
    assert "semgeom_analysis/large, semgeom_analysis/small" in capsys.readouterr().out
    assert main(["analyze", addresses[0], "--attributes", "colours.csv", "--steps", "3"]) == 2
    assert "--steps 3: 'hf://org/small' tells no step" in capsys.readouterr().err


def test_stages_that_count_anew_are_runs_of_their_own(hub, capsys, here):
    for name in ("stage1-step1000-tokens2B", "stage1-step2000-tokens4B", "stage2-step1000"):
        hub["org/run"].put(name, weights(len(name)))
    assert main(["analyze", RUN, "--attributes", "colours.csv"]) == 0
    assert (here / "semgeom_analysis/stage1/semgeom/history.jsonl").is_file()
    assert (here / "semgeom_analysis/stage2/semgeom/history.jsonl").is_file()


def test_the_tokenizer_of_another_revision_stands_in_for_one_that_cannot_be_had(hub, capsys):
    fill_pythia(hub, (0, 1))
    last = hub["org/pythia"].branches["step1"]
    hub.faults[f"GET *resolve/{last}/tokenizer.json"] = [403]
    assert main(["analyze", "hf://org/pythia", "--attributes", "surface"]) == 0
    assert "the tokenizer is that of hf://org/pythia@step0" in capsys.readouterr().err
    hub.faults["GET *tokenizer.json"] = [403] * 9
    hub["org/other"].put("step1", pythia(1, vocabularies.sentence_piece()))
    assert main(["analyze", "hf://org/other", "--attributes", "surface"]) == 2
    assert "no tokenizer from hf://org/other@step1: 'tokenizer.json': access is" in (
        capsys.readouterr().err
    )


def test_a_tokenizer_of_another_repository_can_be_named(hub, capsys):
    fill_pythia(hub, (0, 1))
    hub["org/words"].put(
        "main", {"words/tokenizer.json": vocabularies.word_piece().to_str().encode()}
    )
    command = ["analyze", "hf://org/pythia", "--attributes", "surface", "--tokenizer"]
    assert main([*command, "hf://org/words/words", "--min-count", "1"]) == 0
    assert not capsys.readouterr().err.count("the tokenizer is that of")
    assert main([*command, "hf://org/words"]) == 2
    assert "no tokenizer at 'hf://org/words/tokenizer.json'" in capsys.readouterr().err


def test_without_a_tokenizer_that_is_told_where_one_is_needed(hub, capsys):
    fill(hub)
    assert main(["analyze", RUN, "--attributes", "surface"]) == 2
    assert f"there is no tokenizer in {RUN}@step2: no 'tokenizer.json'" in capsys.readouterr().err
    hub["org/bad"].put("step1", {**weights(1), "tokenizer.json": b"{}"})
    assert main(["analyze", "hf://org/bad", "--attributes", "surface"]) == 2
    assert "'hf://org/bad@step1/tokenizer.json' cannot be read as a tok" in capsys.readouterr().err


def test_transformers_makes_the_tokenizer_where_there_is_a_vocabulary_alone(
    hub, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for step in ("20k", "40k"):
        torch.save({"cls.predictions.decoder.weight": torch.randn(len(WORDS), 4)}, "saved")
        hub[f"org/bert-step_{step}"].put("main", {
            "pytorch_model.bin": (tmp_path / "here/saved").read_bytes(),
            "vocab.txt": "\n".join(WORDS).encode(),
            "config.json": b'{"model_type": "bert"}',
        })  # fmt: skip
    command = ["analyze", "hf://org/bert-step_*", "--attributes", "surface", "--min-count", "1"]
    assert main(command) == 0
    assert "the tokenizer is that of hf://org/bert-step_40k" in capsys.readouterr().err
    whole = [one for one in hub.asked if ".bin" in one.path and one.range is None]
    assert not whole
    assert [one for one in hub.asked if "vocab.txt" in one.path]
    assert [record.step for record in History.load("semgeom_analysis/semgeom")] == [20_000, 40_000]


@pytest.mark.filterwarnings("ignore:snapshot. figures of hidden")
def test_a_text_goes_through_models_of_the_hub_as_through_folders(hub, here, capsys):
    saved(here / "run")
    (here / "prose.txt").write_text(PROSE)
    for folder in (here / "run").iterdir():
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        files["tokenizer.json"] = BYTES.to_str().encode()
        hub["org/gpt"].put(folder.name, files)
    (here / "tokenizer.json").write_text(BYTES.to_str())
    text = ["--attributes", "surface", "--text", "prose.txt", "--context", "8"]
    assert main(["analyze", "hf://org/gpt", *text, "--out", "there"]) == 0
    assert main(["analyze", "run", "--tokenizer", "tokenizer.json", *text, "--out", "disk"]) == 0
    there, disk = (History.load(here / name / "semgeom") for name in ("there", "disk"))
    assert [record.step for record in there] == [0, 5]
    assert any(site.startswith("hidden.") for site in there.sites)
    assert repr([dict(one.values) for one in there]) == repr([dict(one.values) for one in disk])


def test_steps_and_addresses_that_are_none_are_told_before_the_hub_is_asked(hub, capsys):
    for arguments, message in (
        ([RUN, "--steps", "a:b"], "steps: 'a:b' in 'a:b' is no step and no range"),
        (["hf://datasets/org/name"], "'hf://datasets/org/name' is no model"),
        ([RUN, "--out", "hf://org/results"], "--out: 'hf://org/results' is on the Hub, where"),
    ):
        assert main(["analyze", *arguments, "--attributes", "colours.csv"]) == 2
        assert message in capsys.readouterr().err
    assert not hub.asked
