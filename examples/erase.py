"""Erase one attribute from hidden states with LEACE: is it gone, and does the other one stay?

    python examples/erase.py

The eraser is that of EleutherAI's concept-erasure (`pip install concept-erasure scikit-learn`;
Belrose et al., "LEACE: Perfect linear concept erasure in closed form", arXiv 2306.03819). It takes
rows and one-hot codes, and both are at hand here: captured features of fresh contexts of setting
S2, with the attributes that made them. It is fitted on half of the contexts; all figures are of the
other half, medians and ranges over seeds.
"""

import argparse

import torch
from concept_erasure import LeaceEraser
from many_runs import markdown, quiet_trainer, spread
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from lightning_semgeom import attribute_similarity, snapshot
from lightning_semgeom.settings import latent
from lightning_semgeom.settings.recipe import CLASSES

FRESH = 64  # contexts of each of the 8 combinations of values
TABLE = latent.latent_attributes()
# The labels are in the order of their values' combinations, and so are fresh contexts.
CODES = TABLE.codes[:: latent.CONTEXTS].repeat_interleave(FRESH, dim=0)


def captured(model, tokens):
    """Features [n, 64] at the last position, and the labels that the model predicts."""
    batch = {"tokens": tokens, "labels": torch.arange(len(tokens))}
    found = snapshot(
        model, TABLE, unembedding=False, hidden="final_norm", data=[batch], positions="last"
    )
    with torch.no_grad():
        predicted = model(batch)[:, :CLASSES].argmax(1)
    return found.rows("hidden.final_norm")[0], predicted


def figures(model, rows, test_on, erase):
    """Of each attribute: gap, accuracy of a linear probe, and share of predictions that have it."""
    # In the model it is a forward hook. In a compiled model add it before the first call.
    hook = model.final_norm.register_forward_hook(lambda *call: erase(call[2]))
    test_rows, predicted = captured(model, test_on)
    hook.remove()
    gaps = attribute_similarity(test_rows, CODES, TABLE.num_values)["gap"].tolist()
    for a, gap in enumerate(gaps):
        probe = LogisticRegression(max_iter=5000).fit(erase(rows), CODES[:, a])
        right = (TABLE.codes[predicted, a] == CODES[:, a]).double().mean().item()
        yield gap, probe.score(test_rows, CODES[:, a]), right


def run(seed, steps):
    """By what is erased and by attribute, the figures of one model."""
    model = latent.LatentModel(seed)
    quiet_trainer(steps).fit(model, latent.LatentData(seed))
    model.eval()
    halves = (1000 + 2 * seed, 1001 + 2 * seed)
    fit_on, test_on = (latent.latent_tokens(half, FRESH) for half in halves)
    rows, _ = captured(model, fit_on)
    erasers = {"nothing": lambda hidden: hidden}
    for a, name in enumerate(TABLE.names):
        one_hot = torch.nn.functional.one_hot(CODES[:, a], TABLE.num_values[a])
        erasers[name] = LeaceEraser.fit(rows, one_hot)
    return {
        (erased, name): found
        for erased, erase in erasers.items()
        for name, found in zip(TABLE.names, figures(model, rows, test_on, erase), strict=True)
    }


def main():
    """Train, fit and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=46, help="the gap of S2 peaks at 41 to 46")
    options = parser.parse_args()
    found = [run(seed, options.steps) for seed in tqdm(options.seeds, unit="run")]
    lines = [
        [*key, *(spread([of_seed[key][figure] for of_seed in found], 3) for figure in range(3))]
        for key in found[0]
    ]
    chance = [
        f"{1 / values:.2f} for {a}" for a, values in zip(TABLE.names, TABLE.num_values, strict=True)
    ]
    print(f"chance of probes and predictions: {', '.join(chance)}\n")
    head = ["erased", "attribute", "gap", "linear probe", "predictions with the value"]
    print("\n".join(markdown(head, lines)))


if __name__ == "__main__":
    main()
