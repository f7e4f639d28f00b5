"""What is drawn of one record, and how it becomes pictures: all that a drawing process knows.

It asks for matplotlib, numpy and the record's data: a process that draws has no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from struct import pack, unpack
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zlib import compress, crc32

import numpy as np

from lightning_semgeom.faults import attempted
from lightning_semgeom.record.history import History
from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.record.record import Record
from lightning_semgeom.show.plots.grams import GramDrawing
from lightning_semgeom.show.plots.kept import Drawing, KeptDrawings
from lightning_semgeom.show.plots.maps import MapDrawing
from lightning_semgeom.show.plots.shared import SharedDrawing
from lightning_semgeom.show.plots.style import pixels
from lightning_semgeom.show.plots.timeline import timeline

if TYPE_CHECKING:
    import wandb

_DRAW: dict[str, type[Drawing]] = {
    "gram": GramDrawing,
    "shared": SharedDrawing,
    "map": MapDrawing,
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
        """As W&B takes it, which makes a file of it anew."""
        import wandb

        return wandb.Image(self.pixels, caption=self.caption)

    def bind_to_wandb(self, run: wandb.Run, key: str, step: int) -> None:
        """Have `for_wandb` ready, with its file in the folder of `run`: to log it is to name it."""
        import wandb

        # With this setting W&B would link to the file, which is soon gone.
        if not getattr(run.settings, "allow_media_symlink", False):
            with TemporaryDirectory() as folder:
                file = Path(folder) / "picture.png"
                file.write_bytes(self.png)
                image = wandb.Image(str(file), caption=self.caption)
                image.bind_to_run(run, key, step)
                vars(self)["for_wandb"] = image  # as the property itself keeps one


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

    def drawn(self, kept: KeptDrawings) -> Iterator[tuple[str, Drawn | Exception]]:
        """Key and picture one after the other, or what was wrong with it.

        Args:
            kept: what is left of sheets before.
        """
        for site, shown in self.sites.items():
            for kind, drawing in _DRAW.items():
                yield f"{self.name}_{kind}/{site}", attempted(_of_site, drawing, shown, kept)
        if self.records:
            yield f"{self.name}/timeline", attempted(_of_run, self.step, self.records)


def _of_site(drawing: type[Drawing], shown: Shown, kept: KeptDrawings) -> Drawn:
    picture, caption = shown.picture, shown.caption
    if isinstance(picture, Path):
        picture = SitePicture.load(picture)
    return Drawn(_png(kept.pixels(drawing, picture, caption)), caption)


def _of_run(step: int, records: Iterable[Record]) -> Drawn:
    history = History()
    for record in records:
        history.append(record)
    figure, _ = timeline(history)
    return Drawn(_png(pixels(figure)), f"up to step {step}")


def _png(pixels: np.ndarray) -> bytes:
    """The file of uint8 `[height, width, 3]`.

    Pillow tries five filters on each line, for which it takes three times as long; files of few
    colours become no smaller.
    """
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each begins with 0: no filter
    to = lines[:, 1:].reshape(pixels.shape)
    for colour in range(3):  # all three at once take three times as long
        to[..., colour] = pixels[..., colour]
    head = pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits each of red, green and blue
    parts = ((b"IHDR", head), (b"IDAT", compress(lines.data, 2)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        pack(">I", len(content)) + kind + content + pack(">I", crc32(kind + content))
        for kind, content in parts
    )
