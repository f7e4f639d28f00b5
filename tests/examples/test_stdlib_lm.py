"""The thorough run on real text: its bands, its tables, and nothing twice."""

import math

import pytest
import torch

from lightning_semgeom import AttributeTable
from lightning_semgeom.settings.stdlib_text import StdlibData
from tests.examples import scripts

TEXT = "\n\n".join(
    f"def area{k}(radius):\n    if radius < {k}:\n        raise ValueError('Radius')\n"
    f"    return len(str(radius)) + {k} * MAXIMUM  # see module os or sys"
    for k in range(3000)
)


@pytest.fixture
def script(imported):
    return imported("stdlib_lm")


def test_frequency_bands_hold_equally_many_tokens_in_the_order_of_their_counts(script):
    counts = [7, 0, 3, 9, 1, 5, 2, 8]
    ids = torch.tensor([token for token, count in enumerate(counts) for _ in range(count)])

    class Data:
        def train_dataloader(self):
            return [{"input_ids": part} for part in ids[torch.randperm(len(ids))].split(10)]

    # Sorted counts: 0 1 | 2 3 | 5 7 | 8 9.
    assert script.frequency_bands(Data(), len(counts)).tolist() == [2, 0, 1, 3, 0, 2, 1, 3]


def test_an_attribute_within_a_band_labels_its_rows_there_alone(script):
    columns = {"kind": ["x"] * 5 + ["y"] * 5 + ["x"] * 9 + [None], "side": list("lr") * 10}
    table = AttributeTable.from_dict(columns)
    bands = torch.tensor([0] * 10 + [1] * 10)
    within = script.within_bands(table, bands)
    # In the second band `kind` has one value, and `side` two of five.
    assert within.names == ("kind in band 0", "side in band 0", "side in band 1")
    assert within.codes[:, 0].tolist() == [0] * 5 + [1] * 5 + [-1] * 10
    assert within.codes[10:, 2].tolist() == [0, 1] * 5
    rare = AttributeTable.from_dict({"kind": ["x"] * 5 + ["y"] * 5 + ["z"] * 4 + [None] * 6})
    assert script.within_bands(rare, torch.zeros(20).long()).codes[10:14, 0].tolist() == [-1] * 4


def test_the_probe_is_of_random_windows_or_of_those_that_cover_the_table(script, tmp_path):
    text = tmp_path / "text.py"
    text.write_text(TEXT)
    data = StdlibData(4, 600, batch_size=4, text=str(text))
    table = AttributeTable.surface(data.tokenizer)
    assert len([*script.probe_of(data, table, str(text), cover=False)]) == 4
    with pytest.warns(UserWarning, match="less often"):  # so small a text lacks some tokens
        covering = script.probe_of(data, table, str(text), cover=True)
    labels = {int(label) for batch in covering for label in batch["labels"][:, 1:].flatten()}
    for a, (name, values) in enumerate(zip(table.names, table.values, strict=True)):
        for code, value in enumerate(values):
            tokens = set((table.codes[:, a] == code).nonzero()[:, 0].tolist())
            assert len(labels & tokens) == covering.met[name][value]
            assert covering.asked[name][value] == min(script.PER_VALUE, len(tokens))
    assert covering.met["space"]["space"] >= script.PER_VALUE


@pytest.mark.processes
def test_each_attribute_has_a_line_at_each_site_and_nothing_is_run_twice(tmp_path):
    text = tmp_path / "text.py"
    text.write_text(TEXT)
    arguments = ("--quick", "--steps", "40", "--text", text, "--out", tmp_path / "runs")
    told = scripts.run_smaller("stdlib_lm", *arguments)
    out = tmp_path / "runs/text-40"
    assert (out / "table.md").read_text().strip() in told
    assert "frequency: 4 values (rarest quarter" in told
    lines = scripts.rows_of(told)
    sites = ("embedding", "layer 1", "layer 2", "last norm", "unembedding")
    of_site = {site: [line for line in lines if line[0] == site] for site in sites}
    attributes = [line[1] for line in of_site["unembedding"]]
    assert {"space", "length", "frequency"} <= {*attributes}
    assert all([line[1] for line in of_site[site]] == attributes for site in sites)
    figures = {line[1]: line for line in of_site["unembedding"]}
    # Frequency comes first, before anything that a token looks like.
    start, top = (float(figures["frequency"][column].split()[0]) for column in (4, 5))
    assert abs(start) < 0.03 < 0.2 < top
    assert figures["frequency"][9] == "-"
    assert math.isfinite(float(figures["length"][9].split()[0]))
    assert (out / "stdlib_lm.png").stat().st_size > 10_000
    files = sorted(out.glob("*/semgeom*/history.jsonl"))
    assert len(files) == 3
    before = [file.stat().st_mtime_ns for file in files]
    assert scripts.run_smaller("stdlib_lm", *arguments) == told
    assert [file.stat().st_mtime_ns for file in files] == before
