"""The figures of hidden sites: those of one row a label, and what the device is asked for."""

import pytest
import torch

from lightning_semgeom import AttributeTable, eigenspectrum
from lightning_semgeom.capture.activations import HiddenRows
from lightning_semgeom.capture.labels import LabelReader, Share
from lightning_semgeom.geometry.classes import class_offsets
from lightning_semgeom.measure import hidden
from lightning_semgeom.measure.hidden import HiddenFigures, _reduced
from tests import oracles

LABELS = 40
DEVICE_THAT_CANNOT_BE_ASKED = torch.device("meta")  # it holds no numbers: whoever reads one fails


def table():
    colour = [i % 3 for i in range(LABELS)]
    kind = [i % 7 if i > 4 else None for i in range(LABELS)]
    return AttributeTable.from_dict({"colour": colour, "kind": kind})


def labels_of(rows, seed=0):
    return torch.randint(-1, LABELS + 3, (rows,), generator=torch.Generator().manual_seed(seed))


def hidden_rows(rows, width=6, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed + 1)
    labels = labels_of(rows, seed).clamp(min=0)
    return HiddenRows(torch.randn(rows, width, generator=generator).to(dtype) + 3, labels)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [30, 400])
def test_figures_are_those_of_the_means_of_labels_that_the_table_has(rows, dtype):
    one = hidden_rows(rows, dtype=dtype)
    found = HiddenFigures(table(), 8).measure({"h": one})["h"]
    occur = [label for label in range(LABELS) if (one.labels == label).any()]
    means = torch.stack([one.rows[one.labels == label].double().mean(0) for label in occur])
    codes = table().codes[occur]
    for a, name in enumerate(table().names):
        within, between = oracles.within_between(means.numpy(), codes[:, a].tolist())
        assert found.values[f"within/{name}"] == pytest.approx(within, abs=1e-6)
        assert found.values[f"between/{name}"] == pytest.approx(between, abs=1e-6)
    assert found.values["rows"] == len(occur)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("positions", "shift"), [("all", False), ("all", True), ("last", False)])
@pytest.mark.parametrize("length", [9, 1200])  # many rows are added up in another way
def test_from_the_output_of_a_module_to_its_figures_the_device_is_never_asked(
    length, positions, shift, dtype
):
    device = DEVICE_THAT_CANNOT_BE_ASKED
    with pytest.raises(RuntimeError):
        bool(torch.empty(1, device=device))
    labels = labels_of(8 * length).view(8, length).clamp(min=0)
    output = torch.empty(8, length, 16, dtype=dtype, device=device)
    reader = LabelReader("labels", positions, shift)
    found = HiddenRows(*reader.select(output, labels, Share(8192)))
    measuring = HiddenFigures(table(), 8)
    plan = measuring._plan_of(found)
    assert plan.site.codes.codes.device == device
    assert _reduced(found, plan, [], careful=False, eigenvalues=True).device == device


@pytest.mark.parametrize("sites", [1, 4])
def test_all_sites_of_a_record_are_copied_to_the_host_at_once(asked, sites):
    measuring = HiddenFigures(table(), 8)
    rows = {f"h{k}": hidden_rows(200) for k in range(sites)}
    measuring.measure(rows)  # its plan is made
    asked.clear()
    found = measuring.measure(rows)
    assert len(found) == sites
    assert asked.count("cpu") == 1
    assert set(asked) <= {"cpu", "numpy"}  # of what has been copied


def test_labels_are_planned_once_for_all_sites_and_again_where_they_are_others(monkeypatch):
    made, plan = [], hidden.plan_site
    monkeypatch.setattr(hidden, "plan_site", lambda *given: made.append(0) or plan(*given))
    measuring = HiddenFigures(table(), 8)
    first, other = hidden_rows(200), hidden_rows(200, seed=5)
    measuring.measure({"a": first, "b": first})
    measuring.measure({"a": first})
    assert len(made) == 1
    found = measuring.measure({"a": other})["a"]
    assert len(made) == 2
    alone = HiddenFigures(table(), 8).measure({"a": other})["a"]
    assert found.values == alone.values


def test_the_eigenspectrum_is_that_of_all_positions_of_wide_sites_where_it_is_due():
    measuring = HiddenFigures(table(), 8, eigenspectrum=True)
    for width, due, known in ((120, False, True), (129, False, False), (129, True, True)):
        rows = hidden_rows(400, width)
        found = measuring.measure({"h": rows}, eigenvalues=due)["h"].values
        assert ("rankme" in found) == ("alpha_req" in found) == known
        exact = oracles.eigenspectrum(rows.rows.double().numpy())
        for name in exact if known else ():
            assert found[name] == pytest.approx(exact[name], rel=1e-6), name
        plain = HiddenFigures(table(), 8).measure({"h": rows}, eigenvalues=due)["h"].values
        assert set(found) - set(plain) == (set(exact) if known else set())


def test_the_eigenspectrum_is_taken_once_also_of_rows_that_are_looked_at_one_by_one(monkeypatch):
    taken = []
    monkeypatch.setattr(hidden, "eigenspectrum", lambda r: taken.append(r) or eigenspectrum(r))
    rows = hidden_rows(400, 8)
    rows.rows[3] = torch.inf
    found = HiddenFigures(table(), 8, eigenspectrum=True).measure({"h": rows})["h"]
    assert found.is_sound
    assert len(taken) == 1
    assert found.values["rankme"] == pytest.approx(float(eigenspectrum(rows.rows)["rankme"]))


def test_a_site_whose_rows_are_not_finite_keeps_none_of_the_others_from_its_figures():
    bad = HiddenRows(torch.full((50, 4), torch.nan), labels_of(50).clamp(min=0))
    good = hidden_rows(50, width=4)
    found = HiddenFigures(table(), 8).measure({"bad": bad, "good": good})
    assert found["bad"].flaw is not None
    assert found["good"].flaw is None
    assert found["bad"].values["rows"] == 0


def test_offsets_of_a_site_are_those_of_its_labels_in_their_order():
    one = hidden_rows(80)
    plan = HiddenFigures(table(), 8)._plan_of(one)
    rows = class_offsets(one.rows, plan.members)
    occur = sorted({label for label in one.labels.tolist() if label < LABELS})
    assert torch.equal(plan.site.codes.codes[:, :2], table().codes[occur])
    assert rows.shape == (len(occur), 6)
