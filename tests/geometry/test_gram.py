import math

import torch

from lightning_semgeom.geometry.gram import cosine_gram, gram_rows
from tests import oracles


def test_rows_are_chosen_in_attribute_order_with_equal_shares():
    first = torch.tensor([1] * 50 + [0] * 50 + [2] * 3 + [-1] * 5)
    codes = torch.stack([first, torch.arange(108) % 2], dim=1)
    chosen = gram_rows(codes, 43)
    assert codes[chosen, 0].tolist() == [0] * 20 + [1] * 20 + [2] * 3
    assert len(set(chosen.tolist())) == 43
    for value in (0, 1):
        inner = codes[chosen, 1][codes[chosen, 0] == value].tolist()
        assert inner == sorted(inner)


def test_all_labelled_rows_are_chosen_where_there_is_room():
    codes = torch.tensor([[1], [-1], [0], [1]])
    assert gram_rows(codes, 96).tolist() == [2, 0, 3]
    assert gram_rows(torch.full((4, 1), -1), 96).tolist() == []


def test_the_gram_holds_the_cosines_of_centred_rows():
    rows = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    units, _ = oracles.unit_rows(rows.numpy())
    found = cosine_gram(rows, rows.double().mean(0))
    assert torch.allclose(found.double(), torch.tensor(units @ units.T), atol=1e-6)


def test_a_row_without_direction_is_nan_in_the_gram():
    rows = torch.eye(3)
    rows[1] = 0
    found = cosine_gram(rows)
    assert found[0, 2] == 0
    assert math.isnan(found[1, 0])
    assert math.isnan(found[2, 1])
    assert cosine_gram(torch.zeros(0, 3)).shape == (0, 0)
