"""Does training keep structure, and what is it good for: nine ways to train S1 and S2, five seeds.

    python examples/preserve.py                 # all: three tables, a figure
    python examples/preserve.py --seeds 0 --steps 200 --settings latent    # a quick look

Then, on the GPT of the demo with held-out text, what keeping structure costs. Each run is a file
under --out; one that is finished is not run again. It needs scikit-learn.
"""

import itertools
import json
import tempfile

import preserve_text
import torch
from many_runs import last_rows, parser_of, quiet_trainer, run_all, tell
from preserve_regimes import NAMES, regime
from preserve_tables import controlled_tables, draw, text_tables
from sklearn.linear_model import LogisticRegression

from lightning_semgeom import SemanticGeometry, attribute_similarity
from lightning_semgeom.settings import factored, latent
from lightning_semgeom.settings.recipe import CLASSES

SETTINGS = {"factored": "S1 factored", "latent": "S2 latent"}
SHOTS = 2  # contexts of each value that the probe is fitted on
DRAWS = 20  # of these contexts
FRESH = 4  # contexts not trained on, for each that is


def fresh_contexts(setting, seed):
    """Contexts that were not trained on, and the label whose attributes each has."""
    labels = torch.arange(CLASSES).repeat_interleave(FRESH)
    if setting == "latent":
        return latent.latent_tokens(10_000 + seed, FRESH * latent.CONTEXTS), labels
    # In S1 the attributes are spelled out; what can be new is the `id` beside them.
    generator = torch.Generator().manual_seed(seed)
    tokens = factored.factored_tokens()
    others = [(torch.randperm(CLASSES - 1, generator=generator) + 1)[:FRESH] for _ in tokens]
    found = tokens.repeat_interleave(FRESH, dim=0)
    found[:, 1] = tokens[(labels + torch.cat(others)) % CLASSES, 1]
    return found, labels


def few_shot(known, codes, fresh, fresh_codes, seed):
    """Accuracy of linear probes on fresh contexts, mean over attributes and draws."""
    generator, scores = torch.Generator().manual_seed(seed), []
    for own, wanted in zip(codes.T, fresh_codes.T, strict=True):
        for _ in range(DRAWS):
            order = torch.randperm(len(own), generator=generator)
            shots = torch.cat([order[own[order] == value][:SHOTS] for value in own.unique()])
            probe = LogisticRegression(max_iter=5000).fit(known[shots], own[shots])
            scores.append(probe.score(fresh, wanted))
    return sum(scores) / len(scores)


@torch.no_grad()
def figures(model, made, setting, seed):
    """What the model can do with its weights of now."""
    model.eval()
    batch, table = made.data.batch, made.table
    logits = model(batch)
    rows, known = model.lm_head.weight[:CLASSES], last_rows(model, batch, "final_norm")
    tokens, labels = fresh_contexts(setting, seed)
    fresh, codes = last_rows(model, {"tokens": tokens}, "final_norm"), table.codes[labels]
    gaps = {
        name: attribute_similarity(of, of_codes, table.num_values)["gap"].mean().item()
        for name, of, of_codes in (
            ("W", rows, table.codes),
            ("H", known, table.codes),
            ("fresh", fresh, codes),
        )
    }
    model.train()
    return {
        "loss": torch.nn.functional.cross_entropy(logits, batch["labels"]).item(),
        "accuracy": (logits.argmax(1) == batch["labels"]).double().mean().item(),
        "gaps": gaps,
        "few-shot": few_shot(known, table.codes, fresh, codes, seed),
    }


def run(name, setting, seed, steps, file):
    """One run."""
    torch.manual_seed(seed)  # of dropout: the process may have run other jobs before
    with tempfile.TemporaryDirectory() as folder:
        made, callbacks = regime(name, setting, seed, folder)
        start = figures(made.model, made, setting, seed)
        geometry = SemanticGeometry(made.table, **made.capture)
        checkpoints = {"enable_checkpointing": name == "stop", "default_root_dir": folder}
        trainer = quiet_trainer(steps, geometry, *callbacks, **checkpoints)
        trainer.fit(made.model, made.data)
    history = geometry.history
    peaks = [max(history.curve(history.key(site, "gap"))[1].tolist()) for site in history.sites]
    end = figures(made.model, made, setting, seed) | {"steps": trainer.global_step}
    file.write_text(json.dumps({"start": start, "end": end, "peaks": peaks}))


def main():
    """Run what is missing, then tell of all."""
    parser = parser_of(__doc__, "preserve", SETTINGS, steps=1200)
    parser.add_argument("--text-seeds", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args()
    texts = [
        (name, seed, options.steps, options.out / f"text-{name}-{options.steps}-{seed}.json")
        for name, seed in itertools.product(preserve_text.NAMES, options.text_seeds)
    ]
    run_all(preserve_text.run, texts)
    jobs = [
        (name, setting, seed, options.steps,
         options.out / f"{setting}-{name}-{options.steps}-{seed}.json")
        for setting, name, seed in itertools.product(options.settings, NAMES, options.seeds)
    ]  # fmt: skip
    run_all(run, jobs)
    found = {SETTINGS[setting]: {name: [] for name in NAMES} for setting in options.settings}
    for name, setting, *_, file in jobs:
        found[SETTINGS[setting]][name].append(json.loads(file.read_text()))
    text = list(controlled_tables(found))
    if texts:
        of_text = {name: [] for name in preserve_text.NAMES}
        for name, *_, file in texts:
            of_text[name].append(json.loads(file.read_text()))
        text += ["The GPT of the demo, on files it has not seen:", "", *text_tables(of_text)]
    draw(found, figure := options.out / "preserve.png")
    tell("\n".join(text), options.out, figure)


if __name__ == "__main__":
    main()
