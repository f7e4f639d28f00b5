"""What is in the page, read as a file; how it behaves is in test_browser.py."""

import base64
import json
import re
import shutil

import numpy as np
import pytest

import lightning_semgeom
from lightning_semgeom import History, snapshot
from lightning_semgeom.record.record import Record
from lightning_semgeom.show.report.page import _MOST_PICTURES, _thinned, write_report
from lightning_semgeom.show.report.runs import find_runs
from tests import models
from tests.commands.test_cli import run


def page_of(tmp_path, *folders):
    out = tmp_path / "report.html"
    write_report(find_runs(folders), out)
    return out.read_text()


def data_of(page):
    return json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', page, re.S)[1])


@pytest.fixture(scope="module")
def run_page(tmp_path_factory, run_folder):
    return page_of(tmp_path_factory.mktemp("page"), run_folder)


def test_the_page_tells_the_run_in_words_and_in_a_table(run_page):
    page = run_page
    assert (
        "In the unembedding, colour emerged at step 10, peaked at 21, was gone by 46, and 0 % of "
        "that was left at the end; shuffled attributes never did." in page
    )
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert cells[:5] == ["unembedding", "colour", "10", "21", "46"]
    assert cells[9:12] == ["unembedding", "colour (shuffled)", "-"]
    assert page.count("<tr class=control>") == 1


@pytest.mark.parametrize("moment", [False, True])
def test_the_page_says_what_its_words_mean_where_they_first_stand(tmp_path, run_page, moment):
    if moment:
        snapshot(models.StagedModel(), models.StagedModel.table()).save(tmp_path / "one/semgeom")
        run_page = page_of(tmp_path, tmp_path / "one")
    main = re.search(r"<main>(.*?)</main>", run_page, re.DOTALL).group(1)
    for term in ("run", "site", "attribute", "gap", "z", "unembedding"):
        explained = main.index(f"<b>{term}</b>")
        text = re.sub(r"<[^>]*>", lambda tag: " " * len(tag.group()), main[:explained])
        used = re.search(rf"(?<![\w-]){term}(?![\w-])", text)
        assert used is None, (term, text[used.start() - 40 :])


def test_what_stands_below_a_picture_s_title_says_how_to_read_it(run_page):
    timeline = run_page.index("<h2>Timeline</h2>")
    assert timeline < run_page.index("Each coloured curve") < run_page.index('id="timeline-0"')
    assert run_page.index("<b>Asymmetry</b>") < run_page.index('id="timeline-0"')
    assert run_page.index("Grey curves are the control") < run_page.index('id="timeline-0"')


def test_the_page_says_what_to_do_next_by_names_that_there_are(run_page):
    section = run_page[run_page.index("What to do next") :]
    names = re.findall(r"<code>(\w+)</code>", section)
    assert {"StopAfterPeak", "GeometryRegularizer", "directions"} <= {*names}
    assert {*names} <= {*lightning_semgeom.__all__}


def test_a_peak_without_a_control_is_told_how_to_measure_one(tmp_path, run_page, run_folder):
    shutil.copytree(run_folder / "semgeom", tmp_path / "run/semgeom")
    page = page_of(tmp_path, tmp_path / "run")
    assert "measure table.shuffled(0) beside these" in page
    assert "Grey curves" not in page
    assert "table.shuffled(0)" not in run_page


def test_the_page_needs_nothing_from_outside(run_page):
    without_scripts = re.sub(r"<script.*?</script>", "", run_page, flags=re.S)
    assert not re.search(r"(src|href|@import|url\()\s*=?\s*[\"']?(?!data:)[\w./:]", without_scripts)
    assert not re.search(r"<script[^>]+src", run_page)


def test_the_timeline_has_the_curve_the_control_and_the_marks(run_page, run_folder):
    history = History.load(run_folder / "semgeom")
    data = data_of(run_page)
    traces = {trace["name"]: trace for trace in data["timelines"]["unembedding"]["data"]}
    steps, gaps = history.curve("semgeom_unembedding/gap/colour")
    assert traces["colour"]["x"] == (steps + 1).tolist()
    assert traces["colour"]["y"] == gaps.tolist()
    assert traces["shuffled (control)"]["line"]["color"] == "#999999"
    assert traces["peak"]["x"] == [22]
    assert traces["gone"]["x"] == [47]
    assert data["timelines"]["unembedding"]["layout"]["xaxis"]["type"] == "log"


def test_the_pictures_are_those_on_disk_to_four_digits(tmp_path, other_folder):
    history = History.load(other_folder / "semgeom")
    (run,) = data_of(page_of(tmp_path, other_folder))["pictures"]
    shown = run["sites"]["unembedding"]
    assert [picture["step"] for picture in shown] == history.picture_steps("unembedding")
    assert run["peaks"]["unembedding"] == 21
    for picture in shown:
        kept = history.picture("unembedding", picture["step"])
        flat = np.frombuffer(base64.b64decode(picture["gram"]), dtype="<i2").reshape(48, 48)
        assert np.allclose(flat / 10_000, kept.gram, atol=6e-5)
        within = [value[3] for value in picture["values"]]
        assert within == pytest.approx(kept.value_within.tolist(), abs=6e-5)


def test_several_runs_are_drawn_over_each_other(tmp_path, run_folder, other_folder):
    page = page_of(tmp_path, run_folder, other_folder)
    data = data_of(page)
    names = [trace["name"] for trace in data["timelines"]["unembedding"]["data"]]
    runs = [run["run"] for run in data["pictures"]]
    assert [run.split("/")[-1] for run in runs] == ["first", "second"]
    for name in runs:
        assert f"colour · {name}" in names
        assert f"shuffled (control) · {name}" in names
        assert f'<td data-name="run">{name}</td>' in page


def test_names_that_look_like_html_are_text(tmp_path):
    history = History()
    name = "</script><b>x"
    values = {f"semgeom_u{part}": 0.1 for part in (f"/gap/{name}", f"/z/{name}", "/asymmetry")}
    history.open(tmp_path / "run/semgeom")
    for step in (0, 1):  # one look, then a curve
        history.append(Record(step, {"semgeom/gap": 0.1, "semgeom_u/gap": 0.1, **values}))
        page = page_of(tmp_path, tmp_path / "run")
        assert "<b>x" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
        assert "&lt;/script&gt;&lt;b&gt;x" in page
    names = [trace["name"] for trace in data_of(page)["timelines"]["u"]["data"]]
    assert name in names


def test_an_empty_history_and_lost_pictures_still_make_a_page(tmp_path, run_folder):
    History().open(tmp_path / "empty/semgeom")
    page = page_of(tmp_path, tmp_path / "empty")
    assert "Nothing was recorded." in page
    shutil.copytree(run_folder, tmp_path / "lost")
    shutil.rmtree(tmp_path / "lost/semgeom/pictures")
    page = page_of(tmp_path, tmp_path / "lost")
    assert data_of(page)["pictures"][0]["sites"] == {}


def test_of_many_pictures_the_first_the_last_and_the_marked_are_kept():
    kept = [(step, models.picture(np.eye(1))) for step in range(500)]
    steps = [step for step, _ in _thinned(kept, {123, None})]
    assert {0, 123, 499} <= set(steps)
    assert len(steps) == _MOST_PICTURES + 1
    assert steps == sorted(steps)


def test_the_histories_of_several_callbacks_are_several_runs(tmp_path, run_folder):
    shutil.copytree(run_folder, tmp_path / "run")
    shutil.copytree(run_folder / "semgeom", tmp_path / "run/by_kind")
    found = find_runs([tmp_path / "run"])
    assert [(run.name, run.control is not None) for run in found] == [
        ("by_kind", False),
        ("semgeom", True),
    ]
    (alone,) = find_runs([run_folder / "semgeom"])
    assert len(alone.history) == 36


def test_runs_are_called_by_what_tells_their_paths_apart(tmp_path, run_folder):
    for name in ("one", "two"):
        shutil.copytree(run_folder, tmp_path / name / "version_0")
    found = find_runs([tmp_path / name / "version_0" for name in ("one", "two")])
    assert [run.name for run in found] == ["one", "two"]
    (alone,) = find_runs([tmp_path / "one/version_0"])
    assert alone.name == "one/version_0"


@pytest.mark.processes
def test_the_command_writes_the_page_into_the_run_folder_or_where_it_is_told(tmp_path, run_folder):
    shutil.copytree(run_folder, tmp_path / "run")
    done = run("report", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "run/report.html"))
    done = run("report", tmp_path / "run", run_folder, "-o", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").stat().st_size > 1e6


@pytest.mark.processes
def test_a_folder_without_a_history_is_one_clear_line(tmp_path):
    done = run("report", tmp_path)
    assert done.returncode == 2
    assert f"no history in '{tmp_path}': expected '{tmp_path}/semgeom/history.jsonl'" in done.stderr
    assert "Traceback" not in done.stderr
