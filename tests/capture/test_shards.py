import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.shards import owned_rows
from lightning_semgeom.capture.sites import find_embedding, find_unembedding, site_shape


@given(rows=st.integers(0, 40), size=st.integers(1, 9))
def test_each_row_of_a_weight_belongs_to_one_process(rows, size):
    weight = torch.arange(rows * 2.0).view(rows, 2)
    owned = [owned_rows(weight, Ranks(rank=rank, size=size)) for rank in range(size)]
    assert torch.equal(torch.cat([part.rows for part in owned]), weight)
    for part in owned:
        assert torch.equal(weight[part.slice], part.rows)
        assert part.total == rows
        assert abs(part.rows.shape[0] - rows / size) < 1


def test_the_rows_of_a_process_are_a_view():
    weight = torch.zeros(4, 2)
    owned_rows(weight, Ranks(rank=1, size=2)).rows.fill_(1)
    assert weight.sum(1).tolist() == [0, 0, 2, 2]


class Cut(nn.Linear):
    """Its weight is flat and cut, as strategies keep it; it still says how large the whole is."""

    def __init__(self, *sizes):
        super().__init__(*sizes, bias=False)
        self.weight = nn.Parameter(self.weight.detach().flatten()[:3])


def test_a_weight_in_pieces_is_found_by_its_module_s_own_word():
    model = nn.ModuleDict({"embed": nn.Embedding(9, 4), "lm_head": Cut(4, 9)})
    name, module = find_unembedding(model, True, 9)
    assert name == "lm_head"
    assert site_shape(module) == (9, 4)
    model["embed"].weight = nn.Parameter(torch.zeros(0))
    assert find_embedding(model, True, 9)[0] == "embed"


def test_a_weight_in_pieces_that_are_not_known_is_refused_with_its_shape():
    with pytest.raises(ValueError, match=r"the weight is \[3\] on this process and not \[rows,"):
        owned_rows(Cut(4, 9).weight, Ranks())
