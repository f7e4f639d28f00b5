"""Files of words, long and wide, become values of tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom import AttributeTable
from tests.attributes import vocabularies

TOKENIZER = vocabularies.byte_level()


def written(tmp_path, text, name="words.tsv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def values_of(table):
    """The value of each labelled token, by attribute and token text."""
    return {
        name: {
            TOKENIZER.id_to_token(token).replace("Ġ", " "): table.values[a][code]
            for token, code in enumerate(table.codes[:, a].tolist())
            if code >= 0
        }
        for a, name in enumerate(table.names)
    }


LONG = (
    "word\tattribute\tvalue\n"
    "dog\tkind\tanimal\ncat\tkind\tanimal\nriver\tkind\tplace\nParis\tkind\tplace\n"
    "zebra\tkind\tanimal\nslept\tkind\tdoing\nbird\tkind\tanimal\nbird\tkind\tdoing\n"
    "dog\tsize\tbig\ncat\tsize\tsmall\nthe\tsize\t\n"
)


def test_a_long_file_labels_the_tokens_that_are_its_words(tmp_path):
    table = AttributeTable.from_file(written(tmp_path, LONG), tokenizer=TOKENIZER)
    assert len(table) == TOKENIZER.get_vocab_size()
    assert values_of(table) == {
        "kind": {
            " dog": "animal", " cat": "animal", " river": "place", " Paris": "place",
            " slept": "doing",
        },
        "size": {" dog": "big", " cat": "small"},
    }  # fmt: skip
    coverage = table.coverage()["kind"]
    assert (coverage.labelled, coverage.rows) == (5, len(table))
    assert coverage.ambiguous == ("bird",)
    assert coverage.no_token == ("zebra",)
    assert str(coverage) == (
        "5 rows labelled (1 %); 1 word ambiguous: bird; 1 word no single token: zebra"
    )


def test_rare_values_are_dropped_and_attributes_without_two_values_left_out(tmp_path):
    path = written(tmp_path, LONG)
    table = AttributeTable.from_file(path, tokenizer=TOKENIZER, min_count=2)
    assert table.names == ("kind",)
    assert table.values == (("animal", "place"),)
    told = table.coverage()
    assert told["kind"].dropped == {"doing": 1}
    assert told["size"].dropped == {"big": 1, "small": 1}
    assert told["size"].labelled == 0
    assert "size: left out, fewer than 2 values" in repr(table)
    with pytest.raises(
        ValueError, match=r"no attribute has two values of min_count=3 rows .*doing"
    ):
        AttributeTable.from_file(path, tokenizer=TOKENIZER, min_count=3)
    with pytest.raises(ValueError, match="min_count must be 1 or more; got 0"):
        AttributeTable.from_file(path, tokenizer=TOKENIZER, min_count=0)


def test_a_wide_file_has_a_column_a_feature(tmp_path):
    text = "word,kind,weight\ndog,animal,20\ncat,animal,4\nriver,place,\nzebra,animal,300\n"
    path = written(tmp_path, text, "words.csv")
    cut = AttributeTable.from_file(path, tokenizer=TOKENIZER, threshold=4)
    assert values_of(cut)["weight"] == {" dog": ">4", " cat": "<=4"}
    assert values_of(cut)["kind"] == {" dog": "animal", " cat": "animal", " river": "place"}
    halved = AttributeTable.from_file(path, tokenizer=TOKENIZER, quantile=0.5)
    assert not [v for v in halved.names if v == "weight"]  # both tokens lie at 20 or below it
    assert halved.coverage()["weight"].dropped == {}
    uncut = AttributeTable.from_file(path, tokenizer=TOKENIZER)
    assert values_of(uncut)["weight"] == {" dog": "20", " cat": "4"}


def test_words_that_are_one_token_are_ambiguous_together(tmp_path):
    lower = vocabularies.word_piece()
    text = "word,kind\nParis,place\nparis,person\ndog,animal\nriver,place\n"
    table = AttributeTable.from_file(written(tmp_path, text, "t.csv"), tokenizer=lower)
    assert table.codes[lower.token_to_id("paris"), 0] == -1
    assert table.coverage()["kind"].ambiguous == ("Paris", "paris")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word\tattribute\tvalue\n", "there is no line after the header"),
        ("word\tattribute\tvalue\ndog\tkind\n", "line 2: 2 columns, but the header has 3"),
        ("word\tattribute\tvalue\ndog\t\tx\n", "line 2, column 2: the attribute has no name"),
        ("word\tattribute\tvalue\nzebra\tk\tx\n", r"no attribute has two values .*'k' has none"),
        ("word\tattribute\tvalue\n\tk\tx\n", "line 2, column 1: the word is missing"),
        ("id\tk\n0\tx\n7\ty\n", "which are row ids and no words. Leave the tokenizer out"),
    ],
)
def test_a_bad_file_of_words_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        AttributeTable.from_file(written(tmp_path, text), tokenizer=TOKENIZER)


def test_quotes_are_words_like_others_in_a_file_with_tabs(tmp_path):
    text = 'word\tattribute\tvalue\ndog\tk\ta\n"\tk\tb\ncat\tk\ta\n"\tm\tx\nthe\tm\ty\n'
    table = AttributeTable.from_file(written(tmp_path, text), tokenizer=TOKENIZER)
    assert values_of(table) == {
        "k": {" dog": "a", " cat": "a", '"': "b"},
        "m": {'"': "x", " the": "y"},
    }


def test_a_long_file_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'word attribute value'\) needs a tokenizer"):
        AttributeTable.from_file(written(tmp_path, LONG))


def test_numbers_of_rows_are_cut_as_well(tmp_path):
    path = written(tmp_path, "id,a\n0,1\n1,2\n2,3\n3,10\n4,NA\n5,inf\n", "t.csv")
    table = AttributeTable.from_file(path, quantile=0.5)
    assert table.values == (("<=2.5", ">2.5"),)
    assert table.codes[:, 0].tolist() == [0, 0, 1, 1, -1, -1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.0, "quantile": 0.5}, "give threshold=1.0 or quantile=0.5, and not both"),
        ({"quantile": 0.0}, "quantile must lie between 0 and 1; got 0.0"),
        ({"quantile": 1.5}, "quantile must lie between 0 and 1; got 1.5"),
        ({"threshold": 99.0}, "column 'a': has a single value, '<=99'"),
        ({"threshold": 1.0, "text": "id,a\n0,x\n1,2\n"}, "columns of numbers, and there is none"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(tmp_path, options, message):
    text = options.pop("text", "id,a\n0,1\n1,2\n")
    with pytest.raises(ValueError, match=message):
        AttributeTable.from_file(written(tmp_path, text, "t.csv"), **options)


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=30), st.floats(0.01, 0.99))
def test_what_lies_above_the_quantile_is_at_most_its_share(numbers, quantile):
    from lightning_semgeom.attributes.numbers import Cut

    values = Cut.of(None, quantile).applied([str(number) for number in numbers])
    above = [number for number, value in zip(numbers, values, strict=True) if value[0] == ">"]
    below = [number for number, value in zip(numbers, values, strict=True) if value[0] == "<"]
    assert len(above) <= (1 - quantile) * (len(numbers) - 1) + 1
    assert not above or not below or min(above) > max(below)


def test_a_word_is_tried_in_lower_case_unless_another_word_is_that_token(tmp_path):
    text = "word,kind\nDOG,animal\nCat,animal\nRiver,place\nriver,water\nnasA,place\nzebra,animal\n"
    table = AttributeTable.from_file(written(tmp_path, text, "t.csv"), tokenizer=TOKENIZER)
    assert values_of(table) == {"kind": {" dog": "animal", " cat": "animal", " river": "water"}}
    coverage = table.coverage()["kind"]
    assert coverage.other_case == ("River", "nasA")
    assert coverage.no_token == ("zebra",)
    assert str(coverage).endswith(
        "1 word no single token: zebra; 2 words a token in another case alone: River, nasA"
    )


def test_words_that_are_all_missing_are_told_by_why(tmp_path):
    text = "word,kind\nzebra,animal\nice cream,food\nnasA,place\nbird,animal\n bird,food\n"
    with pytest.raises(ValueError, match="'kind' has none") as caught:
        AttributeTable.from_file(written(tmp_path, text, "t.csv"), tokenizer=TOKENIZER)
    assert (
        "'kind' has none (1 word ambiguous: bird; 2 words no single token: zebra, ice cream; "
        "1 word a token in another case alone: nasA)" in str(caught.value)
    )


def test_an_index_before_words_is_passed_over(tmp_path):
    for text in (
        ",word,kind\n0,dog,animal\n1,the,article\n",
        ",word,attribute,value\n0,dog,kind,animal\n1,the,kind,article\n,,,\n",
    ):
        table = AttributeTable.from_file(written(tmp_path, text, "t.csv"), tokenizer=TOKENIZER)
        assert values_of(table) == {"kind": {" dog": "animal", " the": "article"}}


def test_a_file_of_words_without_a_header_is_told(tmp_path):
    text = "dog\tkind\tanimal\ncat\tkind\tanimal\nriver\tkind\tplace\n"
    with pytest.raises(ValueError, match="line 1: looks like the lines below it"):
        AttributeTable.from_file(written(tmp_path, text), tokenizer=TOKENIZER)
