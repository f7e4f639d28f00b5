"""What the rule for spectral phases says of curves of RankMe, and what was there."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from many_runs import is_near, markdown, spread

from lightning_semgeom import SpectralPhaseDetector
from lightning_semgeom.record.spectral_phases import SpectralPhase
from lightning_semgeom.show.plots.style import COLOURS, new_figure

SHARES = 0.8, 0.9  # the default, and one for smooth curves
DRAWS = 200  # synthetic curves of a kind
ORDERS = 20  # in which RankMe of still weights is looked at
CAPTURES = 60
ROUGH = (0.03, 0.06, 0.1)  # standard deviations of log RankMe


def turns_of(steps, values, share):
    """What the rule with this `share` says of a curve."""
    detector = SpectralPhaseDetector(share=share)
    for step, value in zip(steps, values, strict=True):
        detector.update(int(step), float(value))
    return detector.turns


@dataclass(frozen=True)
class Curve:
    """RankMe at the captures of one run, or of one batch after the other at still weights."""

    setting: str
    kind: str
    steps: np.ndarray
    values: np.ndarray

    @property
    def name(self):
        """Of its line in the table."""
        return f"{self.setting}, {self.kind}"

    @property
    def is_still(self):
        """Whether nothing is to be found."""
        return self.kind.startswith("still")

    @cached_property
    def lowest(self):
        """The step of the lowest RankMe, averaged over 10 % of the steps to either side."""
        near = [abs(np.log(step / self.steps[1:])) <= np.log(1.1) for step in self.steps[1:]]
        means = [np.log(self.values[1:][close]).mean() for close in near]
        return int(self.steps[1:][int(np.argmin(means))])

    def each(self, thinned):
        """The same with each so many-th capture."""
        return Curve(self.setting, self.kind, self.steps[::thinned], self.values[::thinned])

    def turns(self, share=SHARES[0]):
        """What the rule says, by phase: the first of each."""
        found = turns_of(self.steps, self.values, share)
        return {turn.phase: turn for turn in reversed(found)}


def load(file):
    """The curves of one run."""
    found = np.load(file)
    setting, steps = file.name.split("-")[0], found["steps"]
    for kind in found.files:
        if kind == "steps":
            continue
        values = found[kind]
        known = np.isfinite(values)
        places = np.arange(len(values)) if kind.startswith("still") else steps
        yield Curve(setting, kind, places[known], values[known])


COLUMNS = (
    *("curves", "RankMe: start", "lowest", "at step", "end", "end / largest after the lowest"),
    *("warm-up told", "at step", "entropy-seeking told", "within 30 % of the lowest's step"),
    *("told at", "compression-seeking told", f"the same with a share of {SHARES[1]}"),
)


def line(curves):
    """What a line of the table has of its curves."""
    turns = [curve.turns() for curve in curves]
    warm_up, rise, fall = (
        [found.get(phase) for found in turns]
        for phase in SpectralPhase
        if phase is not SpectralPhase.NONE
    )
    near = [
        is_near(turn and turn.step, curve.lowest) for turn, curve in zip(rise, curves, strict=True)
    ]

    def told(found):
        return f"{sum(turn is not None for turn in found)} of {len(curves)}"

    def told_at(found):
        steps = [turn.confirmed_step for turn in found if turn is not None]
        return spread(steps, 0) if steps else "-"

    after = [curve.values[curve.values.argmin() :] for curve in curves]
    return [
        str(len(curves)),
        spread([curve.values[0] for curve in curves], 1),
        spread([curve.values.min() for curve in curves], 1),
        spread([curve.lowest for curve in curves], 0),
        spread([curve.values[-1] for curve in curves], 1),
        spread([values[-1] / values.max() for values in after]),
        *(told(warm_up), told_at(warm_up), told(rise), f"{sum(near)} of {len(curves)}"),
        *(told_at(rise), told(fall)),
        told([curve.turns(SHARES[1]).get(SpectralPhase.COMPRESSION_SEEKING) for curve in curves]),
    ]


def phases_table(curves):
    """Which phases are told of real curves, when, and with how few captures."""
    real = [curve for curve in curves if not curve.is_still]
    groups = {}
    for curve in sorted(real, key=lambda curve: curve.name):
        groups.setdefault(curve.name, []).append(curve)
    for thinned in (2, 3):
        groups[f"all, each {thinned}{'nd' if thinned == 2 else 'rd'} capture"] = [
            curve.each(thinned) for curve in real
        ]
    return markdown(["", *COLUMNS], ([name, *line(found)] for name, found in groups.items()))


def drawn(make):
    """Curves of CAPTURES values that `make` gives from a generator each."""
    return [np.exp(make(np.random.default_rng(seed))) for seed in range(DRAWS)]


def controls(curves):
    """By name: curves in which one phase at most is to be found, and which one."""
    still = {}
    for curve in curves:
        if curve.is_still:
            generator = np.random.default_rng(0)
            shuffled = [generator.permutation(curve.values) for _ in range(ORDERS)]
            still[curve.name] = [*still.get(curve.name, []), *shuffled]
    for name, found in still.items():
        yield f"{name}: each batch another", found, 0
    yield "constant", [np.full(CAPTURES, 20.0)], 0
    x = np.linspace(0, 3, CAPTURES)
    for sd in ROUGH:
        noise = f"noise of {sd:.0%}"
        yield f"constant, {noise}", drawn(lambda g, sd=sd: sd * g.standard_normal(CAPTURES)), 0
        yield (
            f"rises by e^3, {noise}",
            drawn(lambda g, sd=sd: x + sd * g.standard_normal(CAPTURES)),
            1,
        )
        yield (
            f"falls by e^3, {noise}",
            drawn(lambda g, sd=sd: -x + sd * g.standard_normal(CAPTURES)),
            1,
        )
    for sd in (0.005, 0.01, 0.02):
        walks = drawn(lambda g, sd=sd: sd * g.standard_normal(CAPTURES).cumsum())
        yield f"random walk, {sd:.1%} a capture", walks, 0
    real = [curve for curve in curves if not curve.is_still]
    pairs = [(curve.values, curve.steps.searchsorted(curve.lowest)) for curve in real]
    yield "real curves up to their lowest", [values[: at + 1] for values, at in pairs], 1
    yield "real curves from their lowest on", [values[at:] for values, at in pairs], 1


def alarms_table(curves):
    """In how many curves more phases are told than there are."""
    lines = []
    for name, found, phases in controls(curves):
        wrong = [
            str(sum(len(turns_of(range(len(of)), of, share)) > phases for of in found))
            for share in SHARES
        ]
        rough = spread([np.log(of).std() for of in found], 3) if phases == 0 else "-"
        lines.append([name, str(len(found)), rough, str(phases), *wrong])
    more = [f"curves with more, share {share}" for share in SHARES]
    return markdown(
        ["", "curves", "standard deviation of log RankMe", "phases there are", *more], lines
    )


def draw(curves, out):
    """RankMe over steps, a panel a setting and kind of rows; a mark where a phase begins."""
    real = [curve for curve in curves if not curve.is_still]
    names = sorted({curve.name for curve in real})
    figure = new_figure(3.2 * len(names), 3)
    axes = figure.subplots(1, len(names), squeeze=False, sharey="row")[0]
    for axis, name in zip(axes, names, strict=True):
        for curve in (curve for curve in real if curve.name == name):
            axis.plot(curve.steps + 1, curve.values, color=COLOURS[0], linewidth=0.8)
            turns = curve.turns().values()
            places = [[turn.step + 1 for turn in turns], [turn.rankme for turn in turns]]
            axis.plot(*places, "o", color=COLOURS[1], markersize=4)
        axis.set(title=name, xscale="log", yscale="log", xlabel="optimizer steps + 1")
        axis.grid(True, color="#EEEEEE")
    axes[0].set_ylabel("RankMe")
    figure.savefig(out)
