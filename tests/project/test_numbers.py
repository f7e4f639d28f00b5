"""The numbers of the pages are those that a command left, or that are written down once."""

import importlib.util
import re
from pathlib import Path

import pytest
import tomllib

from lightning_semgeom.commands.demo_words import after
from lightning_semgeom.record.record import Milestones
from lightning_semgeom.record.summary import HEADER, CurveSummary, text_table
from tests.examples import scripts
from tests.project.pages import PAGES, text_of
from tests.warm import ROOT

MADE = {
    line
    for file in (ROOT / "examples/tables").glob("*.md")
    for line in file.read_text().splitlines()
}


def table_lines(page):
    """The lines of its tables as they stand there, but those below the heads."""
    return [line for line in text_of(page).splitlines() if line.startswith("| ")]


def rows_of(page):
    """The cells of the rows of its tables."""
    return scripts.rows_of(text_of(page))


def measured():
    """`docs/measured.py`."""
    spec = importlib.util.spec_from_file_location("measured", ROOT / "docs/measured.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


@pytest.mark.parametrize(
    ("page", "count"),
    [("language-model", 40), ("keep", 20), ("directions", 7), ("steer", 15), ("erase", 6),
     ("transience", 19)],
)  # fmt: skip
def test_tables_of_results_stand_there_as_they_were_made(page, count):
    lines = table_lines(f"docs/results/{page}.md")
    shown = [line for line in lines if re.search(r"±|\(-?\d.* to", line)]
    assert len(shown) >= count
    assert not set(shown) - MADE


def test_what_the_first_run_of_gpt2_left_stands_there():
    of_sites = [line for line in table_lines("docs/results/gpt2.md") if "| layer" in line]
    assert len(of_sites) >= 15
    assert not set(of_sites) - MADE


def test_what_is_said_of_both_runs_of_gpt2_is_so_in_both():
    text, of_hidden, of_w = " ".join(text_of("docs/results/gpt2.md").split()), {}, []
    for name in ("gpt2_scale", "gpt2_scale_other"):
        rows = scripts.rows_of((ROOT / f"examples/tables/{name}.md").read_text())
        for site, attribute, *cells in (cells for cells in rows if len(cells) == 12):
            if site == "unembedding":
                of_w.append((attribute, cells))
            else:
                of_hidden.setdefault(attribute, []).append(cells)
    space, punctuation, kind = (of_hidden[name] for name in ("space", "punctuation", "kind"))
    onsets = sorted(int(cells[0]) for cells in space)
    assert f"onset at steps {onsets[0]} to {onsets[-1]}; rises to .55 or more" in text
    assert all(float(cells[3]) >= 0.55 and float(cells[7]) >= 0.55 for cells in space)
    assert all(0.3 <= float(cells[5]) <= 0.6 for cells in space)
    onsets, peaks = (sorted(int(cells[k]) for cells in punctuation) for k in (0, 1))
    assert f"onset at {onsets[0]} to {onsets[-1]}, peak of .2 to .3 at {peaks[0]} to" in text
    assert f"at {peaks[0]} to {peaks[-1]}; a tenth or less is left" in text
    assert all(float(cells[5]) <= 0.1 for cells in punctuation)
    assert all(float(cells[5]) > 0.3 for cells in kind)
    with_onset = [(name, cells[0], cells[4]) for name, cells in of_w if cells[0].isdigit()]
    assert with_onset == [("frequency", "51", "0.43"), ("frequency", "51", "0.44")]


def test_what_a_corpus_predicts_stands_there_as_it_was_made():
    shown = table_lines("docs/results/predicted-order.md")
    assert len(shown) >= 40
    assert set(shown) <= MADE


def test_peaks_without_attributes_stand_there_as_they_were_made():
    page = "docs/results/peak-without-attributes.md"
    lines = table_lines(page)
    assert len(lines) == 32
    assert set(lines) <= MADE
    fresh = {name: cells for name, *cells in rows_of(page)[:16]}
    text = " ".join(text_of(page).split())
    near = [float(cell.split()[0]) for cell in fresh["third moment, 70% of the text"][:4]]
    assert all(0.8 <= ratio <= 1.2 for ratio in near)
    assert fresh["third moment, 70% of the text"][-1] == "12 of 15"
    assert "in 12 of 12 fresh runs" in text
    assert fresh["asymmetry"][-1] == "9 of 15"
    assert "does in the 9 of the settings" in text


def test_large_z_by_chance_are_as_they_were_counted():
    shown = table_lines("docs/understand/z.md")
    assert len(shown) == 4
    assert set(shown) <= MADE


def test_the_phase_rule_is_told_as_its_tables_have_it():
    page = "docs/results/phase-rule.md"
    shown = table_lines(page)
    assert len(shown) >= 34
    assert set(shown) <= MADE
    rows = {cells[0]: cells[1:] for cells in rows_of(page) if len(cells) == 8}
    text = " ".join(text_of(page).split())
    (first, of_w), (first_h, of_h) = (rows[f"all, {k}"][4].split(" of ") for k in "WH")
    (at_end, _), (at_end_h, _) = (rows[f"all, {k}"][5].split(" of ") for k in "WH")
    assert f"Of {of_w} peaks of unembeddings on fresh seeds it finds {first} within" in text
    assert f"of {of_h} of hidden states {first_h}, if the peak" in text
    assert f"it states {at_end} of the {of_w} and {at_end_h} of the {of_h}" in text
    assert f"{first} of {of_w} peaks of unembeddings" in text_of("docs/results/index.md")
    assert f"by {float(rows['all, W'][6].split()[0]):.1f} times their step" in text
    nothing = [cells for cells in rows_of(page) if len(cells) == 7 and cells[1].isdigit()]
    *nothing, (last, *_) = nothing
    assert last == "gaps that only fall, or still rise"
    assert {count for cells in nothing for count in cells[3:]} == {"0"}
    assert f"no onset in {sum(int(cells[1]) for cells in nothing)} curves" in text


def test_spectral_phases_are_told_as_they_were_counted():
    page = "docs/results/spectral-phases.md"
    shown = table_lines(page)
    assert len(shown) == 30
    assert set(shown) <= MADE
    text = " ".join(text_of(page).split())
    found = [(cells[0], cells[1:]) for cells in rows_of(page)]
    rows = dict(reversed(found))  # of two with one name the first
    long = {name: cells for name, cells in found if cells not in rows.values()}
    real = [rows[f"{kind}, probe"] for kind in ("factored", "latent", "stdlib")]
    runs = sum(int(cells[0]) for cells in real)
    assert f"All {runs} runs go through warm-up and are entropy-seeking" in text
    for cells in (*real, rows["stdlib, training batch"]):
        assert cells[6] == cells[8] == cells[9] == f"{cells[0]} of {cells[0]}"
        assert cells[11] == cells[12] == f"0 of {cells[0]}"
    curves, _, _, wrong, _ = rows["stdlib, still at the end: each batch another"]
    assert f"{wrong} of {curves} such curves are told a phase" in text
    fallen = [long[f"{kind}, probe"] for kind in ("factored", "latent")]
    assert [cells[-2:] for cells in fallen] == [["0 of 3", "3 of 3"]] * 2
    shares = [float(share) for cells in fallen for share in re.findall(r"0\.\d\d", cells[5])]
    low, high = (100 - round(100 * share) for share in (max(shares), min(shares)))
    assert f"RankMe falls, by {low} to {high} % of its largest value until step 20,000" in text
    assert long["stdlib, probe"][-2:] == ["0 of 1", "0 of 1"]


def test_what_was_measured_is_on_the_pages_as_it_is_written_down():
    module = measured()
    for page in PAGES:
        assert module.written(text_of(page)) == text_of(page), "run `python docs/measured.py`"
    shown = re.findall(r"<!-- measured: (\S+) -->", "".join(map(text_of, PAGES)))
    known = tomllib.loads(text_of("docs/measured.toml"))
    for one in known.pop("said"):
        assert one["words"] in " ".join(text_of(one["page"]).split())
    assert sorted(shown) == sorted(known)
    for found in known.values():
        assert "tests.benchmarks" in found["made"]
        assert {len(row) for row in found["rows"]} == {len(found["head"])}


def test_the_sample_of_the_demo_has_the_form_of_what_it_prints():
    """Its figures are those of one processor: they agree with each other."""
    page = text_of("docs/start/small-run.md")
    sample = page.split("```text\n")[1].split("```")[0]
    above, header, rule, *rest = sample.split("\n\n")[0].splitlines()
    rows = [re.split(r" {2,}", line) for line in rest]
    assert above.split() == ["gap"]
    assert text_table(HEADER, rows) == "\n".join([header, rule, *rest])
    said = " ".join(sample.split("\n\n")[1].split())
    for site, attribute, onset, peak, gone, *gaps in rows:
        if attribute.endswith("(shuffled)"):
            assert (onset, peak, gone) == ("-", "-", "-")
        elif site == "unembedding":
            steps = [int(word) if word.isdigit() else None for word in (onset, peak, gone)]
            told = CurveSummary(site, attribute, Milestones(*steps), *map(float, gaps)).words
            assert told in said
    assert after(Path("runs/lightning_logs/version_0")).splitlines()[0] in sample
