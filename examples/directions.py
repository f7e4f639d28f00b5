"""See directions form and fade: what each checkpoint of a run says of the attributes.

    python examples/directions.py                 # five runs in 40 seconds, then two tables
    python examples/directions.py --seeds 0 --steps 40    # a quick look

It needs scikit-learn: pip install 'lightning-semgeom[concepts]'. Figures are less what shuffled
attributes give, mean and 95 % interval over seeds. It matters: in as many dimensions as rows any
set of rows has a direction to which they are near, and one that stays much the same since weights
move slowly. For the same reason directions are also found with a random half of the labels alone:
how many of the nearest of the other half have the value, less chance? The second table names them,
for the first seed. A run whose checkpoints are there is not run again.
"""

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from many_runs import markdown, paired_difference, parser_of, quiet_trainer
from tqdm import tqdm

from lightning_semgeom import AttributeTable, concepts, directions
from lightning_semgeom.settings.factored import FactoredData, FactoredModel, factored_attributes

TABLE = factored_attributes()
NEAREST = 6
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
        explained = sum(found[key].explained for key in keys) / len(keys)
        columns.append((explained, cosines.mean().item()))
    agreement = [of.orthants for of in concepts(weight, 3, table).agreement.values()]
    explained, cosine = zip(*columns, strict=True)
    return [*explained, *cosine, *agreement]


def half_labelled(seed):
    """The attributes of a random half of the labels."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randperm(len(TABLE), generator=generator)[: len(TABLE) // 2]
    return AttributeTable(TABLE.codes.index_fill(0, hidden, -1), TABLE.names, TABLE.values)


def nearest_unseen(weight, known):
    """For each attribute value the nearest of the rows that `known` does not label, by number."""
    found = directions(weight, known, nearest=len(NAMES))
    unseen = {str(row) for row in (known.codes < 0).all(1).nonzero()[:, 0].tolist()}
    return {
        key: [int(name) for name in of.nearest if name in unseen][:NEAREST]
        for key, of in found.items()
    }


def share_right(found, a, name):
    """How many of the nearest rows have the value, less chance; mean over values."""
    values = TABLE.values[a]
    right = [
        (TABLE.codes[found[name, value], a] == k).double().mean().item()
        for k, value in enumerate(values)
    ]
    return sum(right) / len(values) - 1 / len(values)


def read(seed, steps, folder):
    """What the checkpoints of one run say: at each step its figures, and the nearest rows."""
    weights = [unembedding(folder / f"step={step}.ckpt") for step in steps]
    shuffled, known = TABLE.shuffled(seed), half_labelled(seed)
    for weight in weights:
        real, control = (figures(weight, weights[-1], table) for table in (TABLE, shuffled))
        nearest = nearest_unseen(weight, known)
        right = [share_right(nearest, a, name) for a, name in enumerate(TABLE.names)]
        yield real + right, control + [0.0] * len(right), nearest


def main():
    """Train, then read the checkpoints in order."""
    parser = parser_of(__doc__, "directions", steps=600)
    parser.add_argument("--every", type=int, default=10, help="steps from checkpoint to checkpoint")
    options = parser.parse_args()
    steps = doubling(range(options.every, options.steps + 1, options.every))
    found = []
    for seed in tqdm(options.seeds, unit="run"):
        folder = options.out / str(seed)
        if not (folder / f"step={steps[-1]}.ckpt").exists():
            train(options.steps, options.every, seed, folder)
        found.append(list(read(seed, steps, folder)))
    lines, nearest = [], []
    for step, *of_seeds in zip(steps, *found, strict=True):
        real, control = (zip(*(of[k] for of in of_seeds), strict=True) for k in (0, 1))
        lines.append([str(step), *map(paired_difference, real, control)])
        names = (of_seeds[0][2][a, "0"] for a in TABLE.names)
        nearest.append([str(step), *(" ".join(NAMES[row] for row in rows) for rows in names)])
    heads = ("explained", "cosine with the last", "orthants' AMI", "nearest right")
    columns = [f"{head}: {a}" for head in heads for a in TABLE.names]
    print("\n".join(markdown(["step", *columns], lines)), end="\n\n")
    print("\n".join(markdown(["step", *(f"nearest to {a} = 0" for a in TABLE.names)], nearest)))


if __name__ == "__main__":
    main()
