"""Does the direction of a value steer? Predictions moved to another value, by strength and moment.

    python examples/steer.py                 # settings S1 and S2, five seeds: a table, a figure
    python examples/steer.py --seeds 0 --steps 100    # a quick look

A context with value g of an attribute is moved by strength * (mean of the rows with value t - mean
of those with g), for each context, attribute and other value t, at two sites and with the weights
of three moments. Did the predicted label's value become t, and its other attributes stay those of
the context? The controls are as long: random directions, and those of shuffled attributes. Each run
is a file under --out; one that is finished is not run again.
"""

import itertools
import json
import statistics
from copy import deepcopy

import lightning.pytorch as pl
import torch
from many_runs import last_rows, parser_of, quiet_trainer, run_all, tell
from steer_tables import COUNTS, NAMES, draw, table

from lightning_semgeom import SemanticGeometry, directions, steer
from lightning_semgeom.settings.controlled import network_setting
from lightning_semgeom.settings.recipe import CLASSES

SITES = ("block", "final_norm")
STRENGTHS = (0.5, 1, 2, 4, 8, 16)
RANDOM = 3  # draws for each move


class Keep(pl.Callback):
    """The weights of the start, of the largest gap of the unembedding, and of the end."""

    def __init__(self, geometry):
        self.geometry = geometry
        self.top, self.kept = 0.0, {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        """Of the initial weights nothing is known yet."""
        if not self.kept:
            self.keep("init", pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """The record of these weights is the last one, if one was due."""
        record = self.geometry.history.records[-1]
        if record.values["semgeom/gap"] > self.top:
            self.top = record.values["semgeom/gap"]
            self.keep("peak", pl_module)

    def on_train_end(self, trainer, pl_module):
        """The last ones."""
        self.keep("end", pl_module)

    def keep(self, moment, model):
        """A copy of them, with the number of updates they have had."""
        self.kept[moment] = model.trainer.global_step, deepcopy(model.state_dict())


def moves(rows, attributes):
    """For each (a, g, t) the mean of rows with value t of a minus that with g, and t's alone."""
    found = directions(rows, attributes, nearest=0)
    for a, (name, values) in enumerate(zip(attributes.names, attributes.values, strict=True)):
        # Of M values that are equally frequent, a mean minus that of all other rows is M / (M - 1)
        # times as far from the common mean.
        share = 1 - 1 / len(values)
        for g, t in itertools.permutations(range(len(values)), 2):
            target, own = (found[name, values[value]].vector for value in (t, g))
            yield (a, g, t), share * (target - own), target


def kinds(rows, attributes, seed):
    """For each (a, g, t) the directions to try, by name."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = {key: move for key, move, _ in moves(rows, attributes.shuffled(seed))}
    for key, move, target in moves(rows, attributes):
        random = torch.randn(RANDOM, len(move), generator=generator)
        controls = {"random": random.to(move), "shuffled": shuffled[key][None]}
        for kind, vectors in controls.items():
            controls[kind] = move.norm() * torch.nn.functional.normalize(vectors)
        yield key, {"move": move[None], "target alone": target[None], **controls}


@torch.no_grad()
def steered(model, batch, attributes, site, seed):
    """By kind, strength and attribute the counts that `steer_tables.COUNTS` names."""
    codes = attributes.codes
    found = {}
    for (a, g, t), vectors in kinds(last_rows(model, batch, site), attributes, seed):
        chosen = codes[:, a] == g
        contexts = {"tokens": batch["tokens"][chosen]}
        wanted = codes[chosen].clone()
        wanted[:, a] = t
        for kind, strength in itertools.product(vectors, STRENGTHS):
            of_strength = found.setdefault(kind, {}).setdefault(str(strength), {})
            counts = of_strength.setdefault(attributes.names[a], [0.0] * len(COUNTS))
            for direction in vectors[kind]:
                with steer(model, site, direction, strength):
                    predicted = model(contexts)[:, :CLASSES].argmax(1)
                for place, hits in enumerate(hits_of(codes, predicted, wanted, a)):
                    counts[place] += hits.sum().item()
    return found


def hits_of(codes, predicted, wanted, a):
    """For each trial 1, whether the value was reached, whether all is as wanted, and by chance."""
    same = codes[predicted] == wanted
    with_value = (codes[:, a] == wanted[0, a]).sum()
    fitting = (codes == wanted[:, None]).all(2).sum(1)
    return torch.ones(len(same)), same[:, a], same.all(1), same[:, a] * fitting / with_value


@torch.no_grad()
def looked_at(model, batch, attributes, seed):
    """What is found with the weights of one moment."""
    model.eval()
    predicted = model(batch)[:, :CLASSES].argmax(1)
    lengths = {}
    for site in SITES:
        rows = last_rows(model, batch, site)
        of_moves = [move.norm().item() for _, move, _ in moves(rows, attributes)]
        lengths[site] = statistics.mean(of_moves) / rows.norm(dim=1).mean().item()
    return {
        "accuracy": (predicted == batch["labels"]).double().mean().item(),
        "lengths": lengths,
        "shares": {site: steered(model, batch, attributes, site, seed) for site in SITES},
    }


def run(setting, seed, steps, file):
    """One run, unless it is there already."""
    if file.exists():
        return
    made = network_setting(setting, seed)
    geometry = SemanticGeometry(made.table)
    keep = Keep(geometry)
    trainer = quiet_trainer(steps, geometry, keep, default_root_dir=file.with_suffix(""))
    trainer.fit(made.model, made.data)
    found = {}
    for moment in ("init", "peak", "end"):
        step, weights = keep.kept[moment]
        made.model.load_state_dict(weights)
        figures = looked_at(made.model, made.data.batch, made.table, seed)
        found[moment] = {"step": step, **figures}
    file.write_text(json.dumps(found))


def main():
    """Run what is missing, then tell of all."""
    options = parser_of(__doc__, "steer", NAMES, steps=2000).parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = [
        (setting, seed, options.steps, options.out / f"{setting}-{options.steps}-{seed}.json")
        for setting, seed in itertools.product(options.settings, options.seeds)
    ]
    run_all(run, jobs)
    found = {setting: [] for setting in options.settings}
    for setting, *_, file in jobs:
        found[setting].append(json.loads(file.read_text()))
    draw(found, figure := options.out / "steer.png")
    tell("\n".join(table(found)), options.out, figure)


if __name__ == "__main__":
    main()
