"""See directions form and fade: what each checkpoint of a run says of the attributes.

    python examples/directions.py                 # trains for 10 seconds, then two tables
    python examples/directions.py --steps 40    # a quick look

It needs scikit-learn: pip install 'lightning-semgeom[concepts]'. In brackets is what shuffled
attributes give. It matters: in as many dimensions as rows any set of rows has a direction to which
they are near, and one that stays much the same since weights move slowly. So the second table finds
the direction with a random half of the labels, and names the nearest of the other half.
"""

import argparse
from pathlib import Path

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from runs import markdown, quiet_trainer

from lightning_semgeom import AttributeTable, concepts, directions
from lightning_semgeom.settings.factored import FactoredData, FactoredModel, factored_attributes

TABLE = factored_attributes()
# A label's name is its values of a, b and c: 137 has a = 1, b = 3 and c = 7.
NAMES = ["".join(map(str, codes)) for codes in TABLE.codes.tolist()]


def train(steps, every, seed, folder):
    """Train S1 and keep its weights each `every` steps, as `step=10.ckpt` and so on."""
    keep = ModelCheckpoint(
        folder, "{step}", every_n_train_steps=every, save_top_k=-1, enable_version_counter=False
    )
    quiet_trainer(steps, keep, enable_checkpointing=True).fit(FactoredModel(seed), FactoredData())


def doubling(steps):
    """Some of many steps: each at least twice the one before, and the last."""
    chosen = [steps[0]]
    for step in steps[1:]:
        if step >= 2 * chosen[-1] or step == steps[-1]:
            chosen.append(step)
    return chosen


def unembedding(path):
    """One tensor out of a checkpoint; the rest of the file is not read."""
    state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)["state_dict"]
    return state["lm_head.weight"]


def figures(weight, last, table):
    """Explained share and cosine with the last checkpoint, means over values; orthants' AMI."""
    found, at_the_end = directions(weight, table), directions(last, table)
    columns = []
    for name in table.names:
        keys = [key for key in found if key[0] == name]
        vectors = torch.stack([found[key].vector for key in keys])
        ends = torch.stack([at_the_end[key].vector for key in keys])
        cosines = torch.cosine_similarity(vectors, ends, dim=1)
        columns.append((sum(found[key].explained for key in keys) / len(keys), cosines.mean()))
    agreement = [of.orthants for of in concepts(weight, 3, table).agreement.values()]
    explained, cosine = zip(*columns, strict=True)
    return [*explained, *cosine, *agreement]


def nearest_unseen(weight, known, count=6):
    """For value 0 of each attribute the nearest of the rows that `known` does not label."""
    found = directions(weight, known, NAMES, nearest=len(NAMES))
    unseen = {name for name, codes in zip(NAMES, known.codes, strict=True) if (codes < 0).all()}
    for attribute in known.names:
        names = [name for name in found[attribute, "0"].nearest if name in unseen]
        yield " ".join(names[:count])


def main():
    """Train, then read the checkpoints in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--every", type=int, default=10, help="steps from checkpoint to checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/directions"))
    options = parser.parse_args()
    train(options.steps, options.every, options.seed, options.out)
    steps = doubling(range(options.every, options.steps + 1, options.every))
    weights = [unembedding(options.out / f"step={step}.ckpt") for step in steps]
    generator = torch.Generator().manual_seed(options.seed)
    hidden = torch.randperm(len(TABLE), generator=generator)[: len(TABLE) // 2]
    codes = TABLE.codes.index_fill(0, hidden, -1)
    known = AttributeTable(codes, TABLE.names, TABLE.values)
    shuffled = TABLE.shuffled(options.seed)
    lines, nearest = [], []
    for step, weight in zip(steps, weights, strict=True):
        real, control = (figures(weight, weights[-1], table) for table in (TABLE, shuffled))
        pairs = zip(real, control, strict=True)
        lines.append([str(step), *(f"{figure:.2f} ({chance:.2f})" for figure, chance in pairs)])
        nearest.append([str(step), *nearest_unseen(weight, known)])
    heads = ("explained", "cosine with the last", "orthants' AMI")
    columns = [f"{head}: {a}" for head in heads for a in TABLE.names]
    print("\n".join(markdown(["step", *columns], lines)), end="\n\n")
    print("\n".join(markdown(["step", *(f"nearest to {a} = 0" for a in TABLE.names)], nearest)))


if __name__ == "__main__":
    main()
