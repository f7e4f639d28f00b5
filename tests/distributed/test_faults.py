"""One process alone fails: both skip or both raise, and nobody waits for the other."""

import math

import pytest

pytestmark = pytest.mark.processes


def test_both_skip_what_one_could_not_capture(found):
    for ours, undisturbed in zip(found(2, "one_fails_warn"), found(2, "nobody_fails"), strict=True):
        for (step, values), (_, expected) in zip(
            ours["records"], undisturbed["records"], strict=True
        ):
            missing = {
                key for key, v in values.items() if math.isnan(v) > math.isnan(expected[key])
            }
            sites = {key.split("/")[0] for key in missing if "step" not in key}
            if step == 2:
                assert sites == {"semgeom", "semgeom_unembedding"}
            elif step == 4:
                assert sites == {"semgeom_hidden.body", "semgeom_hidden.body.0"}
            else:
                assert not sites
        assert ours["steps"] == 7
        assert ours["hooks"] == 0


def test_training_is_bit_equal_to_a_run_without_the_callback(found):
    plain = [process["weights"] for process in found(2, "without_callback")]
    for name in ("nobody_fails", "one_fails_warn"):
        assert [process["weights"] for process in found(2, name)] == plain


def test_each_process_says_once_what_it_knows(found):
    first, second = (process["warnings"] for process in found(2, "one_fails_warn"))
    assert len(first) == len(second) == 2  # of steps 2 and 4
    assert all("1 of 2 processes failed here, not this one (rank 0)" in text for text in first)
    assert "figures are missing at step 2.\n  unembedding: PeerError" in first[0]
    assert "unembedding: MemoryError: no memory is left" in second[0]
    assert "hidden.body: RuntimeError: the labels are gone" in second[1]
    assert "hidden.body.0: RuntimeError: the labels are gone" in second[1]


def test_with_raise_both_raise(found):
    first, second = found(2, "one_fails_raise")
    assert first["raised"].startswith("PeerError: 1 of 2 processes failed here")
    assert second["raised"] == "MemoryError: no memory is left"
    assert first["steps"] == second["steps"] < 7


def test_what_all_see_with_raise_ends_both_at_the_same_step(found):
    first, second = found(2, "nan_raise")
    assert first["raised"] == "UndefinedError: 13 of 13 rows are NaN or infinite."
    assert first["raised"] == second["raised"]
    assert first["steps"] == second["steps"] == 4


def test_bad_input_of_one_process_ends_both(found):
    first, second = found(2, "one_fails_at_first")
    assert first["raised"].startswith("PeerError")
    assert second["raised"] == "RuntimeError: the labels are gone"
    assert first["hooks"] == second["hooks"] == 0


def test_with_raise_a_folder_that_cannot_be_written_ends_both(found):
    first, second = found(2, "folder_fails_raise")
    assert first["raised"].startswith("FileExistsError")
    assert second["raised"].startswith("PeerError")


def test_tensors_in_pieces_are_refused_by_name_and_whole_ones_taken(found):
    for process in found(2, "pieces"):
        assert process["cut"].startswith("hidden='hidden.site': the output is a DTensor in pieces")
        assert process["whole"] == [[1, 0], [0, 1]]
        assert "a weight lies on a mesh ('alone',) that does not span all 2" in process["unknown"]
