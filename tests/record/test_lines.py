"""Lines and packed records give back each record to the bit, and are small."""

import base64
import io
import itertools
import json
import math
import random
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom.record.lines import LineReader, LineWriter, grouped, ungrouped
from lightning_semgeom.record.packing import packed_records, unpacked_records
from lightning_semgeom.record.record import Record, picture_file
from lightning_semgeom.record.recorder import Recorder

keys = st.text(alphabet="ab/_. 0", max_size=5)
numbers = st.one_of(
    st.floats(), st.sampled_from([0.0, -0.0, 1.0, 50257.0, 1e15, 1e300, 5e-324]), st.integers(-9, 9)
)


def bits(value):
    return b"nan" if not math.isfinite(value) else struct.pack("<d", value)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.step, dict(one.pictures)) == (other.step, dict(other.pictures))
        assert list(one.values) == list(other.values)
        for key, value in other.values.items():
            assert bits(one.values[key]) == bits(value), key


@st.composite
def histories(draw):
    """Records whose values often stay as they are, and whose keys now and then are other ones."""
    records, names = [], draw(st.lists(keys, unique=True, max_size=8))
    values = {name: draw(numbers) for name in names}
    for step in range(draw(st.integers(0, 6))):
        if draw(st.integers(0, 4)) == 0:
            names = draw(st.lists(keys, unique=True, max_size=8))
        values = {
            name: draw(numbers) if name not in values or draw(st.booleans()) else values[name]
            for name in names
        }
        pictures = draw(
            st.sampled_from([{}, {"a": picture_file("a", step)}, {"a": "elsewhere.npz"}])
        )
        records.append(Record(step, dict(values), pictures))
    return records


@given(records=histories())
def test_what_is_written_line_by_line_is_read_to_the_bit(records):
    writer, reader = LineWriter(), LineReader()
    assert_same([reader.record(writer.line(record)) for record in records], records)


@given(data=st.data(), sites=st.integers(8, 10))
def test_many_sites_are_read_to_the_bit(data, sites):
    figures = ["gap", "within", "between", "rows", ""]
    figures += [f"{figure}/{a}" for figure in ("gap", "within", "between") for a in "ab"]
    figures = data.draw(st.lists(st.sampled_from(figures), min_size=1, unique=True))
    sites = [f"s{i}" for i in range(sites)]
    records, values = [], {(site, figure): 0.0 for site in sites for figure in figures}
    for step in range(data.draw(st.integers(1, 4))):
        for figure in figures:
            # Of all sites, or of one that may make a word untrue; or not at all.
            for site in data.draw(st.sampled_from([sites, sites[:1], []])):
                values[site, figure] = data.draw(numbers)
        if data.draw(st.booleans()):
            for site in sites:
                as_defined(values, site, "ab")
        named = {f"{s}/{f}" if f else s: value for (s, f), value in values.items()}
        records.append(Record(step, named))
    writer, reader = LineWriter(), LineReader()
    assert_same([reader.record(writer.line(record)) for record in records], records)


def as_defined(values, site, attributes):
    """Make of numbers at random what the definitions of gap and of means ask for."""
    for a in attributes:
        parts = [(site, f"{part}/{a}") for part in ("within", "between")]
        if (site, f"gap/{a}") in values and all(part in values for part in parts):
            within, between = (values[part] for part in parts)
            values[site, f"gap/{a}"] = within - between
    for figure in ("gap", "within", "between", "z", "strength", "partial_gap"):
        column = [values.get((site, f"{figure}/{a}"), math.nan) for a in attributes]
        known = [value for value in column if not math.isnan(value)]
        if (site, figure) in values and known:
            values[site, figure] = sum(known) / len(known)


def test_more_than_eight_sites_have_packed_numbers_and_words_for_what_others_say():
    sites = [f"s{i}" for i in range(9)]
    figures = ("gap", "gap/a", "gap/b", "within/a", "within/b", "between/a", "between/b")
    values = {(s, f): i / 7 for i, (s, f) in enumerate(itertools.product(sites, figures))}
    for site in sites:
        as_defined(values, site, "ab")

    def written():
        record = Record(0, {"/".join(key): value for key, value in values.items()})
        return json.loads(LineWriter().line(record))["values"][0]

    def read(figure):
        return np.frombuffer(base64.b85decode(written()[figure]), "<f8").tolist()

    assert (written()["gap"], written()["gap/a"]) == ("mean", "within-between")
    assert read("within/a") == [values[site, "within/a"] for site in sites]
    for figure in ("gap", "gap/a"):
        values["s3", figure] = math.nextafter(values["s3", figure], 9)
        assert read(figure) == [values[site, figure] for site in sites]


@given(records=histories())
def test_what_is_packed_is_unpacked_to_the_bit(records):
    names = list(dict.fromkeys(key for record in records for key in record.values))
    state = io.BytesIO()
    torch.save(packed_records(records, names), state)
    state.seek(0)
    found, kept = unpacked_records(torch.load(state, weights_only=True))
    assert kept == names
    filled = [
        Record(r.step, {key: r.values.get(key, math.nan) for key in names}, r.pictures)
        for r in records
    ]
    for one, other in zip(found, filled, strict=True):
        assert (one.step, one.pictures) == (other.step, dict(other.pictures))
        for key in names:
            assert bits(one.values[key]) == bits(other.values[key]) or (
                one.values[key] == other.values[key]  # infinite
            )


@given(names=st.lists(keys, unique=True))
def test_groups_keep_keys_and_their_order(names):
    assert ungrouped(grouped(names)) == names


def test_a_line_says_what_is_new():
    writer = LineWriter()
    record = Record(0, {"s/gap": 0.5, "s_a/gap": 0.5, "s_a/rows": 9.0, "s_b/gap": math.nan})
    record = Record(0, record.values | {"s_b/rows": 9.0})
    lines = [
        writer.line(record),
        writer.line(Record(1, record.values | {"s_b/gap": 0.25}, {"b": picture_file("b", 1)})),
        writer.line(Record(2, record.values | {"s_b/gap": 0.25})),
    ]
    assert list(map(json.loads, lines)) == [
        {
            "step": 0,
            "keys": [[["s"], ["gap"]], [["s_a", "s_b"], ["gap", "rows"]]],
            "values": [{"gap": 0.5}, {"gap": [0.5, None], "rows": [9, 9]}],
            "pictures": [],
        },
        {"step": 1, "values": [{}, {"gap": [0.5, 0.25]}], "pictures": ["b"]},
        {"step": 2, "values": [{}, {}], "pictures": []},
    ]


ONE = '"keys": [[["s"], ["gap"]]]'
TWO = '"keys": [[["s", "t"], ["gap"]]]'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f'{{"step": 0, {ONE}, "values": [{{"gip": 1}}], "pictures": []}}', "'gip'"),
        (
            f'{{"step": 0, {TWO}, "values": [{{"gap": [1]}}], "pictures": []}}',
            "1 numbers for 2 sites",
        ),
        (f'{{"step": 0, {ONE}, "values": [], "pictures": []}}', "0 groups of values; .* have 1"),
        ('{"step": 0, "values": {}}', "pictures"),
        ("5", "not subscriptable"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_and_leaves_the_reader_as_it_was(line, message):
    writer, reader = LineWriter(), LineReader()
    first, second = (Record(step, {"s/gap": 0.5}) for step in range(2))
    reader.record(writer.line(first))
    with pytest.raises((ValueError, KeyError, TypeError), match=message):
        reader.record(line + "\n")
    assert_same([reader.record(writer.line(second))], [second])


def test_a_file_whose_beginning_is_gone_is_refused():
    writer = LineWriter()
    lines = [writer.line(Record(step, {"s/gap": step / 3})) for step in range(2)]
    with pytest.raises(ValueError, match="1 groups of values; its keys have 0"):
        LineReader().record(lines[1])


def many_sites(records):
    """Records of 26 sites and 6 attributes whose figures all change; phases have not begun."""
    random.seed(0)
    sites = ["unembedding", "embedding", *(f"hidden.model.layers.{i}" for i in range(24))]
    recorder = Recorder("semgeom", sites, [f"attribute{i}" for i in range(6)])
    recorder.begin(0)
    constant = {"rows": 50257.0, "skipped": 0.0, "phase": 0.0}
    made = []
    for step in range(records):
        values = {}
        for key in recorder.values:
            site, metric = key.split("/", maxsplit=1)
            other = math.nan if "_step" in metric else random.gauss(0, 0.1)
            values[site, metric] = constant.get(metric, other)
        for site in dict.fromkeys(site for site, _ in values):
            as_defined(values, site, recorder.attributes)
        made.append(Record(step, {"/".join(key): value for key, value in values.items()}))
    return made


def test_a_record_of_many_sites_takes_a_tenth_of_what_version_0_1_wrote():
    made = many_sites(20)
    old = sum(
        len(json.dumps({"step": r.step, "values": values, "pictures": {}}))
        for r in made
        for values in [{k: v if v == v else None for k, v in r.values.items()}]
    )
    writer = LineWriter()
    assert sum(len(writer.line(record)) for record in made) < 0.1 * old
    state = io.BytesIO()
    torch.save(packed_records(made, list(made[0].values)), state)
    moving = sum(math.isfinite(v) and v not in (0.0, 50257.0) for v in made[0].values.values())
    assert len(state.getvalue()) < 1.05 * 8 * moving * len(made) + 10_000 < 0.1 * old
