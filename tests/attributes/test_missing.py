"""What stands for no value in dicts, Series, files, words and numbers."""

import decimal

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_semgeom import AttributeTable
from tests.attributes import vocabularies

NOTHING = [
    *(None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, np.ma.masked),
    *(np.datetime64("NaT"), decimal.Decimal("nan"), "", "  ", "NA", "n/a", "nan", "--", " NA "),
    *("N/A", "NaN", "NULL", "null", "None", "<NA>", "#N/A", np.str_("NA")),
]


@pytest.mark.parametrize("nothing", NOTHING, ids=repr)
def test_what_stands_for_no_value_is_not_labelled(nothing):
    table = AttributeTable.from_dict({"a": ["x", "x", nothing, "y", "y"]})
    assert table.values == (("x", "y"),)
    assert table.codes[:, 0].tolist() == [0, 0, -1, 1, 1]


@pytest.mark.parametrize("text", [n for n in NOTHING if isinstance(n, str)])
@pytest.mark.parametrize("tokenizer", [None, vocabularies.byte_level()], ids=["rows", "words"])
@pytest.mark.parametrize("quantile", [None, 0.5])
def test_files_have_no_value_where_dicts_have_none(tmp_path, text, tokenizer, quantile):
    keys = range(4) if tokenizer is None else ("dog", "cat", "the", "and")
    path = tmp_path / "t.csv"
    lines = [f"{key},{value}\n" for key, value in zip(keys, ("1", text, "1", "2"), strict=True)]
    path.write_text("id,a\n" + "".join(lines))
    table = AttributeTable.from_file(path, tokenizer, quantile=quantile)
    assert table.values == ((("1", "2"),) if quantile is None else (("<=1", ">1"),))
    assert table.coverage()["a"].labelled == 3
    assert table.coverage()["a"].missing == ({text.strip(): 1} if text.strip() else {})


def test_what_was_taken_for_no_value_is_told():
    table = AttributeTable.from_dict({"country": ["NA", "DE", "FR", "NA", "null"]})
    assert repr(table).splitlines()[1] == (
        "  country: 2 values (DE, FR), 2 rows labelled (40 %); taken for no value: NA (2), null (1)"
    )


def test_a_value_that_is_called_as_missing_ones_are_can_be_kept(tmp_path):
    column = ["NA", "DE", "null", None, ""]
    kept = AttributeTable.from_dict({"c": column}, missing=AttributeTable.MISSING - {"NA"})
    assert kept.values == (("NA", "DE"),)
    assert AttributeTable.from_dict({"c": column}, missing=()).values == (("NA", "DE", "null"),)
    path = tmp_path / "t.csv"
    path.write_text("id,c\n0,NA\n1,DE\n2,?\n3,\n")
    assert AttributeTable.from_file(path, missing=["?"]).values == (("NA", "DE"),)


@pytest.mark.parametrize("missing", ["NA", [None], [1.0]])
def test_missing_is_a_collection_of_texts(missing):
    with pytest.raises(TypeError, match="missing must be a collection of the texts"):
        AttributeTable.from_dict({"a": ["x", "y"]}, missing=missing)


def test_words_and_tokens_are_no_values_and_stay(tmp_path):
    tokenizer = vocabularies.byte_level()
    path = tmp_path / "t.tsv"
    path.write_text("word\tkind\nNone\tkeyword\nNA\tnoun\nfor\tkeyword\ndog\tnoun\n")
    table = AttributeTable.from_file(path, tokenizer)
    keyword = table.values[0].index("keyword")
    assert table.codes[tokenizer.token_to_id("ĠNone"), 0] == keyword
    path.write_text("token\tkind\nnull\tx\nNone\ty\nnan\tx\n")
    assert AttributeTable.from_file(path).codes[:, 0].tolist() == [0, 1, 0]


def test_values_of_the_package_s_own_makers_are_no_missing_ones():
    tokenizer = vocabularies.byte_level()
    assert "none" in AttributeTable.surface(tokenizer, min_count=1).select("digits").values[0]
    kinds = AttributeTable.python_tokens(tokenizer, min_count=1)
    keyword = kinds.values[0].index("keyword")
    assert kinds.codes[tokenizer.token_to_id("ĠNone"), 0] == keyword


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ([np.int64(1), 1, 2, np.int32(2)], ("1", "2")),
        ([True, 1, False, np.bool_(True)], ("True", "1", "False")),
        (pd.Series([0, 1, None, 1]), ("0", "1")),
        (pd.Series([0, 1, None, 1], dtype="Int64"), ("0", "1")),
        (pd.Series([True, False, None], dtype="boolean"), ("True", "False")),
        (pd.Series(["b", "a", None], dtype="category"), ("b", "a")),
        (pd.Series(["b", "a", None], dtype="string"), ("b", "a")),
        (np.array(["x", "y"]), ("x", "y")),
        (np.array([b"x", b"y"]), ("x", "y")),
        (np.float32([0.5, 0.25, 0.5]), ("0.5", "0.25")),
        ([0.5, 1.0, None], ("0.5", "1.0")),
        ([1.0, 2.0, 1.0], ("1.0", "2.0")),
        (np.ma.array([3, 4, 5], mask=[0, 0, 1]), ("3", "4")),
        (torch.tensor([3, 4, 3]), ("3", "4")),
        ([torch.tensor(3), torch.tensor(4)], ("3", "4")),
    ],
    ids=repr,
)
def test_values_are_named_as_they_are_written(column, values):
    assert AttributeTable.from_dict({"a": column}).values == (values,)
