"""The example that steers, as a user runs it: shares, a figure, and nothing twice."""

import matplotlib.image
import pytest
import torch

from tests.examples import scripts


@pytest.fixture
def example(imported):
    return imported("steer")


@pytest.mark.processes
def test_a_value_is_reached_by_its_direction_and_not_by_a_random_one(tmp_path):
    arguments = ("--seeds", "0", "--steps", "60", "--settings", "latent")
    text = scripts.run_smaller("steer", "--out", tmp_path, *arguments)
    assert (tmp_path / "table.md").read_text().strip() in text
    lines = scripts.rows_of(text)
    full = {tuple(cells[1:4]): cells[4:] for cells in lines if len(cells) == 12}
    reached, kept, chance, _, random = (
        float(cell.split()[0]) for cell in full["peak", "final_norm", "2"][:5]
    )
    assert reached > 0.6
    assert reached >= kept > chance + 0.05
    assert random < 0.1
    # The initial weights predict the same whatever the direction.
    assert full["init", "block", "0.5"][6].startswith("+0.00")
    accuracy = {cells[1]: float(cells[3].split()[0]) for cells in lines if len(cells) == 6}
    assert accuracy["init"] < 0.1 < 0.9 < accuracy["peak"]
    assert matplotlib.image.imread(tmp_path / "steer.png").std() > 0.05
    (file,) = tmp_path.glob("latent-60-0.json")
    before = file.stat().st_mtime_ns
    assert scripts.run_smaller("steer", "--out", tmp_path, *arguments) == text
    assert file.stat().st_mtime_ns == before


def test_a_move_goes_from_one_mean_to_another(example):
    table = example.network_setting("factored", 0).table
    rows = torch.randn(64, 5, generator=torch.Generator().manual_seed(0)).double()
    count = 0
    for (a, g, t), move, _ in example.moves(rows, table):
        mean = [rows[table.codes[:, a] == value].mean(0) for value in (g, t)]
        assert torch.allclose(move, mean[1] - mean[0])
        count += 1
    assert count == 2 * 1 + 4 * 3 + 8 * 7


def test_controls_are_as_long_as_the_move(example):
    table = example.network_setting("latent", 0).table
    rows = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    for _, vectors in example.kinds(rows, table, seed=0):
        length = vectors["move"].norm().expand(1)
        assert torch.allclose(vectors["shuffled"].norm(dim=1), length)
        assert torch.allclose(vectors["random"].norm(dim=1), length)


def test_trials_are_counted_by_hand(example):
    codes = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1]])
    wanted = torch.tensor([[1, 0], [1, 1], [1, 0]])  # of three contexts with value 0
    predicted = torch.tensor([2, 2, 0])  # as wanted; the value alone; nothing
    trials, reached, clean, chance = example.hits_of(codes, predicted, wanted, a=0)
    assert trials.sum() == 3
    assert reached.tolist() == [True, True, False]
    assert clean.tolist() == [True, False, False]
    # One of the three labels with value 1 has both values wanted of the first, two of the second.
    assert chance.tolist() == pytest.approx([1 / 3, 2 / 3, 0])
