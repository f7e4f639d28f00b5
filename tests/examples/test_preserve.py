"""The example that trains to preserve structure: its probe by hand, and a small run of it."""

import json
from functools import partial

import matplotlib.image
import pytest
import torch

from lightning_semgeom.settings import stdlib, stdlib_text
from lightning_semgeom.settings.controlled import network_setting
from tests.examples import scripts


@pytest.fixture
def example(imported):
    return imported("preserve")


def test_the_probe_is_right_where_attributes_are_plain_and_at_chance_where_they_are_noise(example):
    codes = example.latent.latent_attributes().codes
    fresh_codes = codes.repeat_interleave(4, dim=0)
    plain = torch.eye(2)[codes[:, 0]], torch.eye(4)[codes[:, 1]]
    known = torch.cat(plain, dim=1) * 3
    fresh = known.repeat_interleave(4, dim=0)
    assert example.few_shot(known, codes, fresh, fresh_codes, seed=0) > 0.97
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(codes), 8, generator=generator)
    of_fresh = torch.randn(len(fresh_codes), 8, generator=generator)
    # Two values and four: chance is the mean of 1/2 and 1/4.
    assert example.few_shot(noise, codes, of_fresh, fresh_codes, 0) == pytest.approx(
        0.375, abs=0.05
    )


@pytest.mark.parametrize("setting", ["factored", "latent"])
def test_fresh_contexts_are_none_that_was_trained_on_and_have_their_labels_attributes(
    example, setting
):
    made = network_setting(setting, 0)
    trained = made.data.batch["tokens"]
    fresh, labels = example.fresh_contexts(setting, 0)
    assert len(fresh) == len(labels) == 256
    assert not set(map(tuple, fresh.tolist())) & set(map(tuple, trained.tolist()))
    if setting == "factored":
        assert torch.equal(fresh[:, 2:5], trained[labels][:, 2:5])
    else:  # most of a context's tokens are its value's synonyms
        value = made.table.codes[labels, 0]
        own = (fresh[:, 1:5] - 66) // 12 == value[:, None]
        assert 0.8 < own.double().mean() < 0.97


def test_a_run_with_dropout_is_the_same_whatever_was_drawn_before(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "DRAWS", 1)
    files = [tmp_path / name for name in ("once", "again")]
    for k, file in enumerate(files):
        torch.rand(k)
        example.run("dropout", "latent", 0, 3, file)
    assert files[0].read_text() == files[1].read_text()


def lines_of(table):
    """The cells of each line of a table, by the first of them."""
    lines = [line for line in table.splitlines()[2:] if line.startswith("| ")]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {name: rest for name, *rest in cells}


def number(cell):
    return float(cell.split()[0])


@pytest.mark.processes
def test_each_regime_has_its_line_and_a_finished_run_is_not_run_again(tmp_path):
    arguments = ("--settings", "latent", "--seeds", "0", "--steps", "90", "--text-seeds")
    text = scripts.run_smaller("preserve", "--out", tmp_path, *arguments)
    assert (tmp_path / "table.md").read_text().strip() in text
    figures, differences = map(lines_of, text.split("\n\n|")[1:3])
    assert len(figures) == 10
    assert len(differences) == 9
    peak, end = (number(figures["baseline"][k]) for k in (2, 3))
    assert end < 0.8 * peak
    for name in ("stop at the peak", "anchor (no attributes)"):
        assert number(figures[name][3]) > 0.8 * peak
        assert number(differences[name][1]) > 0.2
    assert number(figures["alignment"][5]) > number(figures["baseline"][5]) + 0.2
    assert number(differences["alignment to shuffled attributes"][3]) < 0
    assert matplotlib.image.imread(tmp_path / "preserve.png").std() > 0.05
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == 9
    before = [file.stat().st_mtime_ns for file in files]
    assert scripts.run_smaller("preserve", "--out", tmp_path, *arguments) == text
    assert [file.stat().st_mtime_ns for file in files] == before


def test_on_text_each_regime_has_its_held_out_loss_and_its_gaps(imported, tmp_path, monkeypatch):
    corpus = tmp_path / "corpus.py"
    lines = [
        f"def Area{k}(radius):\n    return {k} * radius ** 2 if True else None" for k in range(600)
    ]
    corpus.write_text("\n\n".join(lines))
    small = partial(stdlib.stdlib_setting, text=str(corpus))
    monkeypatch.setattr(stdlib, "stdlib_setting", small)
    monkeypatch.setattr(
        stdlib, "StdlibData", partial(stdlib_text.StdlibData, context=16, batch_size=4)
    )
    monkeypatch.setattr(stdlib_text, "_PROBE_BATCHES", 1)
    monkeypatch.setattr(stdlib_text, "_HELD_OUT_BATCHES", 8)
    text, found = imported("preserve_text"), {}
    for name in text.NAMES:
        file = tmp_path / f"{name}.json"
        text.run(name, 0, 12, file)
        found[name] = [json.loads(file.read_text())]
    assert found["baseline"][0]["steps"] == list(range(13))
    losses = [runs[0]["loss"] for runs in found.values()]
    assert all(3 < loss < 9 for loss in losses)
    assert losses[0] == losses[1]  # too early for the anchor to hold
    assert len(set(losses)) == 3
    table = lines_of("\n".join(["", *imported("preserve_tables").text_tables(found)]))
    assert list(table) == list(text.NAMES.values())
    ends = [number(line[3].rsplit(", ", 1)[1]) for line in table.values()]
    assert ends[2] > ends[0] + 0.1  # the alignment's gap of `space`
