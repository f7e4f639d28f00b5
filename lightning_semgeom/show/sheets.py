"""What is drawn of one record, and how it becomes pictures: all that a drawing process knows.

It asks for matplotlib, numpy and the record's data: a process that draws has no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from struct import unpack
from typing import TYPE_CHECKING

import numpy as np

from lightning_semgeom.faults import attempted
from lightning_semgeom.record.history import History
from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.record.record import Record
from lightning_semgeom.show.plots.grams import draw_gram
from lightning_semgeom.show.plots.maps import draw_map
from lightning_semgeom.show.plots.shared import draw_shared
from lightning_semgeom.show.plots.style import pixels
from lightning_semgeom.show.plots.timeline import timeline

if TYPE_CHECKING:
    import wandb
    from matplotlib.figure import Figure

_DRAW: dict[str, Callable[[SitePicture, str], tuple[Figure, object]]] = {
    "gram": draw_gram,
    "shared": draw_shared,
    "map": draw_map,
}


@dataclass(frozen=True)
class Drawn:
    """A picture for loggers."""

    png: bytes
    """The file."""
    caption: str
    """What it shows, and of which step."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, as the head of the file has them."""
        width, height = unpack(">II", self.png[16:24])
        return height, width

    @cached_property
    def pixels(self) -> np.ndarray:
        """uint8 `[height, width, 3]`."""
        from PIL import Image

        return np.asarray(Image.open(BytesIO(self.png)))

    @cached_property
    def for_wandb(self) -> wandb.Image:
        """As W&B takes it, in a file of its own."""
        import wandb

        return wandb.Image(self.pixels, caption=self.caption)


@dataclass(frozen=True)
class Shown:
    """A site at a step."""

    caption: str
    """What it is, and of which step."""
    picture: SitePicture | Path
    """What there is to see, or the file that has it."""


@dataclass(frozen=True)
class Sheet:
    """What is drawn of one record; nothing in it changes any more."""

    name: str
    """The root of all keys."""
    step: int
    """The record's."""
    sites: Mapping[str, Shown]
    """Each has three pictures."""
    records: tuple[Record, ...] = ()
    """Those of the timeline; none where none is drawn."""
    keys: tuple[str, ...] = ()
    """What the timeline needs of them."""

    def __len__(self) -> int:
        """How many pictures it will have."""
        return len(_DRAW) * len(self.sites) + bool(self.records)

    def trimmed(self) -> Sheet:
        """The same without the figures that no timeline shows."""
        records = [
            Record(r.step, {key: r.values[key] for key in self.keys if key in r.values})
            for r in self.records
        ]
        return replace(self, records=tuple(records), keys=())

    def drawn(self) -> Iterator[tuple[str, Drawn | Exception]]:
        """Key and picture one after the other, or what was wrong with it."""
        for site, shown in self.sites.items():
            for kind in _DRAW:
                yield f"{self.name}_{kind}/{site}", attempted(_of_site, kind, shown)
        if self.records:
            yield f"{self.name}/timeline", attempted(_of_run, self.step, self.records)


def _of_site(kind: str, shown: Shown) -> Drawn:
    picture, caption = shown.picture, shown.caption
    if isinstance(picture, Path):
        picture = SitePicture.load(picture)
    figure, _ = _DRAW[kind](picture, caption)
    return Drawn(_png(figure), caption)


def _of_run(step: int, records: Iterable[Record]) -> Drawn:
    history = History()
    for record in records:
        history.append(record)
    figure, _ = timeline(history)
    return Drawn(_png(figure), f"up to step {step}")


def _png(figure: Figure) -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels(figure)).save(file, "png")
    return file.getvalue()
