"""The map of layers has the numbers of the history, at the right places."""

import math

import numpy as np
import pytest

from lightning_semgeom import History
from lightning_semgeom.record.record import Record
from lightning_semgeom.show.layers import layers_of
from lightning_semgeom.show.report.page import write_report
from lightning_semgeom.show.report.runs import find_runs
from tests.show.report.test_report import data_of

STEPS = (0, 1, 10, 1000)
GAPS = {
    "model.layers.0": [0.1, 0.4, 0.2, 0.1],
    "model.layers.1": [0.0, 0.1, -0.8, 0.3],
    "model.layers.2": [math.nan] * 4,
}


def history(folder=None, layers=GAPS):
    found = History()
    if folder is not None:
        found.open(folder)
    for k, step in enumerate(STEPS):
        values = {"semgeom/gap": 0.5}
        for site in ("unembedding", *(f"hidden.{name}" for name in layers)):
            gap = layers.get(site.removeprefix("hidden."), [0.5] * 4)[k]
            of_site = {"gap": gap, "gap/colour": 2 * gap, "z/colour": gap, "asymmetry": 0.1}
            values |= {f"semgeom_{site}/{metric}": value for metric, value in of_site.items()}
        found.append(Record(step, values))
    return found


def shown(axes):
    """What the picture holds, `[layers, steps]` from below to above."""
    (image,) = axes.images
    assert image.origin == "lower"
    return image.get_array().filled(np.nan)


def test_all_numbers_and_peaks_are_where_they_belong():
    figure, axes = history().plot_layers()
    assert np.array_equal(shown(axes), [*GAPS.values()], equal_nan=True)
    assert axes.images[0].get_clim() == (-0.8, 0.8)
    stars = [line.get_xydata().tolist() for line in axes.lines]
    assert stars == [[[1, 0]], [[3, 1]]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "10", "1000"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1", "2"]
    assert axes.get_ylabel() == "hidden.model.layers"
    assert figure.axes[1].get_ylabel() == "gap"


def test_another_figure_and_one_attribute():
    _, axes = history().plot_layers("gap", "colour")
    assert np.array_equal(shown(axes), 2 * np.array([*GAPS.values()]), equal_nan=True)
    _, axes = history().plot_layers("asymmetry")
    assert (shown(axes) == 0.1).all()


def test_layers_of_two_stacks_are_told_apart():
    found = layers_of(history(layers={"encoder.block.0": [0] * 4, "decoder.block.0": [1] * 4}))
    assert found.names == ("encoder.block.0", "decoder.block.0")
    assert found.around == "hidden"


def test_too_few_layers_and_unknown_figures_are_told():
    with pytest.raises(ValueError, match=r"needs two hidden sites or more; the history has 0"):
        history(layers={}).plot_layers()
    with pytest.raises(ValueError, match=r"has 1, of the sites unembedding, hidden\.a\. Meas"):
        history(layers={"a": [1] * 4}).plot_layers()
    with pytest.raises(KeyError, match=r"no figure 'hidden\.model\.layers\.0/gaps'"):
        history().plot_layers("gaps")


def test_the_page_has_the_same_numbers(tmp_path):
    history(tmp_path / "run/semgeom")
    write_report(find_runs([tmp_path / "run"]), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    (figure,) = data_of(page)["layers"]
    heat, stars = figure["data"]
    assert heat["z"] == [[None if math.isnan(g) else g for g in gaps] for gaps in GAPS.values()]
    assert (heat["x"], heat["y"]) == (["0", "1", "10", "1,000"], ["0", "1", "2"])
    assert (heat["zmin"], heat["zmax"]) == (-0.8, 0.8)
    assert (stars["x"], stars["y"]) == (["1", "1,000"], ["0", "1"])
    assert page.count("<h2>Layers</h2>") == 1


def test_a_run_without_layers_has_no_map_on_its_page(tmp_path):
    history(tmp_path / "run/semgeom", layers={"a": [1] * 4})
    write_report(find_runs([tmp_path / "run"]), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert data_of(page)["layers"] == []
    assert "<h2>Layers</h2>" not in page
