import json
import math
import os
import shutil

import numpy as np
import pytest
import torch

from lightning_semgeom import History, SemanticGeometry
from lightning_semgeom.record.record import Record
from tests import models


def record(step, gap=0.5):
    values = {
        "semgeom/gap": gap,
        "semgeom_unembedding/gap": gap,
        "semgeom_unembedding/gap/colour": gap,
        "semgeom_unembedding/asymmetry": math.nan,
        "semgeom_hidden.layer_1/gap/colour": math.inf,
    }
    return Record(step, values, {"unembedding": f"pictures/{step}.npz"})


def filled(folder=None, steps=(0, 1, 5)):
    history = History()
    if folder is not None:
        history.open(folder)
    for step in steps:
        history.append(record(step, gap=step / 10))
    return history


def test_what_is_written_is_read_again(tmp_path):
    filled(tmp_path)
    for path in (tmp_path, tmp_path / "history.jsonl"):
        read = History.load(path)
        assert [r.step for r in read] == [0, 1, 5]
        steps, values = read.curve("semgeom_unembedding/gap/colour")
        assert steps.tolist() == [0, 1, 5]
        assert values.tolist() == [0.0, 0.1, 0.5]
        assert np.isnan(read.curve("semgeom_unembedding/asymmetry")[1]).all()
        assert read.records[1].pictures == record(1).pictures


def test_a_run_s_folder_is_read_too(tmp_path):
    filled(tmp_path / "run/semgeom")
    filled(tmp_path / "run/semgeom_control", steps=(0,))
    assert len(History.load(tmp_path / "run")) == 3
    filled(tmp_path / "run/other")
    with pytest.raises(ValueError, match="several callbacks, 'other', 'semgeom': give the folder"):
        History.load(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"expected '.*/semgeom/history.jsonl'"):
        History.load(tmp_path)


def test_it_is_printed_as_its_phases(tmp_path):
    history = filled(tmp_path)
    head = f"History: 3 records, of steps 0 to 5, in '{tmp_path}'"
    assert str(history).splitlines()[0] == head
    assert "unembedding     colour" in str(history)
    assert repr(History()) == "History: no record yet"
    assert repr(filled(steps=(7,))).startswith("History: 1 record, of step 7\n")
    html = history._repr_html_()
    assert "<th>onset</th>" in html
    assert html.count("<tr><td>") == 2
    odd = History()
    odd.append(Record(0, {"semgeom/gap": 0.1, "semgeom_a<b>/gap/c": 0.1, "semgeom_a<b>/z/c": 1.0}))
    assert "a&lt;b&gt;" in odd._repr_html_()
    assert "a<b>" not in odd._repr_html_()


def test_a_record_is_printed_with_its_first_figures():
    assert repr(record(3)) == (
        "Record of step 3: semgeom/gap 0.5, semgeom_unembedding/gap 0.5; 4 figures of 5 in .values"
    )


def test_each_line_is_on_disk_at_once_and_strict_json(tmp_path):
    filled(tmp_path)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert len(lines) == 3
    found = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [line["step"] for line in found] == [0, 1, 5]
    assert [line["values"][0] for line in found] == [{"gap": 0}, {"gap": 0.1}, {"gap": 0.5}]


def test_another_process_reads_what_is_there_while_it_grows(tmp_path):
    history = History()
    history.open(tmp_path)
    for step in range(4):
        history.append(record(step, gap=step / 10))
        assert [r.values["semgeom/gap"] for r in History.load(tmp_path)] == [
            r.values["semgeom/gap"] for r in history
        ]


def test_a_history_of_version_0_1_is_read_and_goes_on(tmp_path):
    file = tmp_path / "history.jsonl"
    old = [
        {"step": s, "values": {"semgeom/gap": s / 7, "semgeom/z": None}, "pictures": {"a": "p.npz"}}
        for s in range(3)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in old))
    history = History.load(tmp_path)
    assert [r.values["semgeom/gap"] for r in history] == [s / 7 for s in range(3)]
    assert all(math.isnan(r.values["semgeom/z"]) for r in history)
    history.open(tmp_path)
    history.append(Record(3, {"semgeom/gap": 3 / 7, "semgeom/z": 2.5}))
    read = History.load(tmp_path)
    assert [r.values["semgeom/gap"] for r in read] == [s / 7 for s in range(4)]
    assert read.records[0].pictures == {"a": "p.npz"}
    state = {
        "keys": ["semgeom/gap", "semgeom/z"],
        "steps": torch.tensor([0, 1]),
        "values": torch.tensor([[0.5, math.nan], [1 / 3, 2.0]], dtype=torch.float64),
        "pictures": [{"a": "p.npz"}, {}],
        "folder": None,
    }
    history.load_state_dict(state)
    assert [r.values["semgeom/gap"] for r in history] == [0.5, 1 / 3]
    assert history.records[0].pictures == {"a": "p.npz"}
    assert history.keys == ["semgeom/gap", "semgeom/z"]


def test_a_cut_last_line_is_dropped_with_a_warning(tmp_path):
    filled(tmp_path)
    file = tmp_path / "history.jsonl"
    text = file.read_text()
    for cut in (text[:-1], text[:-30]):
        file.write_text(cut)
        with pytest.warns(UserWarning, match="the cut last line 3 was dropped"):
            assert len(History.load(file)) == 2


def test_a_bad_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    filled(tmp_path)
    file = tmp_path / "history.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(lines[0] + "nothing\n" + lines[2])
    with pytest.raises(ValueError, match=r"history.jsonl, line 2: not a record"):
        History.load(file)


def test_a_missing_history_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no history at"):
        History.load(tmp_path / "none.jsonl")


def test_records_from_a_checkpoint_cut_the_file_back(tmp_path):
    first = filled(tmp_path)
    state = first.state_dict()
    first.append(record(6))
    resumed = History()
    resumed.load_state_dict(state)
    resumed.open(tmp_path)
    assert [r.step for r in History.load(tmp_path)] == [0, 1, 5]
    resumed.append(record(7))
    assert [r.step for r in History.load(tmp_path)] == [0, 1, 5, 7]
    assert not list(tmp_path.glob("earlier.*"))


def save_picture(folder, step, value):
    models.picture(np.full((2, 2), value)).save(folder / f"pictures/{step}.npz")


def test_what_another_run_left_is_kept_aside_with_its_pictures(tmp_path):
    for value, steps in enumerate([(0, 1, 5), (0, 1), (0,)]):
        filled(tmp_path, steps)
        save_picture(tmp_path, 0, value)
    for value, folder in enumerate(["earlier.1", "earlier.2", "."]):
        kept = History.load(tmp_path / folder)
        assert len(kept) == 3 - value
        assert (kept.picture("unembedding", 0).gram == value).all()


def test_pictures_come_along_into_another_folder(tmp_path):
    first = filled(tmp_path / "first")
    save_picture(tmp_path / "first", 1, 0.5)
    resumed = History()
    resumed.load_state_dict(first.state_dict())
    resumed.open(tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    read = History.load(tmp_path / "second")
    assert (read.picture("unembedding", 1).gram == 0.5).all()
    assert read.picture_steps("unembedding") == [1]  # the others were never on disk


def test_the_state_is_read_by_torch_load_with_weights_only(tmp_path):
    history = filled()
    torch.save(history.state_dict(), tmp_path / "state.pt")
    read = History()
    read.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [(r.step, r.pictures) for r in read] == [(r.step, r.pictures) for r in history]
    for key in history.keys:
        assert np.array_equal(read.curve(key)[1], history.curve(key)[1], equal_nan=True)
    empty = History()
    empty.load_state_dict(History().state_dict())
    assert len(empty) == 0


def test_sites_attributes_and_keys_are_found_whatever_the_name():
    history = filled()
    assert history.sites == ["unembedding", "hidden.layer_1"]
    assert history.attributes("hidden.layer_1") == ["colour"]
    assert history.key("unembedding", "gap") == "semgeom_unembedding/gap"
    control = History()
    control.append(Record(0, {"my_control/gap": 0.1, "my_control_unembedding/gap/a": 0.1}))
    assert control.sites == ["unembedding"]
    assert control.attributes("unembedding") == ["a"]


def test_an_unknown_key_is_answered_with_close_ones():
    with pytest.raises(KeyError, match="close ones: semgeom_unembedding/gap"):
        filled().curve("semgeom_unembeding/gap")
    with pytest.raises(KeyError, match=r"no figure of unembedding 'gop'.*close ones: gap"):
        filled().key("unembedding", "gop")
    with pytest.raises(KeyError, match=r"no site 'unembeding'.*close ones: unembedding"):
        filled().gap("colour", site="unembeding")
    with pytest.raises(KeyError, match=r"no attribute of unembedding 'color'.*close ones: colour"):
        filled().gap("color")
    with pytest.raises(KeyError, match=r"no attribute of unembedding 'zzz'.*it has colour"):
        filled().gap("zzz")
    with pytest.raises(KeyError, match="no site 'unembedding' in the history, which has none"):
        History().gap("colour")


def test_the_gap_of_an_attribute_is_one_call():
    steps, gaps = filled().gap("colour")
    assert (steps.tolist(), gaps.tolist()) == ([0, 1, 5], [0.0, 0.1, 0.5])
    assert filled().gap()[1].tolist() == [0.0, 0.1, 0.5]
    assert np.isinf(filled().gap("colour", site="hidden.layer_1")[1]).all()


def test_steps_must_increase():
    history = filled()
    with pytest.raises(ValueError, match="steps must increase: 5 came after 5"):
        history.append(record(5))


def test_a_picture_is_read_with_its_bands(tmp_path):
    history = filled(tmp_path)
    save_picture(tmp_path, 1, 0.5)
    picture = History.load(tmp_path).picture("unembedding", 1)
    assert np.array_equal(picture.gram, np.full((2, 2), 0.5))
    assert picture.bands() == [("red", 2)]
    assert history.picture_steps("unembedding") == [0, 1, 5]
    with pytest.raises(
        KeyError, match=r"no picture of 'unembedding' at step 2; there are \[0, 1, 5\]"
    ):
        history.picture("unembedding", 2)


def test_the_last_record_can_be_given_its_pictures_later(tmp_path):
    history = filled(tmp_path)
    history.save_picture(5, "hidden.layer_1", models.picture(np.eye(2)))
    assert History.load(tmp_path).records[-1].pictures == record(5).pictures
    history.write()
    read = History.load(tmp_path)
    assert [r.step for r in read] == [0, 1, 5]
    assert [*read.records[-1].pictures] == ["unembedding", "hidden.layer_1"]
    assert (read.picture("hidden.layer_1", 5).gram == np.eye(2)).all()


def test_milestones_are_those_of_the_last_record():
    history = filled()
    last = {
        "semgeom/gap": 0.1,
        "semgeom_unembedding/onset_step/colour": 1.0,
        "semgeom_unembedding/peak_step/colour": 5.0,
        "semgeom_unembedding/collapse_step/colour": math.nan,
    }
    history.append(Record(9, last))
    found = history.milestones("unembedding", "colour")
    assert (found.onset_step, found.peak_step, found.collapse_step) == (1, 5, None)
    assert History().milestones("unembedding", "colour").onset_step is None


def test_a_frame_has_one_row_a_step_site_and_attribute():
    frame = filled().to_pandas()
    assert frame.columns.tolist() == ["step", "site", "attribute", "gap", "asymmetry"]
    assert len(frame) == 3 * 2
    own = frame[(frame.site == "unembedding") & (frame.attribute == "colour")]
    assert own.step.tolist() == [0, 1, 5]
    assert own.gap.tolist() == [0.0, 0.1, 0.5]
    assert own.asymmetry.isna().all()
    assert History().to_pandas().empty


def test_a_frame_of_a_run_has_each_figure_of_its_history(tmp_path):
    callback = SemanticGeometry(models.table(), hidden="body", every_n_steps=4, growth=None)
    models.trainer(tmp_path, callback, max_steps=9).fit(models.TinyModel(), models.batches())
    history = callback.history
    frame = history.to_pandas().set_index(["step", "site", "attribute"])
    assert len(frame) == len(history) * 2 * 2
    names = {"gap", "z", "partial_gap", "onset_step", "asymmetry", "rows"}
    assert names <= set(frame.columns)
    for record in history:
        for site in history.sites:
            for name in history.attributes(site):
                found = frame.loc[(record.step, site, name)]
                for figure in frame.columns:
                    key = f"semgeom_{site}/{figure}"
                    own = record.values.get(f"{key}/{name}", record.values.get(key))
                    assert found[figure] == pytest.approx(own, nan_ok=True, abs=0), key


def test_a_wide_frame_has_one_row_a_record():
    frame = filled().to_pandas(wide=True)
    assert frame.index.tolist() == [0, 1, 5]
    assert frame["semgeom/gap"].tolist() == [0.0, 0.1, 0.5]


def test_what_could_not_be_written_is_there_after_the_next_write(tmp_path):
    history = filled(tmp_path)
    file = tmp_path / "history.jsonl"
    aside = file.rename(tmp_path / "aside")
    file.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        history.append(record(9))
    assert history.records[-1].step == 9
    file.unlink()
    aside.rename(file)
    with file.open("a") as lines:
        lines.write('{"step": 9, "val')  # what a full disk leaves of a line
    history.append(record(10))
    assert [r.step for r in History.load(tmp_path)] == [0, 1, 5, 9, 10]


def test_no_file_is_opened_that_stays_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    histories = [filled(tmp_path / str(number)) for number in range(3)]
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(histories) == 3
