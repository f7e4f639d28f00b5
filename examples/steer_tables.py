"""What the runs of steer.py left: the tables and the figure.

Legend: a trial is a context, an attribute, another value of it, and a direction. It is reached if
the predicted label has the value, and clean if its other attributes are still the context's.
"""

import statistics

import numpy as np
from many_runs import markdown, paired_difference, spread

from lightning_semgeom.show.plots.style import COLOURS, GREY, new_figure

NAMES = {"factored": "S1 factored", "latent": "S2 latent"}
MOMENTS = ("init", "peak", "end")
# Of a kind of direction, strength and attribute; the last: clean if a reached label were any one
# with the value.
COUNTS = ("trials", "reached", "clean", "by chance")
IN_FULL = (
    *("", "weights", "site", "strength", "value reached", "others kept too", "that by chance"),
    *("target's mean alone", "random", "shuffled", "kept - random", "kept - by chance"),
)
ABOUT_RUNS = (
    *("", "weights", "step", "accuracy", "length of a move / of a row: block", "final_norm"),
)


def share(run, moment, site, kind, strength, what, attribute=None):
    """Share of a run's trials, of one attribute or of all."""
    found = run[moment]["shares"][site][kind][strength]
    counts = [found[attribute]] if attribute else found.values()
    trials, hits = (sum(of[COUNTS.index(name)] for of in counts) for name in ("trials", what))
    return hits / trials


def places(found):
    """(setting, runs, moment, site) of each line."""
    for setting, runs in found.items():
        for moment in MOMENTS:
            for site in runs[0][moment]["shares"]:
                yield setting, runs, moment, site


def strengths_of(runs):
    """As they are written in the file."""
    return list(next(iter(runs[0]["init"]["shares"].values()))["move"])


def table(found):
    """The lines of all tables, with a sentence before each."""
    strengths = strengths_of(next(iter(found.values())))
    return [
        "Share of trials in which the label's value became the target's and its other attributes",
        "stayed, by strength:",
        "",
        *markdown(["", "weights", "site", *strengths], by_strength(found, strengths)),
        "",
        "In full. By chance: others kept if each reached label were any with the value. The",
        "columns after it are shares with others kept, and differences of them, mean and 95 %",
        "interval over seeds:",
        "",
        *markdown(IN_FULL, in_full(found, strengths)),
        "",
        "By attribute at final_norm, value reached / others kept too:",
        "",
        *markdown(["", "attribute", "weights", *strengths], by_attribute(found, strengths)),
        "",
        "The runs:",
        "",
        *markdown(ABOUT_RUNS, about_runs(found)),
    ]


def by_strength(found, strengths):
    """Clean shares: a line a place, a column a strength."""
    for setting, runs, moment, site in places(found):
        cells = [
            spread([share(run, moment, site, "move", s, "clean") for run in runs])
            for s in strengths
        ]
        yield [NAMES[setting], moment, site, *cells]


def in_full(found, strengths):
    """Shares beside those of the controls: a line a place and strength."""
    for setting, runs, moment, site in places(found):
        for s in strengths:
            of_kind = {
                (kind, what): [share(run, moment, site, kind, s, what) for run in runs]
                for kind in ("move", "target alone", "random", "shuffled")
                for what in COUNTS[1:]
            }
            shown = [("move", what) for what in COUNTS[1:]]
            shown += [(kind, "clean") for kind in ("target alone", "random", "shuffled")]
            cells = [spread(of_kind[key]) for key in shown]
            for control in (("random", "clean"), ("move", "by chance")):
                cells.append(paired_difference(of_kind["move", "clean"], of_kind[control]))
            yield [NAMES[setting], moment, site, s, *cells]


def by_attribute(found, strengths):
    """Medians of both shares: a line an attribute and moment."""
    for setting, runs in found.items():
        shares = runs[0]["init"]["shares"]["final_norm"]["move"]
        for attribute in next(iter(shares.values())):
            for moment in MOMENTS[1:]:
                cells = []
                for s in strengths:
                    both = [
                        statistics.median(
                            share(run, moment, "final_norm", "move", s, what, attribute)
                            for run in runs
                        )
                        for what in ("reached", "clean")
                    ]
                    cells.append(" / ".join(f"{value:.2f}" for value in both))
                yield [NAMES[setting], attribute, moment, *cells]


def about_runs(found):
    """Steps, accuracy, and how long a move of strength 1 is."""
    for setting, runs in found.items():
        for moment in MOMENTS:
            of = [run[moment] for run in runs]
            steps = sorted(one["step"] for one in of)
            cells = [spread([one["accuracy"] for one in of])]
            cells += [
                spread([one["lengths"][site] for one in of]) for site in ("block", "final_norm")
            ]
            told = f"{statistics.median(steps):.0f} ({steps[0]} to {steps[-1]})"
            yield [NAMES[setting], moment, told, *cells]


def draw(found, out):
    """A row a setting, a column a site: clean shares by strength; medians, and ranges shaded."""
    sites = list(next(iter(found.values()))[0]["init"]["shares"])
    figure = new_figure(4 * len(sites) + 1, 3.2 * len(found))
    axes = figure.subplots(len(found), len(sites), squeeze=False, sharex=True, sharey=True)
    for line, (setting, runs) in zip(axes, found.items(), strict=True):
        strengths = strengths_of(runs)
        for axis, site in zip(line, sites, strict=True):
            axis.set_title(f"{NAMES[setting]}: {site}")
            for moment, colour in zip(MOMENTS, COLOURS, strict=False):
                for kind in ("random", "move"):
                    curves = np.array(
                        [
                            [share(r, moment, site, kind, s, "clean") for s in strengths]
                            for r in runs
                        ]
                    )
                    shade(axis, list(map(float, strengths)), curves, moment, kind, colour)
            axis.set_xscale("log", base=2)
            axis.set_xticks(list(map(float, strengths)), strengths)
            axis.grid(True, color="#EEEEEE")
        line[0].set_ylabel("value reached, others kept")
    for axis in axes[-1]:
        axis.set_xlabel("strength")
    axes[0, 0].legend(frameon=False)
    figure.savefig(out)


def shade(axis, strengths, curves, moment, kind, colour):
    """The median over seeds and their range; the control grey, and dotted."""
    if kind == "random":
        label = "random" if moment == MOMENTS[0] else None
        axis.plot(strengths, np.median(curves, axis=0), ":", color=GREY, label=label)
        return
    axis.fill_between(strengths, curves.min(0), curves.max(0), color=colour, alpha=0.2, linewidth=0)
    axis.plot(strengths, np.median(curves, axis=0), color=colour, label=moment)
