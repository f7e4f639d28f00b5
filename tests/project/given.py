"""What the code of a page takes as the reader's own: small, and real."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_semgeom import AttributeTable, History, SemanticGeometry, snapshot
from lightning_semgeom.settings.factored import FactoredData, FactoredModel
from tests import models
from tests.attributes import small_wordnet
from tests.checkpoints.files import save

ANIMALS = ["ant", "bee", "cow", "elk", "emu", "hen", "owl", "pig", "ram", "rat", "sow", "yak"]
PLANTS = ["ash", "bay", "elm", "fig", "fir", "hop", "ivy", "oak", "pea", "rye", "tea", "yew"]
STEPS = (0, 2, 5, 10, 15, 20, 30, 50, 80, 120, 170, 230, 300)


def vocabulary():
    """A tokenizer, and the folder of a WordNet that knows its words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = ANIMALS + PLANTS
    ids = {token: place for place, token in enumerate([*words, *("Ġ" + word for word in words)])}
    numbers = [*((word, 5) for word in ANIMALS), *((word, 20) for word in PLANTS)]
    path = Path("wordnet")
    path.mkdir()
    tokenizer = Tokenizer(WordLevel(ids, unk_token="ant"))
    return {"tokenizer": tokenizer, "path": small_wordnet.written(path, numbers)}


def run_that_is_over():
    """The checkpoints of a run in which a gap rises and falls."""
    model = models.StagedModel()
    for step in STEPS:
        save(Path(f"runs/gpt/step={step}.ckpt"), model.head_at(step))
    return {"table": AttributeTable.from_dict({"case": model.COLOURS * 12})}


class Net(nn.Module):
    """Two layers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(models.TOKENS, models.WIDTH)
        self.layers = nn.ModuleList(nn.Linear(models.WIDTH, models.WIDTH) for _ in range(2))

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = x + layer(x).tanh()
        return x


class MyModel(models.TinyModel):
    """With them in the place of its body."""

    def __init__(self, name="net", seed=0):
        super().__init__(seed)
        del self.embed, self.body
        self.add_module(name, Net())
        self.inner = name

    def forward(self, batch):
        tokens = batch["input_ids"] if "input_ids" in batch else batch["x"]
        return self.lm_head(self.get_submodule(self.inner)(tokens))


def run_of_whole_models():
    """Checkpoints with all weights of a model."""
    Path("runs/gpt").mkdir(parents=True)
    for step in (0, 10):
        state = MyModel(seed=step).state_dict()
        torch.save({"state_dict": state}, f"runs/gpt/step={step}.ckpt")
    return {"table": models.table(), "MyModel": MyModel, "batches": [*models.batches(3)]}


def model_and_probe():
    """A model with `model.layers`, what it is trained on and looked at with, and texts."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    words = (ANIMALS + PLANTS)[: models.TOKENS]
    tokenizer = Tokenizer(WordLevel({word: k for k, word in enumerate(words)}, unk_token="ant"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return {
        "table": models.table(), "model": MyModel("model"), "loader": models.batches(60),
        "fixed_loader": models.batches(2, seed=1), "tokenizer": tokenizer,
        "texts": [" ".join(words)] * 4,
    }  # fmt: skip


def model_that_peaks():
    """One whose gap peaks after 20 updates, and more batches than that."""
    model = models.StagedModel()
    return {"table": model.table(), "model": model, "loader": DataLoader(torch.zeros(120, 1))}


def weight_and_model():
    """The weight of a model whose rows have a colour each, and a batch."""
    model = FactoredModel()
    colours = [("red", "green", "blue", "grey")[row % 4] for row in range(64)]
    return {
        "weight": model.lm_head.weight.detach()[:64],
        "table": AttributeTable.from_dict({"colour": colours}),
        "names": [f"{colour} {row}" for row, colour in enumerate(colours)],
        "model": model,
        "batch": next(iter(FactoredData().train_dataloader())),
    }


def three_histories():
    """Of two seeds, and of another run."""
    model, found = models.StagedModel(), []
    for drop in (1.0, 0.9, 0.5):
        found.append(history := History())
        for step in STEPS[:5]:
            model.set_head(drop * step)
            history.append(snapshot(model, model.table()), step)
    return dict(zip(("history", "other", "third"), found, strict=True))


def curve():
    """Step, gap and z of captures: averages 0, .05, ... .31, .30, .25, .18, .14, .12; two more."""
    gaps = [0, 0.1, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1]
    steps = range(1, 2000)
    falls, rises = (80, 60, 40, 20, 10, 8), (8, 10, 14, 20, 28, 40, 50)
    losses = [max(9 * step**-0.5, 1.6 * step**-0.1) for step in steps]
    return {
        "curve": [(50 * k, gap, 9.0) for k, gap in enumerate(gaps)],
        "steps": steps,
        "losses": losses,
        "steps_of_rankme": range(0, 240, 10),
        "rankme": [*falls, *rises, *range(46, 24, -2)],
    }


def history_on_disk():
    """The `history.jsonl` of two sites."""
    semgeom = SemanticGeometry(models.table(), hidden="body")
    models.trainer(".", semgeom).fit(models.TinyModel(), models.batches())
    Path("semgeom/history.jsonl").rename("history.jsonl")
    return {}


GIVEN = {
    "docs/develop/house.md": dict,
    "docs/how-to/attributes.md": vocabulary,
    "docs/how-to/checkpoints.md": run_that_is_over,
    "docs/how-to/hidden-states-of-checkpoints.md": run_of_whole_models,
    "docs/how-to/keep-structure.md": dict,
    "docs/how-to/notebook.md": three_histories,
    "docs/how-to/read-steer-erase.md": weight_and_model,
    "docs/how-to/sites-and-probe.md": model_and_probe,
    "docs/how-to/stop-at-the-peak.md": model_that_peaks,
    "docs/reference/keys.md": history_on_disk,
    "docs/understand/phases.md": curve,
}
