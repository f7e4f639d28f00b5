"""Erase one attribute from hidden states with LEACE: is it gone, and does the other one stay?

    python examples/erase.py

The eraser is that of EleutherAI's concept-erasure (`pip install concept-erasure scikit-learn`;
Belrose et al., "LEACE: Perfect linear concept erasure in closed form", arXiv 2306.03819). It takes
rows and one-hot codes, and both are at hand here: hidden states of fresh contexts of setting S2,
with the attributes that made them. It is fitted on half of the contexts; all figures are of the
other half.
"""

import argparse

import lightning.pytorch as pl
import torch
from concept_erasure import LeaceEraser
from sklearn.linear_model import LogisticRegression

from lightning_semgeom import attribute_similarity
from lightning_semgeom.capture.activations import HiddenCapture
from lightning_semgeom.capture.labels import LabelReader, Share
from lightning_semgeom.settings import latent
from lightning_semgeom.settings.recipe import CLASSES

FRESH = 64  # contexts of each of the 8 combinations of values

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=46, help="the gap of S2 peaks at 41 to 46")
options = parser.parse_args()

model, table = latent.LatentModel(options.seed), latent.latent_attributes()
trainer = pl.Trainer(
    max_steps=options.steps, accelerator="cpu", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(model, latent.LatentData(options.seed))
model.eval()


def run(tokens):
    """Features [n, 64] at the last position, and the labels that the model predicts."""
    batch = {"tokens": tokens, "labels": torch.arange(len(tokens))}
    capture = HiddenCapture({"features": model.final_norm}, LabelReader("labels", "last", False))
    capture.arm(batch, Share(limit=len(tokens)))
    with torch.no_grad():
        predicted = model(batch)[:, :CLASSES].argmax(1)
    return capture.collect()["features"].rows, predicted


# The labels are in the order of their values' combinations, and so are fresh contexts.
codes = table.codes[:: latent.CONTEXTS].repeat_interleave(FRESH, dim=0)
fit_on, test_on = (latent.latent_tokens(1000 + 2 * options.seed + half, FRESH) for half in range(2))
rows, _ = run(fit_on)


def figures(erase):
    """Of each attribute: gap, accuracy of a linear probe, and share of predictions that have it."""
    # In the model it is a forward hook. In a compiled model add it before the first call.
    hook = model.final_norm.register_forward_hook(lambda *call: erase(call[2]))
    test_rows, predicted = run(test_on)
    hook.remove()
    gaps = attribute_similarity(test_rows, codes, table.num_values)["gap"].tolist()
    for a, gap in enumerate(gaps):
        probe = LogisticRegression(max_iter=5000).fit(erase(rows), codes[:, a])
        right = (table.codes[predicted, a] == codes[:, a]).double().mean().item()
        yield gap, probe.score(test_rows, codes[:, a]), right


chance = [1 / values for values in table.num_values]
print(f"chance of probes and predictions: {', '.join(f'{share:.2f}' for share in chance)}\n")
print("| erased | attribute | gap | linear probe | predictions with the value |")
print("|---|---|---|---|---|")
erasers = {"nothing": lambda hidden: hidden}
for a, name in enumerate(table.names):
    one_hot = torch.nn.functional.one_hot(codes[:, a], table.num_values[a])
    erasers[name] = LeaceEraser.fit(rows, one_hot)
for erased, erase in erasers.items():
    for name, (gap, probe, right) in zip(table.names, figures(erase), strict=True):
        print(f"| {erased} | {name} | {gap:.3f} | {probe:.2f} | {right:.2f} |")
