"""Figures that are drawn again and again: what stays the same is drawn once and kept as ink.

Ticks, names and legends take nine tenths of the time of a picture, and seldom change from one
record to the next. They lie over the data, and under words that change.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from lightning_semgeom.record.picture import SitePicture

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

MOST_FIGURES = 12
"""Three of each set of cells; some 3 MB each."""
MOST_INKS = 4
"""Of a frame and of each note, as they change; 1 MB at most, mostly less than 200 kB."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Drawing(Protocol):
    """A figure that can show one picture after the other, if they have the same layout."""

    figure: Figure

    def __init__(self, picture: SitePicture) -> None: ...

    @staticmethod
    def layout(picture: SitePicture) -> Hashable:
        """All that `__init__` takes from a picture."""

    def show(self, picture: SitePicture, title: str) -> Sequence[Hashable]:
        """Put a picture into the figure.

        Returns:
            What the frame follows from, beside the layout: all that is not told below; then what
            each of the `notes` does.
        """

    @property
    def data(self) -> Sequence[Artist]:
        """What each `show` changes and lies below the rest."""

    @property
    def notes(self) -> Sequence[Artist]:
        """What lies on the frame and seldom changes: legends, names of axes."""

    @property
    def words(self) -> Sequence[Artist]:
        """What each `show` changes and lies above the rest."""


@dataclass(frozen=True)
class Ink:
    """A layer that is mostly empty, as what lies over the pixels below it."""

    places: np.ndarray
    """int64 `[k]`, of pixels that are not empty."""
    colours: np.ndarray
    """fp32 `[k, 4]`, by the share that each covers."""
    left: np.ndarray
    """fp32 `[k, 1]`: the share of what is below that is seen."""

    @classmethod
    def of(cls, layer: np.ndarray) -> Ink:
        """That of `layer`, uint8 `[height, width, 4]`."""
        pixels = layer.reshape(-1, 4)
        places = pixels[:, 3].nonzero()[0]
        colours = pixels[places].astype(np.float32)
        share = colours[:, 3:] / 255
        colours[:, 3] = 255
        return cls(places, colours * share + 0.5, 1 - share)  # a half: then numbers are cut

    def lay_over(self, layer: np.ndarray) -> None:
        """Change the opaque `layer`, uint8 `[height, width, 4]`, to what is seen then."""
        pixels = layer.view(np.uint32).reshape(-1)
        below = pixels[self.places].view(np.uint8).reshape(-1, 4)
        seen = (below * self.left + self.colours).astype(np.uint8)
        pixels[self.places] = seen.view(np.uint32)[:, 0]


class KeptDrawings:
    """Draws pictures in figures that were made for earlier ones, where they have the same layout.

    Figures and their frames are forgotten when others were used more lately.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def pixels(self, kind: type[Drawing], picture: SitePicture, title: str) -> np.ndarray:
        """The picture drawn, uint8 `[height, width, 3]`; the next call may change it."""
        key = (kind, kind.layout(picture))
        kept = _latest(self._kept, key, lambda: _Kept(kind(picture)), MOST_FIGURES)
        return kept.pixels(picture, title)


class _Kept:
    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._canvas: Any = drawing.figure.canvas
        self._inks: dict[Artist | None, OrderedDict[Hashable, Ink]] = defaultdict(OrderedDict)

    def pixels(self, picture: SitePicture, title: str) -> np.ndarray:
        drawing = self._drawing
        frame, *notes = drawing.show(picture, title)
        inks = [_latest(self._inks[None], frame, self._frame, MOST_INKS)]
        for note, state in zip(drawing.notes, notes, strict=True):
            inks.append(_latest(self._inks[note], state, partial(self._alone, note), MOST_INKS))
        self._draw(drawing.figure.patch, *drawing.data)
        layer = np.asarray(self._canvas.buffer_rgba())
        for ink in inks:
            ink.lay_over(layer)
        for artist in drawing.words:
            artist.draw(self._canvas.get_renderer())
        return layer[..., :3]

    def _frame(self) -> Ink:
        drawing, figure = self._drawing, self._drawing.figure
        grounds = [figure.patch, *(axis.patch for axis in figure.axes)]
        with _hidden([*drawing.data, *drawing.notes, *drawing.words, *grounds]):
            self._canvas.draw()
        return Ink.of(np.asarray(self._canvas.buffer_rgba()))

    def _alone(self, artist: Artist) -> Ink:
        self._draw(artist)
        return Ink.of(np.asarray(self._canvas.buffer_rgba()))

    def _draw(self, *artists: Artist) -> None:
        """Nothing but these."""
        renderer = self._canvas.get_renderer()
        renderer.clear()
        for artist in artists:
            artist.draw(renderer)


@contextmanager
def _hidden(artists: Iterable[Artist]) -> Iterator[None]:
    seen = [artist for artist in artists if artist.get_visible()]
    for artist in seen:
        artist.set_visible(False)
    try:
        yield
    finally:
        for artist in seen:
            artist.set_visible(True)


def _latest(kept: OrderedDict[Key, Value], key: Key, make: Callable[[], Value], most: int) -> Value:
    """What is kept for `key`, or else made; of more than `most` the one used longest ago goes."""
    if key not in kept:
        kept[key] = make()
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]
