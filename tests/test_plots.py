import io
import math

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

from lightning_semgeom import History, PhaseDetector
from lightning_semgeom.plots import gram_figure, timeline
from lightning_semgeom.record import Record


def run(gap=lambda step, a: math.exp(-((math.log((step + 1) / 40)) ** 2)) / (a + 2)):
    history, phases = History(), {}
    for step in [*range(12), *range(12, 400, 12)]:
        values = {"semgeom/gap": gap(step, 0)}
        for site in ("unembedding", "hidden.norm"):
            for a, name in enumerate(("colour", "kind")):
                value = gap(step, a)
                values[f"semgeom_{site}/gap/{name}"] = value
                phases.setdefault((site, name), PhaseDetector()).update(step, value, 90 * value)
            values[f"semgeom_{site}/asymmetry"] = value
        history.append(Record(step, values))
    return history, phases


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    buffer.seek(0)
    return matplotlib.image.imread(buffer)


def test_the_timeline_draws_each_site_attribute_control_and_mark():
    history, phases = run()
    control, _ = run(gap=lambda step, a: 0.01)
    figure = timeline(history, control, (np.arange(400), np.linspace(3, 1, 400)), phases)
    assert len(figure.axes) == 6
    gaps = figure.axes[0]
    assert gaps.get_title() == "unembedding"
    assert gaps.get_xscale() == "log"
    legend = [text.get_text() for text in gaps.get_legend().get_texts()]
    assert legend == ["shuffled (control)", "colour", "kind", "onset", "peak", "gone"]
    peak = phases["unembedding", "colour"].peak_step
    marks = [line for line in gaps.lines if line.get_marker() == "*" and len(line.get_xdata())]
    assert marks[0].get_xdata().tolist() == [peak + 1]
    assert pixels(figure).std() > 0.05
    assert plt.get_fignums() == []


@pytest.mark.parametrize("gap", [lambda step, a: 0.2, lambda step, a: math.nan])
def test_constant_and_undefined_curves_are_drawn_without_a_warning(gap):
    history, phases = run(gap)
    assert pixels(timeline(history, phases=phases)).std() > 0.01


def test_an_empty_history_is_drawn():
    assert pixels(History().plot()).std() > 0


def test_grams_share_the_colour_range_and_show_their_bands():
    gram = np.full((5, 5), 0.3)
    bands = (("red", 3), ("blue", 2))
    figure = gram_figure([("start", gram), ("peak", np.eye(5))], [bands, bands])
    images = [image for axis in figure.axes[:2] for image in axis.images]
    assert all(image.get_clim() == (-1, 1) for image in images)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["red", "blue"]
    assert len(figure.axes[0].patches) == 4
    assert pixels(figure).std() > 0.05
    assert plt.get_fignums() == []


def test_grams_without_rows_are_drawn():
    assert pixels(gram_figure([])).std() >= 0
    assert pixels(gram_figure([("nan", np.full((3, 3), np.nan))])).std() > 0
