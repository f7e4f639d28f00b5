"""How sure the phase rule is: on fresh seeds, shuffled controls, thinned and interrupted captures.

    python examples/detector.py                  # 56 runs, then three tables
    python examples/detector.py --seeds 0 --settings factored --steps 400    # a quick look

Each run leaves the gap and z of each attribute at each step in a file under --out; one that is
there is not run again. Any rule can then be tried on the curves in seconds.
"""

import tempfile
import warnings
from dataclasses import replace

import numpy as np
import torch
from detector_tables import BATCH, COVER, alarms_table, load, peaks_table
from many_runs import jobs_of, markdown, parser_of, quiet_trainer, run_all, tell

from lightning_semgeom import AttributeTable, SemanticGeometry, probe_from
from lightning_semgeom.settings import ufm
from lightning_semgeom.settings.controlled import (
    NETWORKS,
    features_setting,
    network_setting,
)
from lightning_semgeom.settings.documents import read_stdlib

STEPS = dict.fromkeys(NETWORKS, 2000) | dict.fromkeys(ufm.KINDS, 1000) | {"stdlib": 1200}
SHUFFLES = 2  # controls of each attribute


def setting_of(name, seed, steps):
    """A setting by name."""
    if name in ufm.KINDS:
        return features_setting(name, seed)
    if name in NETWORKS:
        return network_setting(name, seed)
    from lightning_semgeom.settings.stdlib import stdlib_setting

    made = stdlib_setting(steps, seed)
    return replace(made, capture=made.capture | {"every_n_steps": 5})


def with_controls(table):
    """The attributes of `table` and, as more attributes, shuffled copies: colour#1, colour#2."""
    copies = [table.shuffled(seed) for seed in range(1, SHUFFLES + 1)]
    names = [f"{name}#{k}" for k in range(1, SHUFFLES + 1) for name in table.names]
    return AttributeTable(
        torch.cat([t.codes for t in (table, *copies)], dim=1),
        (*table.names, *names),
        table.values * (1 + SHUFFLES),
    )


def covering(made):
    """Windows of the text in which each labelled token is the label of three positions."""
    tokenizer = made.data.tokenizer
    options = {"per_value": tokenizer.get_vocab_size() * 3, "per_token": 3, "context": 64}
    with warnings.catch_warnings():  # some tokens are never there
        warnings.simplefilter("ignore", UserWarning)
        return probe_from(read_stdlib(), tokenizer, made.table, shift_labels=True, **options)


def collect(name, seed, steps, file):
    """The curves of one run."""
    made = setting_of(name, seed, steps)
    table = with_controls(made.table)
    options = {"every_n_steps": 1, "growth": None, "gram_size": 2} | made.capture
    callbacks = {"H": SemanticGeometry(table, **options)}  # by the kind of hidden states
    if name == "stdlib":
        for kind, probe in ((BATCH, None), (COVER, covering(made))):
            own = {"name": kind.replace(" ", "_"), "probe": probe, "unembedding": False}
            callbacks[kind] = SemanticGeometry(table, **(options | own))
    with tempfile.TemporaryDirectory() as folder:
        where = {"gradient_clip_val": made.clip, "default_root_dir": folder}
        trainer = quiet_trainer(steps, *callbacks.values(), **where)
        trainer.fit(made.model, made.data)
    curves = {}
    for of_hidden, callback in callbacks.items():
        history = callback.history
        for site in history.sites:
            kind = "W" if site == "unembedding" else of_hidden
            curves[f"steps|{kind}"] = [record.step for record in history]
            for metric in ("gap", "z"):
                for attribute in table.names:
                    key = history.key(site, f"{metric}/{attribute}")
                    curves[f"{metric}|{kind}|{attribute}"] = history.curve(key)[1]
    np.savez(file, **curves)


def chance_table(seed, steps=40, draws=100_000):
    """How often the z of a meaningless attribute is large, in the weights of S1 at the peak."""
    made = network_setting("factored", seed)
    quiet_trainer(steps).fit(made.model, made.data)
    rows = made.model.lm_head.weight.detach()[: len(made.table)].double()
    unit = torch.nn.functional.normalize(rows - rows.mean(0))
    generator = torch.Generator().manual_seed(seed)
    levels = (2, 3, 4, 5)
    lines = []
    for a, values in enumerate(made.table.num_values):
        codes = torch.nn.functional.one_hot(made.table.codes[:, a]).double()
        same = []
        for _ in range(0, draws, 1000):
            orders = torch.rand(1000, len(rows), generator=generator).argsort(1)
            same.append((codes[orders].mT @ unit).square().sum((1, 2)))
        drawn = torch.cat(same)
        z = (drawn - drawn.mean()) / drawn.std()
        shares = [f"{(z >= level).double().mean():.5f}" for level in levels]
        lines.append([str(values), *shares])
    return markdown(["values", *(f"z of {level} or more" for level in levels)], lines)


def main():
    """Collect what is missing, then judge all."""
    options = parser_of(__doc__, "detector", STEPS, seeds=range(200, 208)).parse_args()
    run_all(collect, jobs := jobs_of(options, STEPS))
    curves = [curve for *_, file in jobs for curve in load(file)]
    tables = (peaks_table(curves), alarms_table(curves), chance_table(options.seeds[0]))
    tell("\n\n".join("\n".join(table) for table in tables), options.out)


if __name__ == "__main__":
    main()
