"""One look at a model: its figures, pictures and rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.extras import needs
from lightning_semgeom.record.history import History
from lightning_semgeom.record.keys import COUNTS, SIMILARITIES, SPECTRUM
from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.record.recorder import Recorder
from lightning_semgeom.stores import place

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor

_SHOWN = ("gap", "z", "strength", "partial_gap")


@dataclass(frozen=True)
class SiteRows:
    """What was measured at a site."""

    rows: Tensor
    """`[n, d]`; of a weight its own memory."""
    labels: Tensor
    """int64 `[n]` on the host: the table's row of each."""
    version: int
    """How often that memory had been written to."""

    @classmethod
    def of(cls, rows: Tensor, labels: Tensor) -> SiteRows:
        """Rows as they are now."""
        return cls(rows, labels, _version(rows))

    @property
    def have_changed(self) -> bool:
        """Whether their memory was written to since."""
        return _version(self.rows) != self.version


@dataclass(frozen=True)
class SiteFound:
    """What was found at a site."""

    values: Mapping[str, float]
    """Figures by the keys of `metric_keys`."""
    picture: SitePicture
    """What its pictures draw."""
    rows: SiteRows
    """What was measured."""


@dataclass(frozen=True, repr=False)
class Snapshot:
    """What `snapshot` has found; `print` it for a table.

    Example:
        >>> import torch
        >>> from lightning_semgeom import snapshot
        >>> model = torch.nn.Sequential(torch.nn.Embedding(4, 3), torch.nn.Linear(3, 4, bias=False))
        >>> rows = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]])
        >>> model[1].weight = torch.nn.Parameter(rows)
        >>> print(snapshot(model, {"colour": ["red", "red", "blue", "blue"]}))
        Snapshot of 1 site
          unembedding: 4 rows, asymmetry 0.333, participation_ratio 1.8, effective_rank 1.89
            colour: gap 1, z 1.22, strength 0.5, partial_gap 1
    """

    name: str
    """The root of all keys."""
    attributes: tuple[str, ...]
    """Their names."""
    found: Mapping[str, SiteFound]
    """By site."""

    @property
    def sites(self) -> list[str]:
        """The sites' names, in order."""
        return [*self.found]

    @cached_property
    def figures(self) -> Mapping[str, float]:
        """The record of SemanticGeometry for these weights: the same keys, NaN where undefined.

        What needs more than one look, as a phase, is as at the first record of a run.
        """
        history = History()
        history.append(self, 0)
        return history.records[0].values

    def to_pandas(self) -> pd.DataFrame:
        """A row for each site and attribute, a column for each figure; those of a site repeated."""
        with needs("pandas"):
            import pandas as pd

        rows = {}
        for site, one in self.found.items():
            of_site = {metric: one.values[metric] for metric in (*SPECTRUM, *COUNTS)}
            for name in self.attributes:
                own = {metric: one.values[f"{metric}/{name}"] for metric in SIMILARITIES}
                rows[site, name] = own | of_site
        frame = pd.DataFrame.from_dict(rows, orient="index")
        frame.index = pd.MultiIndex.from_tuples(rows, names=["site", "attribute"])
        return frame

    def picture(self, site: str) -> SitePicture:
        """What pictures of `site` draw.

        Raises:
            KeyError: if there is no such site; the message lists those that there are.
        """
        return self._site(site).picture

    def rows(self, site: str) -> tuple[Tensor, Tensor]:
        """What was measured at `site`, for whoever goes on with it.

        Of a weight on several processes these are the rows of this one; hidden states are of all.

        Returns:
            Rows `[n, d]`, and labels int64 `[n]`: which row of the table each of them is. Rows of a
            weight are the model's own memory: no copy is made.

        Raises:
            KeyError: if there is no such site; the message lists those that there are.
            RuntimeError: if the model was trained on meanwhile, so that they are others.
        """
        held = self._site(site).rows
        if held.have_changed:
            raise RuntimeError(
                f"the weight of '{site}' has changed since it was looked at, and its rows are a "
                "part of it. Ask for rows before training goes on, and clone them."
            )
        return held.rows, held.labels

    def plot(self, site: str | None = None) -> tuple[Figure, np.ndarray]:
        """The Gram of one site, or those of all side by side (needs matplotlib).

        Returns:
            The figure, and the axes `[sites]` of its Grams.

        Raises:
            KeyError: if there is no such site; the message lists those that there are.
        """
        from lightning_semgeom.show.plots.grams import draw_gram, gram_row

        if site is not None:
            figure, axis = draw_gram(self.picture(site), site)
            return figure, np.array([axis])
        figure = gram_row([(name, one.picture) for name, one in self.found.items()])
        return figure, np.array(figure.axes[: len(self.found)])

    def save(self, folder: str | Path, step: int = 0) -> History:
        """Write it as a history of one record, with pictures; `History.load` reads it.

        What another run left in `folder` is kept in `earlier.1` and so on.

        Args:
            folder: where to, on this machine or in a store, as `s3://bucket/run`.
            step: how many updates the weights have had.

        Raises:
            OSError: if the folder cannot be written.
        """
        history = History()
        history.open(place(folder))
        history.append(self, step)
        return history

    def recorder(self, history: History) -> Recorder:
        """What adds snapshots of this kind to `history`, and follows the phases of its records.

        Raises:
            ValueError: if its records have other sites or attributes.
        """
        if len(history):
            pairs = [(site, name) for site in history.sites for name in history.attributes(site)]
            self._check_alike(pairs, f"{self.name}/gap" in history.keys)
        return Recorder(self.name, self.sites, self.attributes, history)

    def add_to(self, recorder: Recorder, step: Any) -> None:
        """Make a record of it.

        Args:
            recorder: from `recorder`, of this snapshot or of one before.
            step: how many updates the weights have had.

        Raises:
            ValueError: if `step` is none, or not after the last one, or the recorder is of other
                sites or attributes.
            OSError: if the history cannot be written.
        """
        if not isinstance(step, int):
            raise ValueError(
                f"a snapshot does not know the step of its weights; got {step!r}. Say it: "
                "history.append(snapshot(...), step)."
            )
        self._check_alike([*recorder.phases], recorder.name == self.name)
        recorder.history.check_next(step)
        recorder.begin(step)
        for site, one in self.found.items():
            recorder.add(site, one.values, one.picture)
        recorder.finish(keep_pictures=True)
        recorder.write()

    def _check_alike(self, pairs: list[tuple[str, str]], is_of_name: bool) -> None:
        own = [(site, name) for site in self.found for name in self.attributes]
        if pairs != own or not is_of_name:
            raise ValueError(
                f"the history is of other figures: it follows {_listed(pairs)}, and the snapshot "
                f"'{self.name}' has {_listed(own)}. Give each kind of snapshot its own history."
            )

    def _site(self, site: str) -> SiteFound:
        if site not in self.found:
            raise KeyError(f"no site '{site}' in the snapshot; there are {', '.join(self.found)}.")
        return self.found[site]

    def __repr__(self) -> str:
        number = len(self.found)
        lines = [f"Snapshot of {number} site{'' if number == 1 else 's'}"]
        for site, one in self.found.items():
            shape = ", ".join(f"{metric} {one.values[metric]:.3g}" for metric in SPECTRUM)
            lines.append(f"  {site}: {one.values['rows']:.0f} rows, {shape}")
            for name in self.attributes:
                told = (f"{metric} {one.values[f'{metric}/{name}']:.3g}" for metric in _SHOWN)
                lines.append(f"    {name}: {', '.join(told)}")
        return "\n".join(lines)


def _version(rows: Tensor) -> int:
    return 0 if rows.is_inference() else rows._version


def _listed(pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"'{name}' of {site}" for site, name in pairs)
