"""What pictures show, read from the drawn figures, and that drawing leaves nothing behind."""

import math
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lightning_semgeom import (
    AttributeSimilarity,
    History,
    NeuralCollapse,
    PhaseDetector,
    Spectrum,
    compare,
    loss_deceleration,
)
from lightning_semgeom.record.picture import MIXED
from lightning_semgeom.record.record import Record
from lightning_semgeom.show.plots import (
    draw_gram,
    draw_map,
    draw_shared,
    gram_row,
    pixels,
    timeline,
)
from lightning_semgeom.show.plots.layout import shortened, text_width
from lightning_semgeom.show.plots.style import COLOURS, bare_figure
from tests import models

STEPS = [*range(12), *range(12, 400, 12)]


def rise_and_fall(step, a):
    return math.exp(-((math.log((step + 1) / 40)) ** 2)) / (a + 2)


def run(gap=rise_and_fall):
    history, detectors = History(), {}
    for step in STEPS:
        values = {"semgeom/gap": gap(step, 0)}
        for site in ("unembedding", "hidden.norm"):
            for a, name in enumerate(("colour", "kind")):
                value = gap(step, a)
                values[f"semgeom_{site}/gap/{name}"] = value
                detector = detectors.setdefault((site, name), PhaseDetector())
                detector.update(step, value, 90 * value)
                for milestone in ("onset_step", "peak_step", "collapse_step"):
                    reached = getattr(detector, milestone)
                    key = f"semgeom_{site}/{milestone}/{name}"
                    values[key] = math.nan if reached is None else reached
            values[f"semgeom_{site}/asymmetry"] = value
        history.append(Record(step, values))
    return history


@pytest.fixture(autouse=True)
def nothing_global_changes():
    settings, figures = dict(mpl.rcParams), plt.get_fignums()
    yield
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == figures == []


def test_the_timeline_draws_each_site_attribute_control_and_mark():
    history, control = run(), run(gap=lambda step, a: 0.01)
    figure, axes = timeline(history, control, (np.arange(400), np.linspace(3, 1, 400)))
    assert axes.shape == (3, 2)
    gaps = axes[0, 0]
    assert gaps.get_title() == "unembedding"
    assert gaps.get_xscale() == "log"
    legend = [text.get_text() for text in gaps.get_legend().get_texts()]
    assert legend == ["shuffled (control)", "colour", "kind", "onset", "peak", "gone"]
    peak = max(STEPS, key=lambda step: rise_and_fall(step, 0))
    marks = [line for line in gaps.lines if line.get_marker() == "*" and len(line.get_xdata())]
    assert marks[0].get_xdata().tolist() == [peak + 1]
    assert pixels(figure).std() > 10


def test_the_timeline_has_a_line_where_the_loss_decelerates():
    steps = np.arange(1, 400)
    loss = np.maximum(9 * steps**-0.5, 1.6 * steps**-0.1)
    found = loss_deceleration(steps, loss)
    _, axes = timeline(run(), None, (steps, loss))
    for row, labels in ((0, ["loss decelerates"]), (1, []), (2, ["_child1"])):
        lines = [line for line in axes[row, 0].lines if line.get_linestyle() == "--"]
        assert [line.get_label() for line in lines] == labels
        assert all(line.get_xdata()[0] == found.step + 1 for line in lines)


@pytest.mark.parametrize("gap", [lambda step, a: 0.2, lambda step, a: math.nan])
def test_constant_and_undefined_curves_are_drawn_without_a_warning(gap):
    figure, _ = timeline(run(gap))
    assert pixels(figure).std() > 5


def test_a_history_is_plotted_alone_or_into_axes_of_one_s_own():
    figure, axes = run().plot()
    assert axes.shape == (2, 2)
    assert figure.axes == list(axes.ravel())
    own = mpl.figure.Figure().subplots()
    figure, ax = run().plot("hidden.norm", ax=own)
    assert ax is own
    assert figure is own.figure
    assert {line.get_label() for line in ax.lines} >= {"colour", "kind"}
    empty, _ = History().plot()
    assert pixels(empty).std() > 0


def test_runs_on_one_axis_have_colours_and_names_of_their_own():
    ax = mpl.figure.Figure().subplots()
    for name in ("seed 0", "seed 1"):
        run().plot(ax=ax, label=name)
    drawn = {line.get_label(): line.get_color() for line in ax.lines if ":" in line.get_label()}
    assert [*drawn] == [f"{s}: {a}" for s in ("seed 0", "seed 1") for a in ("colour", "kind")]
    assert len(set(drawn.values())) == 4
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(told) == len(set(told))
    assert {"peak", "onset"} <= set(told)
    with pytest.raises(ValueError, match=r"plot\(label='a'\) names a run among others: give ax="):
        run().plot(label="a")


def test_seeds_are_compared_by_their_median_and_all_they_span():
    seeds = [run(lambda step, a, k=k: k * rise_and_fall(step, a)) for k in (1, 5, 2)]
    figure, axes = compare({"many": seeds, "one": run()})
    assert [axis.get_title() for axis in axes] == ["colour", "kind"]
    for a, axis in enumerate(axes):
        expected = np.array([rise_and_fall(step, a) for step in STEPS])
        many, one = (line for line in axis.lines if not line.get_label().startswith("_"))
        assert [many.get_label(), one.get_label()] == ["many (3 runs)", "one"]
        assert many.get_color() != one.get_color()
        np.testing.assert_allclose(many.get_xdata(), np.array(STEPS) + 1)
        np.testing.assert_allclose(many.get_ydata(), 2 * expected)
        np.testing.assert_allclose(one.get_ydata(), expected)
        (band,) = axis.collections
        corners = band.get_paths()[0].vertices[:, 1]
        assert corners.min() == pytest.approx(expected.min())
        assert corners.max() == pytest.approx(5 * expected.max())
    assert pixels(figure).std() > 5
    _, axes = compare({"one": run()}, site="hidden.norm")
    assert len(axes[0].collections) == 0


def test_seeds_are_compared_where_all_have_steps_and_figures():
    longer = run(lambda step, a: math.nan if step == 5 else 0.1)
    longer.append(Record(500, dict(longer.records[-1].values)))
    _, axes = compare({"both": [run(), longer]})
    (line,) = (line for line in axes[0].lines if line.get_label() == "both (2 runs)")
    assert line.get_xdata().tolist() == [step + 1 for step in STEPS if step != 5]
    other = History()
    other.append(Record(7777, dict(longer.records[0].values)))
    with pytest.raises(ValueError, match="the runs of 'both' have no step in common"):
        compare({"both": [run(), other]})


def test_what_cannot_be_compared_is_told():
    with pytest.raises(KeyError, match=r"no site 'hidden.nrm'.*close ones: hidden.norm"):
        compare({"a": run()}, site="hidden.nrm")
    with pytest.raises(ValueError, match="runs is empty"):
        compare({})
    with pytest.raises(
        ValueError, match=r"runs\['a'\] must be a History or a list of them; got a list"
    ):
        compare({"a": []})
    figure, axes = compare({"nothing yet": History()})
    assert len(axes) == 0
    assert pixels(figure).std() >= 0


def gram_picture(cells=8):
    kinds = [["red", "big"], ["red", "small"], ["blue", "big"], ["blue", ""]]
    labels = [kinds[4 * i // cells] for i in range(cells)]
    return models.picture(np.eye(cells), labels, None, ("colour", "size"))


def test_a_gram_has_the_full_colour_range_and_named_bands_along_its_edges():
    figure, axis = draw_gram(gram_picture(), "unembedding, step 3")
    image = axis.images[0]
    assert image.get_clim() == (-1, 1)
    assert np.array_equal(image.get_array(), np.eye(8))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["red", "blue"]
    extents = [(p.get_y(), p.get_height()) for p in axis.patches if p.get_x() < -0.5]
    assert extents == [(-0.5, 4), (3.5, 4)]
    drawn = pixels(figure)
    assert drawn.shape[1] == 600
    assert drawn.std() > 20
    assert (drawn[0, 0] == 255).all()  # opaque white: black letters are legible on any dashboard


def test_of_many_bands_only_as_many_are_named_as_have_room():
    labels = [[f"value {i}"] for i in range(96)]
    _, axis = draw_gram(models.picture(np.eye(96), labels))
    assert len(axis.get_yticklabels()) <= 26
    assert len(axis.patches) == 2 * 96


def test_grams_stand_side_by_side_on_one_colour_range():
    figure = gram_row([("start", gram_picture()), ("peak", gram_picture())])
    images = [axis.images[0] for axis in figure.axes[:2]]
    assert all(image.get_clim() == (-1, 1) for image in images)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["start", "peak"]
    assert pixels(gram_row([])).size


def test_similarity_by_shared_attributes_has_a_bar_for_each_number():
    picture = gram_picture()
    figure, axis = draw_shared(picture, "unembedding")
    heights = [bar.get_height() for bar in axis.patches]
    assert heights == pytest.approx(picture.shared().cosine.tolist())
    # Red and big, red and small, blue and big: one pair each shares both.
    assert [text.get_text() for text in axis.texts] == ["12 pairs", "13 pairs", "3 pairs"]
    assert "colour, size" in axis.get_xlabel()
    assert pixels(figure).shape[1] == 600


def test_the_map_shows_the_same_points_for_each_attribute_in_its_colours():
    picture = gram_picture()
    figure, axes = draw_map(picture, "unembedding")
    assert [axis.get_title() for axis in axes] == ["colour", "size"]
    (points,) = axes[0].collections
    positions, _ = picture.map()
    assert np.allclose(points.get_offsets(), positions)  # the red ones come first in the picture
    found = [mpl.colors.to_hex(colour).upper() for colour in points.get_facecolor()]
    assert found == [COLOURS[0]] * 4 + [COLOURS[1]] * 4
    told = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in axes]
    assert told == [["red", "blue"], ["other or none", "big", "small"]]
    (points,) = axes[1].collections
    assert np.allclose(points.get_offsets(), positions[[6, 7, 0, 1, 4, 5, 2, 3]])
    assert pixels(figure).shape[1] == 600


@pytest.mark.parametrize(
    ("gram", "rows"),
    [
        (np.zeros((0, 0)), None),
        (np.ones((1, 1)), None),
        (np.ones((4, 4)), None),
        (np.full((3, 3), np.nan), [0, 0, 0]),
    ],
)
@pytest.mark.parametrize("draw", [draw_gram, draw_shared, draw_map])
def test_empty_constant_and_undefined_pictures_are_drawn_without_a_warning(draw, gram, rows):
    figure, _ = draw(models.picture(gram, [[MIXED]] * len(gram), rows))
    assert pixels(figure).std() > 1


def test_metrics_are_plotted_as_torchmetrics_does():
    rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    similarity = AttributeSimilarity([2, 3], dim=6)
    similarity.update(rows, torch.stack([torch.arange(40) % 2, torch.arange(40) % 3], 1))
    spectrum, collapse = Spectrum(6), NeuralCollapse(4, 6)
    spectrum.update(rows)
    collapse.update(rows, torch.arange(40) % 4)
    for metric, bars in ((similarity, 6), (spectrum, 2), (collapse, 8)):
        figure, axis = metric.plot()
        assert len(axis.patches) == bars
        assert pixels(figure).std() > 5
    found = similarity.compute()
    _, axis = similarity.plot()
    heights = [bar.get_height() for bar in axis.patches]
    assert heights[:2] == pytest.approx(found["within"].tolist())
    own = mpl.figure.Figure().subplots()
    figure, axis = similarity.plot([found, found, found], ax=own)
    assert axis is own
    labels = [line.get_label() for line in axis.lines]
    assert "gap, attribute 1" in labels
    assert len(labels) == 7


@pytest.mark.parametrize("draw", [draw_gram, draw_shared, draw_map])
def test_long_names_and_titles_stay_within_the_picture(draw):
    labels = [[f"a value with a long name, number {i // 8}"] * 2 for i in range(32)]
    attributes = ("the first of some long names " * 2, "the second of some long names " * 2)
    picture = models.picture(np.eye(32), labels, None, attributes)
    figure, _ = draw(picture, "hidden.transformer.layers.11.mlp.output, " * 3 + "step 7")
    pixels(figure)
    width, height = figure.bbox.size
    texts = figure.findobj(mpl.text.Text)  # numbers of ticks out of sight are none of them
    words = [text for text in texts if re.search("[a-z]", text.get_text())]
    assert any(text.get_text().endswith("step 7") for text in words)
    for text in words:
        extent = text.get_window_extent()
        if text.get_visible():
            assert extent.x0 >= 0, text
            assert extent.y0 >= 0, text
            assert extent.x1 <= width, text
            assert extent.y1 <= height, text


def test_a_name_is_cut_in_its_middle_where_it_has_no_room():
    figure = bare_figure(3, 3)
    name = "a_value_with_a_long_name_17"
    assert shortened(figure, name, 8, 5.0) == name
    short = shortened(figure, name, 8, 0.8)
    first, last = short.split("\N{HORIZONTAL ELLIPSIS}")
    assert name.startswith(first)
    assert name.endswith(last)
    assert text_width(figure, short, 8) <= 0.82 < text_width(figure, name, 8)
