"""Dicts, DataFrames and Series, and what their index says about rows."""

import pandas as pd
import pytest

from lightning_semgeom import AttributeTable

FRAME = pd.DataFrame({"colour": ["red", "red", None, "blue"], "size": [1, 2, 2, None]})
PLAIN = AttributeTable.from_dict({"colour": ["red", "red", None, "blue"], "size": [1, 2, 2, None]})


@pytest.mark.parametrize(
    "columns",
    [
        FRAME,
        FRAME.to_dict(),
        FRAME.to_dict(orient="list"),
        FRAME.to_dict(orient="series"),
        dict(FRAME.items()),
        FRAME.set_index(pd.Index(list("wxyz"))),  # labels stand in order
        {name: {str(row): v for row, v in rows.items()} for name, rows in FRAME.to_dict().items()},
    ],
    ids=["frame", "dicts", "lists", "series", "items", "labels", "json"],
)
def test_frames_and_what_they_turn_into_are_one_table(columns):
    assert AttributeTable.from_dict(columns) == PLAIN


def test_a_series_is_an_attribute_of_its_name():
    assert AttributeTable.from_dict(FRAME["colour"]) == PLAIN.select("colour")
    with pytest.raises(TypeError, match="the Series has no name"):
        AttributeTable.from_dict(pd.Series(["x", "y"]))


@pytest.mark.parametrize("kind", [pd.DataFrame, pd.DataFrame.to_dict])
def test_an_index_of_whole_numbers_is_one_of_row_ids(kind):
    shuffled = FRAME.iloc[[3, 0, 2, 1]]
    assert AttributeTable.from_dict(kind(shuffled)).codes[:, 0].tolist() == [0, 0, -1, 1]
    part = FRAME.iloc[[1, 3]]
    assert AttributeTable.from_dict(kind(part[["colour"]])).codes[:, 0].tolist() == [-1, 0, -1, 1]
    floats = part[["colour"]].set_index(pd.Index([5.0, 2.0]))
    assert AttributeTable.from_dict(kind(floats)).codes[:, 0].tolist() == [-1, -1, 0, -1, -1, 1]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            [0, 1, 0, 1],
            r"entry 2, the index of 'colour': row 0 is there already, in entry 0.*reset",
        ),
        ([0, 1, 2, -1], "entry 3, the index of 'colour': '-1' is no row id"),
        ([0, 1, 2, 2.5], "'2.5' is no row id"),
        ([0, 1, 2, 10**8], "100000000 is too large for a row id"),
    ],
)
def test_a_faulty_index_is_refused(index, message):
    with pytest.raises(ValueError, match=message):
        AttributeTable.from_dict(FRAME.set_index(pd.Index(index)))


def test_an_index_of_row_ids_beside_a_list_is_refused():
    columns = {"a": FRAME["colour"].iloc[::-1], "b": ["x", "y", "x", "y"]}
    with pytest.raises(ValueError, match=r"the index of 'a' has row ids .* and 'b' has none"):
        AttributeTable.from_dict(columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"colour": "red"}, "attribute 'colour' is a str, 'red'; expected a sequence"),
        ({"colour": b"red"}, "attribute 'colour' is a bytes"),
        ({"colour": {"red", "blue"}}, "attribute 'colour' is a set"),
        ({"colour": 3}, "attribute 'colour' is a int"),
        ({"colour": [["red"], ["blue"]]}, "attribute 'colour', row 0: a list, .* is no value"),
        (FRAME.to_dict(orient="records"), r"a dict of one sequence .* got a list.*orient='list'"),
        ("tokens.csv", "got a str. A file is read by AttributeTable.from_file"),
    ],
)
def test_what_is_no_column_is_refused(columns, message):
    with pytest.raises(TypeError, match=message):
        AttributeTable.from_dict(columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (FRAME.to_dict(orient="index"), "'0' is a dict whose keys are no row ids.*orient='list'"),
        ({"kind": {"dog": "animal", "Paris": "place"}}, "no row ids, such as 'dog'"),
        (pd.concat([FRAME, FRAME], axis=1), "the DataFrame has columns of one name: colour, size"),
        ({"a": FRAME["colour"], "b": FRAME["size"].iloc[:3]}, "'a' has 4, 'b' has 3"),
    ],
)
def test_dicts_and_frames_that_say_no_row_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        AttributeTable.from_dict(columns)


def test_numbers_of_a_frame_are_cut():
    table = AttributeTable.from_dict({"a": [1, 2, 3, None, 10], "k": list("xyxyx")}, quantile=0.5)
    assert table.values == (("<=2.5", ">2.5"), ("x", "y"))
    assert table.codes[:, 0].tolist() == [0, 0, 1, -1, 1]
    with pytest.raises(ValueError, match=r"there is none.*'x' \(attribute 'k', row 0\)"):
        AttributeTable.from_dict({"k": list("xyxyx")}, threshold=1)
