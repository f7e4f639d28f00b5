"""Curves of gap and z, what the phase rule says of them, and what was there: for detector.py."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from many_runs import is_near, markdown

from lightning_semgeom import PhaseDetector
from lightning_semgeom.capture.schedule import Schedule

RULES = {"slow": {"quick_share": None}, "quick": {}}
BATCH, COVER = "training batch", "covering probe"


@dataclass(frozen=True)
class Curve:
    """Gap and z of one attribute in one run."""

    setting: str
    kind: str
    attribute: str
    steps: np.ndarray
    gaps: np.ndarray
    zs: np.ndarray

    @property
    def is_control(self):
        """Whether nothing is to be found: shuffled attributes and the plain features model."""
        return "#" in self.attribute or self.setting == "plain"

    @cached_property
    def peak(self):
        """The step of the largest gap, as a mean over 10 % of the steps to either side."""
        first = np.searchsorted(self.steps, self.steps / 1.1)
        last = np.searchsorted(self.steps, self.steps * 1.1, side="right")
        sums = np.concatenate([[0.0], self.gaps.cumsum()])
        return int(self.steps[((sums[last] - sums[first]) / (last - first)).argmax()])

    def captures(self, thinned=1, growth=1.1):
        """Where `SemanticGeometry` captures by itself, or each so many-th of these."""
        schedule = Schedule(every_n_steps=100, growth=growth, last_steps=(int(self.steps[-1]),))
        due = [step for step in range(int(self.steps[-1]) + 1) if schedule.is_due(step)]
        places = np.unique(np.searchsorted(self.steps, due))
        return np.concatenate([places[:1], places[thinned::thinned]])

    def without_a_stretch(self, seed):
        """The captures, but none for half of its steps or more from a step near the peak."""
        places = self.captures()
        begin = self.peak * 2 ** np.random.default_rng(seed).uniform(-1, 1)
        at = self.steps[places]
        return places[(at < begin) | (at > 1.5 * begin)]


def load(file):
    """The curves of one run: of each attribute, and their means."""
    found = np.load(file)
    members = defaultdict(list)
    for key in found.files:
        metric, *names = key.split("|")
        if metric == "gap":
            kind, attribute = names
            pair = np.stack([found[key], found["|".join(["z", *names])]])
            _, mark, shuffle = attribute.partition("#")
            members[kind, attribute] = [pair]
            members[kind, f"mean{mark}{shuffle}"].append(pair)
    for (kind, attribute), pairs in members.items():
        gaps, zs = np.mean(pairs, axis=0)
        known = np.isfinite(gaps) & np.isfinite(zs)
        setting, steps = file.name.split("-")[0], found[f"steps|{kind}"]
        yield Curve(setting, kind, attribute, steps[known], gaps[known], zs[known])


@dataclass(frozen=True)
class Verdict:
    """What a detector said of a curve."""

    onset: int | None
    peak: int | None
    """The first one that was confirmed."""
    confirmed: int | None
    """The step at which it was."""
    stated: int | None
    """The peak that is stated at the end, which may be another one."""


def judge(curve, places, rule):
    """Follow `curve` at `places`, with a new detector from the old one's state in the middle."""
    detector = PhaseDetector(**rule)
    peak = confirmed = None
    for number, place in enumerate(places):
        if number == len(places) // 2:
            state, detector = detector.state_dict(), PhaseDetector(**rule)
            detector.load_state_dict(state)
        step = int(curve.steps[place])
        detector.update(step, float(curve.gaps[place]), float(curve.zs[place]))
        if peak is None and detector.peak_step is not None:
            peak, confirmed = detector.peak_step, step
    return Verdict(detector.onset_step, peak, confirmed, detector.peak_step)


def told(curves, verdicts):
    """First peaks within 30 % of the true step, those at the end, and how late the first are told.

    That is the step of their confirmation over the true one.
    """
    pairs = list(zip(curves, verdicts, strict=True))
    first = sum(is_near(v.peak, c.peak) for c, v in pairs)
    stated = sum(is_near(v.stated, c.peak) for c, v in pairs)
    counts = f"{first} of {len(curves)}", f"{stated} of {len(curves)}"
    delays = [v.confirmed / c.peak for c, v in pairs if v.confirmed]
    if not delays:
        return *counts, "-"
    low, middle, high = np.quantile(delays, [0.05, 0.5, 0.95])
    return *counts, f"{middle:.2f} ({low:.2f} to {high:.2f})"


SAMPLES = {
    "as captured": lambda curve, seed: curve.captures(),
    "growth 1.2": lambda curve, seed: curve.captures(growth=1.2),
    "each 2nd": lambda curve, seed: curve.captures(2),
    "each 3rd": lambda curve, seed: curve.captures(3),
    "each 4th": lambda curve, seed: curve.captures(4),
    "a stretch lost": lambda curve, seed: curve.without_a_stretch(seed),
}


def has_peak(curve):
    """Whether it rises and falls within the run."""
    return 1 < curve.peak < 0.9 * curve.steps[-1]


def peaks_table(curves):
    """How many peaks are found, and how late, by setting and by captures."""
    columns = ("first within 30 %", "at the end", "delay")
    header = [f"{rule}: {what}" for rule in RULES for what in columns]
    lines = []
    real = [curve for curve in curves if not curve.is_control and has_peak(curve)]
    by_setting = {(c.setting, c.kind): [] for c in real}
    for curve in real:
        by_setting[curve.setting, curve.kind].append(curve)
    groups = [(*key, found, "as captured") for key, found in by_setting.items()]
    for kind in ("W", "H"):
        pooled = [curve for curve in real if curve.kind == kind]
        groups += [("all", kind, pooled, sample) for sample in SAMPLES] if pooled else []
    for setting, kind, found, sample in groups:
        cells = []
        for rule in RULES.values():
            verdicts = [judge(c, SAMPLES[sample](c, k), rule) for k, c in enumerate(found)]
            cells += told(found, verdicts)
        where = f"{setting}, {kind}" + ("" if sample == "as captured" else f", {sample}")
        lines.append([where, str(len(found)), *cells])
    return markdown(["captures", "curves", *header], lines)


def alarms_table(curves):
    """What is found where nothing is to be found."""
    counted = [f"{what}, {rule}" for what in ("onsets", "peaks") for rule in RULES]
    lines = []
    groups = {
        f"shuffled attributes, {kind}": [c for c in curves if "#" in c.attribute and c.kind == kind]
        for kind in ("W", "H", BATCH, COVER)
    } | {
        "plain features model": [
            c for c in curves if c.setting == "plain" and "#" not in c.attribute
        ],
        "gaps that only fall, or still rise": [
            c for c in curves if not c.is_control and not has_peak(c)
        ],
    }
    for name, found in groups.items():
        if found:
            verdicts = [[judge(c, c.captures(), rule) for c in found] for rule in RULES.values()]
            onsets = [str(sum(v.onset is not None for v in of_rule)) for of_rule in verdicts]
            peaks = [str(sum(v.peak is not None for v in of_rule)) for of_rule in verdicts]
            top = max(c.zs.max() for c in found)
            lines.append([name, str(len(found)), f"{top:.1f}", *onsets, *peaks])
    return markdown(["", "curves", "largest z", *counted], lines)
