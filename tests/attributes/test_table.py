import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom import AttributeTable


@pytest.fixture
def table():
    return AttributeTable.from_dict(
        {"colour": ["red", "blue", None, "red"], "size": [1, 2, 2, None]},
    )


def test_values_are_coded_in_the_order_of_their_first_appearance(table):
    assert table.codes.tolist() == [[0, 0], [1, 1], [-1, 1], [0, -1]]
    assert table.names == ("colour", "size")
    assert table.values == (("red", "blue"), ("1", "2"))
    assert table.num_values == (2, 2)
    assert len(table) == 4


@given(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=1, max_size=30))
def test_codes_and_values_spell_the_column_again(column):
    labelled = {entry for entry in column if entry is not None}
    if len(labelled) < 2:
        with pytest.raises(ValueError, match=r"single value|no row at all"):
            AttributeTable.from_dict({"a": column})
        return
    table = AttributeTable.from_dict({"a": column})
    spelled = [None if c < 0 else table.values[0][c] for c in table.codes[:, 0].tolist()]
    assert spelled == column
    assert table.coverage()["a"].share == sum(e is not None for e in column) / len(column)


@given(st.integers(0, 1000))
def test_shuffling_keeps_counts_and_unlabelled_rows_and_depends_on_the_seed_alone(seed):
    codes = torch.randint(-1, 4, (60, 2), generator=torch.Generator().manual_seed(1))
    table = AttributeTable(codes, ("a", "b"), (tuple("wxyz"), tuple("wxyz")))
    torch.manual_seed(seed)
    state = torch.get_rng_state()
    shuffled = table.shuffled(seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert shuffled == table.shuffled(seed)
    assert torch.equal(shuffled.codes < 0, table.codes < 0)
    assert torch.equal(shuffled.codes.sort(0).values, table.codes.sort(0).values)
    assert shuffled != table


def test_selecting_keeps_the_order_asked_for(table):
    swapped = table.select(["size", "colour"])
    assert swapped.names == ("size", "colour")
    assert torch.equal(swapped.codes, table.codes[:, [1, 0]])
    assert table.select("size").names == ("size",)


def test_tables_are_equal_where_codes_names_and_values_are(table):
    assert table == table.to("cpu")
    assert table != table.select(["size", "colour"])
    assert table != "a table"
    with pytest.raises(TypeError, match="unhashable"):
        hash(table)


def test_the_repr_shows_names_values_and_coverage(table):
    assert repr(table).splitlines() == [
        "AttributeTable of 4 rows",
        "  colour: 2 values (red, blue), 3 rows labelled (75 %)",
        "  size: 2 values (1, 2), 3 rows labelled (75 %)",
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "at least one attribute"),
        ({"a": [None, None]}, "attribute 'a' labels no row at all"),
        ({"a": ["x", "x"]}, r"attribute 'a' has a single value, \['x'\]"),
        ({"a": []}, "attribute 'a' labels no row at all"),
        ({"a": ["x", "y"], "b": ["x"]}, "'a' has 2, 'b' has 1"),
        ({"": ["x", "y"]}, "names must be different and not empty"),
    ],
)
def test_columns_that_cannot_be_compared_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        AttributeTable.from_dict(columns)


@pytest.mark.parametrize(
    ("codes", "names", "values", "message"),
    [
        (torch.zeros(3), ("a",), (("x", "y"),), r"codes must be int64 \[rows, 1\]"),
        (torch.zeros(3, 2).long(), ("a",), (("x", "y"),), r"got torch.int64 \[3, 2\]"),
        (torch.tensor([[0], [2]]), ("a",), (("x", "y"),), r"must lie in -1..1.*found 0..2"),
        (torch.tensor([[-2], [1]]), ("a",), (("x", "y"),), r"found -2..1"),
        (torch.tensor([[0], [1]]), ("a",), (), "values must have 1 entries"),
        (torch.tensor([[0], [1]]), ("a",), (("x", "x"),), "has a value twice"),
        (torch.tensor([[0, 1]]), ("a", "a"), (("x", "y"),) * 2, "names must be different"),
    ],
)
def test_parts_that_do_not_fit_are_refused(codes, names, values, message):
    with pytest.raises(ValueError, match=message):
        AttributeTable(codes, names, values)


def test_an_unknown_attribute_is_answered_with_those_there_are(table):
    with pytest.raises(
        ValueError, match="unknown attribute 'shape'; the table has 'colour', 'size'"
    ):
        table.select(["shape"])


def test_joined_tables_have_the_attributes_of_all_for_the_same_rows(table):
    longer = AttributeTable.from_dict({"kind": ["x", None, "y", None, "y"]})
    joined = table.joined(longer)
    assert joined.names == ("colour", "size", "kind")
    assert joined.codes.tolist() == [
        [0, 0, 0], [1, 1, -1], [-1, 1, 1], [0, -1, -1], [-1, -1, 1],
    ]  # fmt: skip
    assert joined.select(table.names).codes[: len(table)].equal(table.codes)
    assert table.joined() == table
    with pytest.raises(ValueError, match="'size' would be there twice; select"):
        table.joined(longer, table.select("size"))


def test_what_a_table_left_out_goes_with_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,a,b\n0,x,u\n1,x,v\n2,y,v\n3,y,v\n4,z,u\n")
    table = AttributeTable.from_file(path, min_count=2)
    assert table.codes[:, 0].tolist() == [0, 0, 1, 1, -1]
    for same in (table, table.shuffled(0), table.to("cpu"), table.joined()):
        assert same.coverage()["a"].dropped == {"z": 1}
        assert same.coverage()["a"].share == 0.8
    assert table.select("b").coverage().keys() == {"b"}
    assert "a: 2 values (x, y), 4 rows labelled (80 %); dropped below min_count: z (1)" in repr(
        table
    )


def test_the_first_rows_have_the_values_that_are_left(table):
    table = table.joined(AttributeTable.from_dict({"late": [None, None, None, "x", "y"]}))
    cut = table.first(3)
    assert cut.names == ("colour", "size")
    assert cut.codes.tolist() == [[0, 0], [1, 1], [-1, 1]]
    assert cut.coverage()["late"].labelled == 0
    assert "late: left out, fewer than 2 values" in repr(cut)
    assert table.first(5) == table.first(99) == table
    assert table.codes[0].tolist() == [0, 0, -1]  # it is as it was


@given(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=2, max_size=30), st.data())
def test_the_first_rows_are_those_of_a_table_of_them_alone(column, data):
    n = data.draw(st.integers(2, len(column)))
    if len({*column[:n]} - {None}) < 2:
        return
    cut, alone = (AttributeTable.from_dict({"a": c}) for c in (column, column[:n]))
    cut = cut.first(n)
    assert set(cut.values[0]) == set(alone.values[0])
    spelled = [[None if c < 0 else t.values[0][c] for c in t.codes[:, 0]] for t in (cut, alone)]
    assert spelled == [column[:n]] * 2


@pytest.mark.parametrize(
    ("n", "message"), [(0, "n must be 1 or more; got 0"), (1, "two values in the first 1 of 4")]
)
def test_first_rows_without_attributes_are_refused(table, n, message):
    with pytest.raises(ValueError, match=message):
        table.first(n)
