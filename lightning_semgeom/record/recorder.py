"""One record after the other: figures of the sites become keys, phases and the history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from math import inf, isnan, nan
from typing import Any

from lightning_semgeom.faults import AwayError, attempted
from lightning_semgeom.record.history import History
from lightning_semgeom.record.keys import metric_keys
from lightning_semgeom.record.phases import PhaseDetector
from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.record.record import Milestones, Record

MOST_MISSED = 64
"""Pictures that are kept for a disk or a store that may take them later, of 40 kB each."""

HEADLINES = ("gap", "z", "asymmetry")
_PHASES = ("phase", "peak_step", "asymmetry_peak_step")
MILESTONES = tuple(milestone.name for milestone in fields(Milestones))


class Recorder:
    """Builds the record of one step at a time and keeps what came before.

    The keys are the same in each record, NaN where nothing is known: loggers that write a table fix
    its columns with the first row.

    Args:
        name: the root of all keys.
        sites: the sites' names; the first one gives the headline values.
        attributes: the attributes' names.
        history: what it adds its records to, with records of these sites or none; None: a new one.
        more: figures that some sites have besides those of all.
    """

    def __init__(
        self,
        name: str,
        sites: Sequence[str],
        attributes: Sequence[str],
        history: History | None = None,
        more: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.name = name
        self.sites = tuple(sites)
        self.attributes = tuple(attributes)
        self._more = more or {}
        self.history = History() if history is None else history
        self.phases = {(site, a): PhaseDetector() for site in sites for a in attributes}
        self.mean_phases = {site: PhaseDetector() for site in sites}
        self.step: int | None = None
        self.values: dict[str, float] = {}
        self.pictures: dict[str, SitePicture] = {}
        self.new_peaks: dict[str, int] = {}
        self.new_collapses: list[tuple[str, str]] = []
        self._unwritten: dict[tuple[int, str], SitePicture] = {}
        self._monitored: dict[str, float] = {}
        self._top_asymmetry = -inf
        self._asymmetry_step: int | None = None
        self._phases_before: dict[str, Any] = {}
        for record in self.history:
            self._follow_again(record)

    @property
    def begun_step(self) -> int:
        """The step of the record at work."""
        if self.step is None:
            raise RuntimeError("Recorder.begin comes first")
        return self.step

    def begin(self, step: int) -> None:
        """Start the record of the weights after `step` updates."""
        self.step = step
        self.values = dict.fromkeys(self._keys(), nan)
        self._phases_before = self._phases_now()
        self.pictures, self.new_peaks, self.new_collapses = {}, {}, []

    def add(self, site: str, values: Mapping[str, float], picture: SitePicture) -> None:
        """Put the figures of `site` into the record and tell its phase detectors."""
        step = self.begun_step
        self.pictures[site] = picture
        for key, value in values.items():
            self.values[f"{self.name}_{site}/{key}"] = value
        for key in ("gap", *(f"gap/{attribute}" for attribute in self.attributes)):
            self._monitored[f"{self.name}_{site}/{key}"] = values[key]
        phase = self._follow(step, site, values)
        if site == self.sites[0]:
            headline = {
                **{f"{self.name}/{metric}": values[metric] for metric in HEADLINES},
                f"{self.name}/phase": float(phase),
            }
            self.values |= headline
            self._monitored |= headline

    def _follow(self, step: int, site: str, values: Mapping[str, float]) -> int:
        """Tell the phase detectors of `site`; the phase of its mean."""
        for attribute in self.attributes:
            detector = self.phases[site, attribute]
            had_collapsed = detector.collapse_step is not None
            detector.update(step, values[f"gap/{attribute}"], values[f"z/{attribute}"])
            if detector.collapse_step is not None and not had_collapsed:
                self.new_collapses.append((site, attribute))
        mean = self.mean_phases[site]
        had_peaked = mean.peak_step is not None
        phase = mean.update(step, values["gap"], values["z"])
        if mean.peak_step is not None and not had_peaked:
            self.new_peaks[site] = mean.peak_step
        if site == self.sites[0]:
            self._follow_asymmetry(step, values["asymmetry"])
        return phase

    def _follow_again(self, record: Record) -> None:
        """Tell the detectors of a record that was made before."""
        for site in self.sites:
            root = f"{self.name}_{site}/"
            values = {key: record.values[root + key] for key in metric_keys(self.attributes)}
            if not isnan(values["rows"]):  # else the site was not measured then
                self._follow(record.step, site, values)

    def take_monitored(self) -> dict[str, float]:
        """The headline values and gaps that were found since the last call.

        What is not known is left out: callbacks that watch a value keep the last known one.
        """
        monitored, self._monitored = self._monitored, {}
        return {key: value for key, value in monitored.items() if not isnan(value)}

    def finish(self, keep_pictures: bool) -> None:
        """End the record, in memory; `write` brings it into the history's folder.

        Args:
            keep_pictures: whether to write its pictures; one that may turn out to be the peak's is
                written anyway.
        """
        step, self.step = self.begun_step, None
        self.values |= self._milestones()
        peaks = {site for site in self.pictures if self.mean_phases[site].top_step == step}
        self.history.keep(Record(step, self.values))
        self._keep_for_writing(step, self.pictures if keep_pictures else peaks)

    def _milestones(self) -> dict[str, float]:
        """What is known of the phases, also of sites that this record has no figures of."""
        first = self.mean_phases[self.sites[0]]
        known = {
            f"{self.name}/peak_step": _number(first.peak_step),
            f"{self.name}/asymmetry_peak_step": _number(self._asymmetry_step),
        }
        for (site, attribute), detector in self.phases.items():
            for milestone in MILESTONES:
                key = f"{self.name}_{site}/{milestone}/{attribute}"
                known[key] = _number(getattr(detector, milestone))
        return known

    def keep_pictures(self) -> None:
        """Have the next `write` write the pictures of the last record after all."""
        self._keep_for_writing(self.history.records[-1].step, self.pictures)

    def _keep_for_writing(self, step: int, sites: Iterable[str]) -> None:
        if self.history.folder is None:
            return
        new = {(step, site): self.pictures[site] for site in sites}
        # A new one waits for none that cannot be written. In another thread `write` may be at work:
        # what it has just written may then be written again, and nothing is lost.
        self._unwritten = dict([*(new | self._unwritten).items()][: MOST_MISSED + len(new)])

    def write(self) -> None:
        """Bring into the history's folder what it lacks.

        Raises:
            OSError: if it cannot be written; the next call tries again.
        """
        # Pictures first: a record on disk names none that is not there.
        fault = attempted(self._save_pictures)
        if not isinstance(fault, AwayError):  # else one more wait for nothing
            self.history.write()
        if fault is not None:
            raise fault

    def _save_pictures(self) -> None:
        for (step, site), picture in [*self._unwritten.items()]:
            self.history.save_picture(step, site, picture)
            self._unwritten.pop((step, site), None)

    def state_dict(self) -> dict[str, Any]:
        """History and phases, as tensors and Python scalars; a record at work is left out."""
        phases = self._phases_now() if self.step is None else self._phases_before
        return {"history": self.history.state_dict(), **phases}

    def load_state_dict(self, state: dict[str, Any]) -> list[str]:
        """Go on where `state` was saved, by the names of sites and attributes.

        Returns:
            What was followed then and is not now, or the other way round, in words.
        """
        self.history.load_state_dict(state["history"])
        means, phases = _saved_phases(state, self.history)
        news = _differences(phases, self.phases) if means else []
        for site in means.keys() & self.mean_phases.keys():
            if set(phases[site]) == set(self.attributes):
                self.mean_phases[site].load_state_dict(means[site])
            else:
                news.append(f"means over the attributes of {site} are over others, and peak anew")
        for (site, attribute), detector in self.phases.items():
            if attribute in phases.get(site, {}):
                detector.load_state_dict(phases[site][attribute])
        first, before = self.sites[0], next(iter(means), self.sites[0])
        if first == before:
            for record in self.history:
                self._follow_asymmetry(record.step, record.values[f"{self.name}/asymmetry"])
        else:
            news.append(f"{self.name}/gap and other headlines are of {first}, and not of {before}")
        return news

    def _phases_now(self) -> dict[str, Any]:
        phases: dict[str, dict[str, Any]] = {site: {} for site in self.sites}
        for (site, attribute), detector in self.phases.items():
            phases[site][attribute] = detector.state_dict()
        means = {site: detector.state_dict() for site, detector in self.mean_phases.items()}
        return {"mean_phases": means, "phases": phases}

    def _follow_asymmetry(self, step: int, asymmetry: float) -> None:
        if asymmetry > self._top_asymmetry:
            self._top_asymmetry, self._asymmetry_step = asymmetry, step

    def _keys(self) -> list[str]:
        phases = [f"{milestone}/{a}" for milestone in MILESTONES for a in self.attributes]
        keys = [f"{self.name}/{metric}" for metric in (*HEADLINES, *_PHASES)]
        for site in self.sites:
            of_site = metric_keys(self.attributes, self._more.get(site, ()))
            keys += [f"{self.name}_{site}/{key}" for key in (*of_site, *phases)]
        return keys


def _number(step: int | None) -> float:
    return nan if step is None else float(step)


def _saved_phases(
    state: Mapping[str, Any], history: History
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Of each site the saved detector of its mean, and those of its attributes."""
    if not isinstance(state["phases"], list):
        return state["mean_phases"], state["phases"]
    # Version 0.1 has them in the order of the keys of its records: all means come first.
    saved, sites = iter(state["phases"]), history.sites
    means = dict(zip(sites, saved, strict=False))
    return means, {site: dict(zip(history.attributes(site), saved, strict=False)) for site in sites}


def _differences(
    saved: Mapping[str, Mapping[str, Any]], now: Mapping[tuple[str, str], Any]
) -> list[str]:
    before = {(site, attribute) for site, found in saved.items() for attribute in found}
    news = []
    for what, pairs in (
        ("not followed any more, and its curve ends", before - set(now)),
        ("new, and its curve begins", set(now) - before),
    ):
        news += [f"'{attribute}' of {site} is {what}" for site, attribute in sorted(pairs)]
    return news
