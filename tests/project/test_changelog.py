"""The changelog's newest version is the package's, and what it says fits on one screen."""

import datetime
import re

import lightning_semgeom
from tests.project.pages import text_of


def test_the_newest_version_is_that_of_the_package_and_has_a_date():
    headings = re.findall(r"^## \[(.*?)\](.*)$", text_of("CHANGELOG.md"), re.MULTILINE)
    (version, when), *_ = [entry for entry in headings if entry[0] != "Unreleased"]
    assert version == lightning_semgeom.__version__
    day = when.removeprefix(" - ")
    assert datetime.date.fromisoformat(day) >= datetime.date(2026, 11, 27)
    assert f"version: {version}\ndate-released: {day}\n" in text_of("CITATION.cff")


def test_what_a_version_says_fits_on_one_screen():
    for version in re.split(r"^## ", text_of("CHANGELOG.md"), flags=re.MULTILINE)[1:]:
        lines = version.splitlines()
        assert len(lines) <= 45
        assert max(map(len, lines)) <= 100
