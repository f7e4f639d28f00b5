"""Figures that are drawn again: what is kept of them looks as if drawn anew, and is bounded."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from lightning_semgeom.record.picture import MIXED
from lightning_semgeom.show.plots import draw_gram, draw_map, draw_shared, kept, pixels
from lightning_semgeom.show.plots.grams import GramDrawing
from lightning_semgeom.show.plots.kept import Ink, KeptDrawings
from lightning_semgeom.show.plots.maps import MapDrawing
from lightning_semgeom.show.plots.shared import SharedDrawing
from lightning_semgeom.show.sheets import Sheet, Shown
from tests import models

KINDS = {GramDrawing: draw_gram, SharedDrawing: draw_shared, MapDrawing: draw_map}
NAMES = ("colour", "size", "use")


def site(seed=0, cells=24, rows=None, names=NAMES, spread=1.0):
    """Cells of rows that lie `spread` apart."""
    generator = np.random.default_rng(seed)
    rows_of_cells = np.eye(6)[0] + spread * generator.normal(size=(cells, 6))
    rows_of_cells /= np.linalg.norm(rows_of_cells, axis=1, keepdims=True)
    labels = [
        [f"{name} {k * (a + 2) // cells}" for a, name in enumerate(names)] for k in range(cells)
    ]
    return models.picture(rows_of_cells @ rows_of_cells.T, labels, rows, names)


def with_labels(picture, change):
    labels = picture.labels.astype(object)
    change(labels)
    return replace(picture, labels=labels.astype(np.str_))


def rename(labels):
    labels[labels == "colour 1"] = "a colour of quite another name"


def mix(labels):
    labels[3, 1], labels[5, 2] = MIXED, ""


LOST = np.r_[0, 0, np.full(22, 3)]
RUN = [
    (site(0), "step 0"),
    (site(1, spread=0.2), "step 1"),
    (site(2, spread=0.01), "step 2"),
    (site(3, spread=3), "unembedding.of.a.long.name, " * 4),
    (site(3, spread=3, rows=np.arange(24) ** 2), "step 4"),
    (site(3, spread=3, rows=LOST), "step 5"),
    (site(0, rows=np.zeros(24)), "step 6"),
    (with_labels(site(4), rename), "step 7"),
    (with_labels(site(4), mix), "step 8"),
    (replace(site(4), attributes=np.array(["tint", "extent", "use"])), "step 9"),
    (site(5, names=("colour",)), "step 10"),
    (site(5, names=("size",)), "step 11"),
    (site(6, cells=10), "step 12"),
    (site(5, names=("colour", "size", "name")), "step 14"),
    (replace(site(7), gram=-site(7).gram), "step 13"),
    (models.picture(np.zeros((0, 0)), [], None, NAMES), "step 15"),
    (site(0), "step 16"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_again_looks_as_drawn_anew(kind):
    drawings = KeptDrawings()
    for picture, title in RUN + RUN[::-1]:
        found = drawings.pixels(kind, picture, title).astype(int)
        whole = pixels(KINDS[kind](picture, title)[0])
        # Layers are rounded to 8 bits once more.
        np.testing.assert_allclose(found, whole, rtol=0, atol=3, err_msg=title)


@pytest.fixture
def whole_draws(monkeypatch):
    """The figures that were drawn as a whole, in a list."""
    found, draw = [], FigureCanvasAgg.draw

    def draw_and_tell(canvas):
        found.append(canvas.figure)
        draw(canvas)

    monkeypatch.setattr(FigureCanvasAgg, "draw", draw_and_tell)
    return found


def slowly(number):
    """A site at the records of a run: cells move."""
    first, last = site(0).gram, site(1).gram
    for k in range(number):
        yield replace(site(0), gram=first + 0.02 * k / number * (last - first))


def test_a_run_draws_each_figure_as_a_whole_once_whatever_sites_share_it(whole_draws):
    drawings = KeptDrawings()
    for step, picture in enumerate(slowly(10)):
        shown = {name: Shown(f"{name}, step {step}", picture) for name in "ab"}
        drawn = dict(Sheet("semgeom", step, shown).drawn(drawings))
        assert len({picture.png for picture in drawn.values()}) == 6
    assert len(whole_draws) == len({*whole_draws}) == 3


def test_new_labels_and_new_limits_are_drawn_as_a_whole(whole_draws):
    drawings = KeptDrawings()
    for picture in (site(0), with_labels(site(0), rename), site(0)):
        drawings.pixels(GramDrawing, picture, "")
    assert len(whole_draws) == 2
    whole_draws.clear()
    for spread in (1, 0.1, 1, 0.1):
        drawings.pixels(MapDrawing, site(0, spread=spread), "")
    assert len(whole_draws) == 2
    assert len({*whole_draws}) == 1


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(kept, "MOST_FIGURES", 3)
    monkeypatch.setattr(kept, "MOST_INKS", 2)
    drawings = KeptDrawings()
    for cells in range(4, 9):
        for spread in (1, 0.5, 0.25, 0.1):
            drawings.pixels(MapDrawing, site(0, cells, spread=spread), "")
    assert len(drawings._kept) == 3
    for found in drawings._kept.values():
        assert len(found._inks[None]) == 2
        assert all(len(inks) <= 2 for inks in found._inks.values())


def test_ink_takes_little_memory():
    """As the words beside its numbers say."""
    drawings = KeptDrawings()
    for kind in KINDS:
        drawings.pixels(kind, site(0, 96), "a title")
    inks = [ink for k in drawings._kept.values() for of in k._inks.values() for ink in of.values()]
    sizes = [sum(part.nbytes for part in (i.places, i.colours, i.left)) for i in inks]
    assert max(sizes) < 1_000_000
    assert np.median(sizes) < 200_000


@pytest.mark.parametrize("seed", range(6))
def test_legends_of_a_map_are_where_matplotlib_finds_the_best_place(seed):
    drawing = MapDrawing(site(seed, 96))
    drawing.show(site(seed, 96), "")
    pixels(drawing.figure)
    found = [legend.get_window_extent().bounds for legend in drawing._legends]
    for legend in drawing._legends:
        legend.set_loc("best")
    pixels(drawing.figure)
    best = [legend.get_window_extent().bounds for legend in drawing._legends]
    np.testing.assert_allclose(found, best)


def test_ink_covers_what_is_below_by_its_share():
    below = np.array([[[200, 100, 0, 255], [10, 20, 30, 255], [0, 0, 0, 255]]], dtype=np.uint8)
    layer = np.array([[[0, 200, 255, 51], [9, 9, 9, 255], [255, 255, 255, 0]]], dtype=np.uint8)
    Ink.of(layer).lay_over(below)
    assert below[0, :, :3].tolist() == [[160, 120, 51], [9, 9, 9], [0, 0, 0]]


def test_a_file_of_a_picture_has_its_pixels():
    drawings, picture = KeptDrawings(), site()
    sheet = Sheet("semgeom", 7, {"a": Shown("a, step 7", picture)})
    for (key, drawn), (kind, draw) in zip(sheet.drawn(drawings), KINDS.items(), strict=True):
        image = Image.open(BytesIO(drawn.png))
        image.verify()
        found = drawings.pixels(kind, picture, "a, step 7")
        np.testing.assert_array_equal(drawn.pixels, found, err_msg=key)
        assert drawn.size == found.shape[:2] == pixels(draw(picture)[0]).shape[:2]


def test_points_that_move_a_little_leave_the_axes_of_a_map_where_they_are():
    limits = {tuple(draw_map(picture)[1][0].get_xlim()) for picture in slowly(10)}
    assert len(limits) == 1
    for picture, _ in RUN[:4]:
        figure, axes = draw_map(picture)
        positions, _ = picture.map()
        (left, right), (bottom, top) = axes[0].get_xlim(), axes[0].get_ylim()
        assert (positions > (left, bottom)).all()
        assert (positions < (right, top)).all()
        assert np.ptp(positions[:, 0]) > 0.5 * (right - left) or np.ptp(positions[:, 1]) > 0.5 * (
            top - bottom
        )
        assert figure.findobj(Text)
