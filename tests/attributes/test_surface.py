import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_semgeom import AttributeTable
from lightning_semgeom.attributes.surface import surface_columns
from tests.attributes import vocabularies

NAMES = ("space", "case", "digits", "punctuation", "script", "length")


def surface(text):
    columns = surface_columns([text])
    assert tuple(columns) == NAMES
    return tuple(column.values[0] for column in columns.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" dog", ("space", "lower", "none", "none", "Latin", "3-4")),
        ("NASA", ("none", "upper", "none", "none", "Latin", "3-4")),
        (" Straße", ("space", "capitalised", "none", "none", "Latin", "5-8")),
        ("iPhone", ("none", "mixed", "none", "none", "Latin", "5-8")),
        ("A", ("none", None, "none", "none", "Latin", "1")),
        ("собака", ("none", "lower", "none", "none", "Cyrillic", "5-8")),
        ("狗", ("none", None, "none", "none", "Cjk", "1")),
        ("aя", ("none", "lower", "none", "none", None, "2")),
        (" 2024", ("space", None, "all", "none", None, "3-4")),
        ("x2", ("none", None, "some", "none", "Latin", "2")),
        ("!=", ("none", None, "none", "all", None, "2")),
        ("$", ("none", None, "none", "all", None, "1")),
        ("(str", ("none", None, "none", "some", "Latin", "3-4")),
        ("extraordinary", ("none", "lower", "none", "none", "Latin", "9 or more")),
        (" ", ("space", None, None, None, None, None)),
        ("  ", ("space", None, "none", "none", None, "1")),
        (None, (None,) * 6),
        ("", (None,) * 6),
    ],
)
def test_what_a_text_looks_like(text, expected):
    assert surface(text) == expected


@given(st.text(alphabet=string.ascii_letters + string.digits + ".,;", min_size=1))
def test_ascii_texts_are_told_as_by_plain_rules(text):
    digits, marks = (sum(c in chosen for c in text) for chosen in ("0123456789", ".,;"))
    _, case, digit, mark, _, length = surface(text)
    assert digit == ("all" if digits == len(text) else "some" if digits else "none")
    assert mark == ("all" if marks == len(text) else "some" if marks else "none")
    assert (case is None) == (digits + marks > 0 or (len(text) == 1 and text.isupper()))
    low, _, high = length.partition("-")
    if length == "9 or more":
        assert len(text) >= 9
    else:
        assert int(low) <= len(text) <= int(high or low)


@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece", "word_piece"])
def test_the_table_has_a_row_a_token_of_any_tokenizer(kind):
    tokenizer = getattr(vocabularies, kind)()
    table = AttributeTable.surface(tokenizer, min_count=2)
    assert len(table) == tokenizer.get_vocab_size()
    mark = {"byte_level": "Ġdog", "sentence_piece": "▁dog", "word_piece": "dog"}[kind]
    row = table.codes[tokenizer.token_to_id(mark)].tolist()
    told = {name: table.values[a][row[a]] for a, name in enumerate(table.names)}
    assert told["space"] == "space"
    assert told["script"] == "Latin"
    assert told["length"] == "3-4"
    # A vocabulary of lower case alone cannot say anything of case.
    assert ("case" in table.names) == (kind != "word_piece")
    assert ("case" in table.coverage()) is True
