import pytest

from lightning_semgeom import AttributeTable
from lightning_semgeom.attributes.python import python_columns
from tests.attributes import vocabularies


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("if", "keyword"),
        (" None", "keyword"),
        ("ValueError", "exception"),
        (" len", "builtin"),
        ("int", "builtin"),
        (" os", "module"),
        ("100", "number"),
        (" **", "operator"),
        ("    ", "indentation"),
        ("\n        ", "indentation"),
        (" ", "indentation"),
        ("_x", None),
        ("__import__", None),
        (" radius", None),
        ("", None),
        (None, None),
    ],
)
def test_the_interpreter_s_own_lists_tell_a_token_s_kind(text, kind):
    assert python_columns([text])["kind"].values == [kind]


def test_the_table_drops_rare_kinds_and_says_so():
    tokenizer = vocabularies.byte_level()
    table = AttributeTable.python_tokens(tokenizer, min_count=5)
    assert table.names == ("kind",)
    row = table.codes[tokenizer.token_to_id("Ġreturn"), 0]
    assert table.values[0][row] == "keyword"
    assert table.coverage()["kind"].dropped.keys() >= {"exception"}
    assert "exception" not in table.values[0]
