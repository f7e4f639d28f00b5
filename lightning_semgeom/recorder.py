"""One record after the other: figures of the sites become keys, phases, history and logger rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np

from lightning_semgeom.faults import attempted
from lightning_semgeom.history import GRAM_FOLDER, History
from lightning_semgeom.measure import metric_keys
from lightning_semgeom.phases import PhaseDetector
from lightning_semgeom.record import GramFile, Record

HEADLINES = ("gap", "z", "asymmetry")
MILESTONES = ("onset_step", "peak_step", "collapse_step")


class Recorder:
    """Builds the record of one step at a time and keeps what came before.

    The keys are the same in each record, NaN where nothing is known: loggers that write a table fix
    its columns with the first row.

    Args:
        name: the root of all keys.
        sites: the sites' names; the first one gives the headline values.
        attributes: the attributes' names.
    """

    def __init__(self, name: str, sites: Sequence[str], attributes: Sequence[str]) -> None:
        self.name = name
        self.sites = tuple(sites)
        self.attributes = tuple(attributes)
        self.history = History()
        self.phases = {(site, a): PhaseDetector() for site in sites for a in attributes}
        self.headline_phase = PhaseDetector()
        self.step: int | None = None
        self.values: dict[str, float] = {}
        self._headline: dict[str, float] = {}
        self._largest: dict[str, float] = {}
        self._phases_before: list[dict[str, Any]] = []
        self._grams: dict[str, tuple[np.ndarray, GramFile]] = {}

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
        self._phases_before = [detector.state_dict() for detector in self._detectors()]
        self._grams = {}

    def add(self, site: str, values: Mapping[str, float]) -> None:
        """Put the figures of `site` into the record and tell its phase detectors."""
        step = self.begun_step
        self._largest[site] = max(self._largest.get(site, -inf), values["gap"])
        for key, value in values.items():
            self.values[f"{self.name}_{site}/{key}"] = value
        for attribute in self.attributes:
            detector = self.phases[site, attribute]
            detector.update(step, values[f"gap/{attribute}"], values[f"z/{attribute}"])
            for milestone in MILESTONES:
                reached = getattr(detector, milestone)
                key = f"{self.name}_{site}/{milestone}/{attribute}"
                self.values[key] = nan if reached is None else float(reached)
        if site == self.sites[0]:
            phase = self.headline_phase.update(step, values["gap"], values["z"])
            self._headline = {
                **{f"{self.name}/{metric}": values[metric] for metric in HEADLINES},
                f"{self.name}/phase": float(phase),
            }
            self.values.update(self._headline)

    def take_headline(self) -> dict[str, float]:
        """The headline values that were found since the last call."""
        headline, self._headline = self._headline, {}
        return headline

    def add_gram(self, site: str, gram: np.ndarray, bands: Sequence[tuple[str, int]]) -> None:
        """Keep a Gram picture `[m, m]` of `site` with the record, and what its rows are."""
        file = f"{GRAM_FOLDER}/{site}/{self.begun_step:08d}.npy"
        self._grams[site] = gram, GramFile(file, tuple(bands))

    def is_new_maximum(self, site: str, gap: float) -> bool:
        """Whether `gap` is above all mean gaps of `site` before."""
        return gap > self._largest.get(site, -inf)

    def finish(self) -> None:
        """End the record.

        Raises:
            OSError: if the history's folder cannot be written; the record is in memory even then.
        """
        step, self.step = self.begun_step, None
        folder = self.history.folder
        # Pictures first: a record on disk names none that is not there.
        fault = None if folder is None else attempted(self._save_grams, folder)
        kept = {} if folder is None or fault else self._grams
        self.history.append(Record(step, self.values, {s: file for s, (_, file) in kept.items()}))
        if fault is not None:
            raise fault

    def _save_grams(self, folder: Path) -> None:
        for gram, kept in self._grams.values():
            path = folder / kept.file
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, gram)

    def state_dict(self) -> dict[str, Any]:
        """History and phases, as tensors and Python scalars; a record at work is left out."""
        detectors = [detector.state_dict() for detector in self._detectors()]
        return {
            "history": self.history.state_dict(),
            "phases": detectors if self.step is None else self._phases_before,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was saved."""
        self.history.load_state_dict(state["history"])
        for detector, saved in zip(self._detectors(), state["phases"], strict=True):
            detector.load_state_dict(saved)
        for site in self.sites:
            gaps = [record.values[f"{self.name}_{site}/gap"] for record in self.history.records]
            self._largest[site] = max((gap for gap in gaps if not isnan(gap)), default=-inf)

    def _detectors(self) -> list[PhaseDetector]:
        return [self.headline_phase, *self.phases.values()]

    def _keys(self) -> list[str]:
        of_site = [
            *metric_keys(self.attributes),
            *(f"{milestone}/{a}" for milestone in MILESTONES for a in self.attributes),
        ]
        headline = [f"{self.name}/{metric}" for metric in (*HEADLINES, "phase")]
        return headline + [f"{self.name}_{site}/{key}" for site in self.sites for key in of_site]
