import pytest
import torch

from lightning_semgeom.capture.labels import LabelReader, Share


def reader(source="labels", positions="all", shift=False):
    return LabelReader(source, positions, shift)


ALL = Share(100)


LABELS = torch.tensor([[3, -1, 5], [7, 8, -100]])
HIDDEN = torch.arange(12.0).view(2, 3, 2)


@pytest.mark.parametrize(
    ("source", "batch"),
    [
        ("labels", {"labels": LABELS}),
        (1, (None, LABELS)),
        (-1, [None, LABELS]),
        (lambda batch: batch.labels, type("Batch", (), {"labels": LABELS})()),
    ],
)
def test_labels_are_a_key_an_index_or_a_function(source, batch):
    found = reader(source).read(batch)
    assert torch.equal(found, LABELS)
    assert found is not LABELS  # a step may change its batch in place


def test_all_labelled_positions_are_selected():
    rows, labels = reader().select(HIDDEN, LABELS, ALL)
    assert labels.tolist() == [3, 5, 7, 8]
    assert rows.tolist() == [[0, 1], [4, 5], [6, 7], [8, 9]]


def test_the_last_labelled_position_of_each_sequence_is_selected():
    rows, labels = reader(positions="last").select(HIDDEN, LABELS, ALL)
    assert labels.tolist() == [5, 8]
    assert rows.tolist() == [[4, 5], [8, 9]]


def test_shifted_labels_belong_to_the_position_before():
    tokens = torch.tensor([[3, 4, 5], [7, 8, 9]])
    rows, labels = reader(shift=True).select(HIDDEN, tokens, ALL)
    assert labels.tolist() == [4, 5, 8, 9]
    assert rows.tolist() == [[0, 1], [2, 3], [6, 7], [8, 9]]
    rows, labels = reader(shift=True, positions="last").select(HIDDEN, tokens, ALL)
    assert labels.tolist() == [5, 9]
    assert rows.tolist() == [[2, 3], [8, 9]]


def test_one_label_a_sequence_belongs_to_its_last_position_or_to_its_vector():
    rows, _ = reader(positions="last").select(HIDDEN, torch.tensor([1, 2]), ALL)
    assert rows.tolist() == [[4, 5], [10, 11]]
    rows, labels = reader().select(HIDDEN[:, 0], torch.tensor([1, -1]), ALL)
    assert rows.tolist() == [[0, 1]]
    assert labels.tolist() == [1]


def test_too_many_positions_are_thinned_evenly():
    hidden, labels = torch.arange(1000.0).view(1, 1000, 1), torch.arange(1000)[None]
    rows, chosen = reader().select(hidden, labels, Share(10))
    assert chosen.tolist() == list(range(0, 1000, 100))
    assert rows[:, 0].tolist() == chosen.tolist()


def test_what_is_selected_keeps_its_gradient():
    hidden = HIDDEN.clone().requires_grad_()
    rows, _ = reader().select(hidden * 2, LABELS, ALL)
    rows.sum().backward()
    assert torch.equal(hidden.grad, 2.0 * (LABELS >= 0)[..., None].expand_as(HIDDEN))
    assert rows.untyped_storage().nbytes() == 4 * 2 * 4


@pytest.mark.parametrize(
    ("source", "batch", "message"),
    [
        (
            "labels",
            {"x": 1, "y": 2},
            "labels='labels' is not a key of the batch. Its keys: 'x', 'y'",
        ),
        (2, (1, 2), "labels=2 is out of range: the batch has 2 entries"),
        ("labels", (1, 2), "does not fit a tuple of a int, a int"),
        (
            "labels",
            [torch.ones(2, 3), torch.ones(2).int()],
            r"a list of torch.float32 \[2, 3\], torch.int32 \[2\]. Give .*labels=1",
        ),
        ("labels", {"labels": torch.zeros(2)}, r"gave torch.float32 \[2\]"),
        ("labels", {"labels": [1, 2, 3, 4]}, r"gave a list of a int, a int, a int, \.\.\.\."),
        ("labels", {"labels": torch.zeros(1, 1, 1).long()}, r"integer tensor \[B\] or \[B, T\]"),
    ],
)
def test_labels_that_are_not_there_are_explained(source, batch, message):
    with pytest.raises(ValueError, match=message):
        reader(source).read(batch)


@pytest.mark.parametrize(
    ("hidden", "labels"),
    [(HIDDEN, torch.zeros(2, 4).long()), (HIDDEN, torch.zeros(2).long()), (HIDDEN[0], LABELS)],
)
def test_labels_that_do_not_fit_the_hidden_state_are_refused(hidden, labels):
    with pytest.raises(ValueError, match="do not fit a hidden state"):
        reader().select(hidden, labels, ALL)


def test_one_label_a_sequence_belongs_to_its_last_position_that_is_no_padding():
    last = reader(positions="last")
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    labels = torch.tensor([1, 2])
    ends = last.ends({"labels": labels, "attention_mask": mask})
    rows, _ = last.select(HIDDEN, labels, ALL, ends)
    assert rows.tolist() == [[2, 3], [10, 11]]
    # Padded on the left, the last position is the last one.
    ends = last.ends({"attention_mask": mask.flip(1).bool()})
    rows, _ = last.select(HIDDEN, labels, ALL, ends)
    assert rows.tolist() == [[4, 5], [10, 11]]
    assert reader().ends({"attention_mask": mask}) is None
    assert last.ends({"attention_mask": mask[0]}) is None
    assert last.ends((mask, labels)) is None


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("positions", ["all", "last"])
def test_the_count_of_labelled_positions_is_that_of_selected_rows(positions, shift):
    chosen = reader(positions=positions, shift=shift)
    rows, _ = chosen.select(HIDDEN, LABELS, ALL)
    assert chosen.count({"labels": LABELS}) == len(rows)
    flat = torch.tensor([4, -1])
    assert reader().count({"labels": flat}) == 1
