"""Steps whose weights are the same to the bit are told, and measured all the same."""

import pytest
import torch

from lightning_semgeom import AttributeTable, analyze
from lightning_semgeom.checkpoints.contents import Contents, content_of
from lightning_semgeom.record.record import listed
from lightning_semgeom.record.summary import identical_steps, sentence
from tests.checkpoints.files import head, save

TABLE = AttributeTable.from_dict({"colour": list("rrbbggrrbbgg")})


def test_groups_of_equal_steps_are_told_in_words_and_seen_in_the_history(tmp_path):
    seeds = {0: 1, 1: 1, 100: 2, 200: 3, 300: 2, 400: 2}
    for step, seed in seeds.items():
        save(tmp_path / f"step-{step}.pt", head(seed))
    with pytest.warns(UserWarning, match="have bit-identical weights") as told:
        history = analyze(tmp_path, TABLE)
    texts = [str(warning.message).partition(" have")[0] for warning in told]
    assert texts == ["steps 0 and 1", "steps 100, 300 and 400"]
    assert [record.step for record in history] == [*seeds]
    assert identical_steps(history) == [[0, 1], [100, 300, 400]]
    assert "Steps 100, 300 and 400 have the same figures to the bit" in sentence(history)


def test_all_bits_of_the_measured_rows_count_and_no_others(tmp_path):
    first, second = head(1), head(1)
    second[5, 3] = torch.nextafter(second[5, 3], torch.tensor(9.0))
    save(tmp_path / "step-0.pt", first)
    save(tmp_path / "step-1.pt", second)
    analyze(tmp_path, TABLE)  # without a warning, although figures of fp32 may well be the same
    padded = [torch.cat([first[:12], torch.full((2, first.shape[1]), fill)]) for fill in (1.0, 2.0)]
    for step, rows in enumerate(padded):
        save(tmp_path / f"padded/step-{step}.pt", rows)
    with pytest.warns(UserWarning, match="steps 0 and 1 have bit-identical weights"):
        analyze(tmp_path / "padded", TABLE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_more_rows_than_a_piece_of_any_dtype(dtype):
    rows = torch.randn(9000, 3).to(dtype)
    contents = Contents()
    contents.add(1, content_of(rows))
    contents.add(2, content_of(rows.clone()))
    contents.add(3, content_of(rows.T.contiguous().T))  # other strides
    rows[-1, -1] += 1
    contents.add(4, content_of(rows))
    contents.add(5, content_of(rows.double() if dtype != torch.float64 else rows.float()))
    assert [note.partition(" have")[0] for note in contents.notes()] == ["steps 1, 2 and 3"]


def test_long_lists_are_cut():
    assert listed([1, 2]) == "1 and 2"
    assert listed([*range(86)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... (86 in all)"
