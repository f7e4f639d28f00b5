"""Columns whose values hardly any two rows share are told at reading."""

import warnings

import pytest

from lightning_semgeom import AttributeTable


def ratings(count, step=0.37):
    return [f"{row * step:.2f}" for row in range(count)]


@pytest.mark.parametrize(
    "column",
    [
        ratings(20),
        [float(number) for number in ratings(20)],
        list(range(5)),
        [*ratings(12), *ratings(5), None],
        [*ratings(40)] * 30,  # measurements, though each is shared
    ],
    ids=["texts", "floats", "whole", "nearly", "many"],
)
def test_numbers_that_are_values_of_their_own_are_told(column):
    with pytest.warns(
        UserWarning, match=r"^AttributeTable: .*'size' has \d+ different numbers.*threshold= or q"
    ):
        table = AttributeTable.from_dict({"size": column})
    assert table.names == ("size",)


def test_all_columns_of_numbers_are_told_at_once(tmp_path):
    path = tmp_path / "norms.csv"
    lines = [f"{row},{n},{n}0,x{row % 2}\n" for row, n in enumerate(ratings(20))]
    path.write_text("id,size,vision,kind\n" + "".join(lines))
    with pytest.warns(UserWarning, match="each number is a value of its own") as told:
        AttributeTable.from_file(path)
    (warning,) = told
    assert "'size' has 20 different numbers for 20 labelled rows, 'vision' has 20" in str(
        warning.message
    )
    assert warning.filename == __file__
    assert "'kind'" not in str(warning.message)
    assert AttributeTable.from_file(path, quantile=0.5).num_values == (2, 2, 2)


def test_labels_that_no_two_rows_share_are_told():
    with pytest.warns(UserWarning, match="no two rows share a value.*'token' has 10 different val"):
        AttributeTable.from_dict({"token": [f"t{row}" for row in range(10)], "k": list("xy") * 5})


@pytest.mark.parametrize(
    "column",
    [
        ["1", "2"],
        ["x", "y", "z"],
        [1, 2, 2, None],
        [f"t{row}" for row in range(9)] * 2,
        ratings(9) * 3,
    ],
)
def test_values_that_rows_share_and_small_examples_are_not(column):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AttributeTable.from_dict({"a": column})


def test_a_column_of_numbers_with_an_odd_entry_is_told_when_it_is_not_cut(tmp_path):
    path = tmp_path / "t.csv"
    rows = [*map(str, range(10)), "1O", *map(str, range(10)), *map(str, range(10))]
    lines = [f"{row},{value},{row}\n" for row, value in enumerate(rows)]
    path.write_text("id,a,b\n" + "".join(lines))
    with pytest.warns(UserWarning, match=r"'a' is not cut.*t.csv, line 12, column 'a' has '1O'"):
        table = AttributeTable.from_file(path, threshold=4)
    assert table.num_values == (11, 2)
    assert AttributeTable.from_file(path, threshold=4, missing=["1O"]).num_values == (2, 2)
