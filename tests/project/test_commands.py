"""The commands of each page: ours run on what is small, the others name what there is."""

import re
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lightning_semgeom import History, SemanticGeometry
from lightning_semgeom.commands.cli import main
from tests import models
from tests.attributes import vocabularies
from tests.checkpoints.files import save
from tests.commands.test_online import pythia
from tests.hub import hub, hub_server
from tests.project.given import STEPS, vocabulary
from tests.project.pages import PAGES, commands_of, text_of

__all__ = ["hub", "hub_server"]
BYTES = vocabularies.byte_level()


def run_with_its_tokenizer(hub):
    """`runs/gpt`, whose heads have a row for each token."""
    for step in STEPS[:4]:
        torch.manual_seed(step)
        save(Path(f"runs/gpt/step={step}.ckpt"), torch.randn(BYTES.get_vocab_size(), 8))
    BYTES.save("runs/gpt/tokenizer.json")


def suite_on_the_hub(hub):
    """All that Pythia has published, by its steps' names, with weights that are small."""
    for step in (0, *(2**k for k in range(10)), *range(1000, 144_000, 1000)):
        hub["EleutherAI/pythia-70m"].put(f"step{step}", pythia(step, BYTES))
    hub["EleutherAI/pythia-70m"].put("main", pythia(99, BYTES))


def final_model(hub):
    """`my-final-model`, whose tokens are words of a WordNet."""
    tokenizer = vocabulary()["tokenizer"]
    config = GPT2Config(vocab_size=tokenizer.get_vocab_size(), n_embd=16, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained("my-final-model")
    tokenizer.save("my-final-model/tokenizer.json")


def models_and_a_text(hub):
    """`RUN` with two models of two layers, and `prose.txt`."""
    small = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=BYTES.get_vocab_size(), intermediate_size=16, **small)
    for step in (0, 10):
        torch.manual_seed(step)
        LlamaForCausalLM(config).save_pretrained(f"RUN/step-{step}")
    BYTES.save("RUN/step-0/tokenizer.json")
    Path("prose.txt").write_text("\n".join(vocabularies.LINES))


def run_of_a_trainer(hub):
    """`lightning_logs/version_0`, as a callback leaves it."""
    callback = SemanticGeometry(models.StagedModel.table())
    logger = CSVLogger(".")
    trainer = models.trainer(".", callback, logger=logger, max_steps=3)
    trainer.fit(models.StagedModel(), DataLoader(torch.zeros(3, 1)))


GIVEN = {
    "analyze runs/gpt": (run_with_its_tokenizer, 4),
    "analyze hf://EleutherAI/pythia-70m": (suite_on_the_hub, 26),
    "analyze my-final-model": (final_model, 1),
    "analyze RUN": (models_and_a_text, 2),
    "report lightning_logs/version_0": (run_of_a_trainer, 4),
}
"""By its first words, what a command of ours is given, and how many records there are then."""
ALL = [words for page in PAGES for words in commands_of(page)]
OURS = [words[1:] for words in ALL if words[0] == "lightning-semgeom"]
# It asks W&B's servers; tests/show/test_workspace.py has what it sends.
ONLINE = "wandb-workspace"
COMMANDS = {" ".join(words): words for words in OURS if words[0] != ONLINE}
# They run smaller in tests/examples; this one is made of Debian's WordNet.
OTHERS = {"make", "pip", "python", "grep"}


@pytest.mark.processes
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_ours_runs(command, hub, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = COMMANDS[command]
    give, records = GIVEN[" ".join(words[:2])]
    give(hub)
    words = [*words, "--wordnet", "wordnet"] if "wordnet" in command else words
    assert main(words) == 0, capsys.readouterr().err
    assert list(Path().rglob("report.html"))
    (folder,) = Path().rglob("semgeom")
    history = History.load(folder)
    assert len(history) == records
    assert ("--text" in words) == any(site.startswith("hidden.") for site in history.sites)


def test_the_command_that_needs_a_login_is_understood(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (words,) = (words for words in OURS if words[0] == ONLINE)
    assert main(words) == 2  # wrong arguments would exit
    assert words[-1] in capsys.readouterr().err


def test_all_other_commands_are_known():
    assert {words[0] for words in ALL} == {"lightning-semgeom", *OTHERS}


def test_make_knows_its_targets():
    known = set(re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE))
    asked = {words[1] for words in ALL if words[0] == "make"}
    asked |= {word for page in PAGES for word in re.findall(r"`make (\w+)", text_of(page))}
    assert {"demo", "test", "quick", "docs", "bench"} <= asked <= known


def test_extras_that_are_named_are_there():
    section = text_of("pyproject.toml").split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = re.findall(r"^(\w+) = \[", section, re.MULTILINE)
    named = re.findall(
        r"pip install '(?:lightning-semgeom|\.)\[(.*?)\]", "".join(map(text_of, PAGES))
    )
    assert len(named) > 10
    assert {extra for several in named for extra in several.split(",")} <= set(extras)


def test_scripts_are_there_with_their_options():
    scripts = [words[1:] for words in ALL if words[0] == "python"]
    assert len(scripts) >= 8
    for script, *options in scripts:
        text = text_of(script) + text_of("examples/many_runs.py")
        assert all(f'"{word}"' in text for word in options if word.startswith("--")), script
