"""A table in the place of codes and numbers of values."""

import pytest
import torch

from lightning_semgeom import AttributeSimilarity, AttributeTable, attribute_similarity, partial_gap

TABLE = AttributeTable.from_dict({"colour": list("rrbb") * 5, "size": [None, "s", "l", "s"] * 5})
ROWS = torch.randn(23, 4, generator=torch.Generator().manual_seed(0))  # the last three are padding


@pytest.mark.parametrize("function", [attribute_similarity, partial_gap])
def test_a_table_says_what_codes_and_numbers_of_values_say(function):
    found = function(ROWS, TABLE)
    expected = function(ROWS[:20], TABLE.codes, TABLE.num_values)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_the_metric_takes_a_table_too():
    metric = AttributeSimilarity(TABLE, dim=4)
    metric.update(ROWS, TABLE)
    expected = attribute_similarity(ROWS, TABLE)
    torch.testing.assert_close(metric.compute(), expected, equal_nan=True)
    with pytest.raises(
        ValueError, match=r"has \(2,\) values, but the metric was made for \(2, 2\)"
    ):
        metric.update(ROWS, TABLE.select("colour"))


@pytest.mark.parametrize("function", [attribute_similarity, partial_gap])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((TABLE.codes,), "num_values is missing"),
        ((TABLE, TABLE.num_values), "num_values goes with codes"),
        ((AttributeTable.from_dict({"colour": list("rb") * 20}),), "it has 40, but rows has 23"),
        (
            ({"colour": list("rb") * 10},),
            "codes must be a tensor or an Attr.* got a dict",
        ),
        ((None,), "codes must be .* got a NoneType"),
    ],
)
def test_what_is_missing_or_too_much_is_told(function, arguments, text):
    with pytest.raises(ValueError, match=text):
        function(ROWS, *arguments)
