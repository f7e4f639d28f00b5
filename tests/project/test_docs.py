"""The pages of docs/: they build, their links lead somewhere, and what they show is so."""

import inspect
import re

import pytest

import lightning_semgeom
from lightning_semgeom.record.keys import COUNTS, EIGENSPECTRUM, SIMILARITIES, SPECTRUM
from tests.browser import browser, needs_chromium
from tests.project.pages import LESSONS, PAGES, blocks_of, text_of
from tests.warm import ROOT, python

__all__ = ["browser"]
each_page = pytest.mark.parametrize("page", PAGES)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """How Sphinx ended, and the folder of the pages."""
    folder = tmp_path_factory.mktemp("docs")
    strict = ("--fail-on-warning", "--keep-going", "--quiet")
    done = python("-m", "sphinx", *strict, "-b", "html", "-d", folder / "trees", "docs", folder)
    return done, folder


@pytest.mark.processes
def test_the_pages_build_without_a_warning(built):
    done, folder = built
    assert done.returncode == 0, done.stderr
    reference = (folder / "reference/python.html").read_text()
    for name in set(lightning_semgeom.__all__) - {"__version__"}:
        assert f'id="lightning_semgeom.{name}"' in reference
    commands = (folder / "reference/command-line.html").read_text()
    for option in ("--setting", "--attributes", "RUN_FOLDER", "--entity"):
        assert option in commands


@needs_chromium
@pytest.mark.processes
def test_no_page_scrolls_sideways_on_a_phone(built, browser):
    size = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    pages = sorted(built[1].rglob("*.html"))
    assert len(pages) >= len(PAGES) - 2
    for page in pages:
        browser.get(page.as_uri())
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390, page


@pytest.mark.processes
@pytest.mark.parametrize("page", LESSONS)
def test_a_lesson_runs_as_it_stands(page, tmp_path):
    # Progress bars and loggers as a user has them; warnings are Lightning's own.
    done = python("-c", "".join(blocks_of(page)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for picture in re.findall(r'savefig\("(.*?)"\)', text_of(page)):
        assert (tmp_path / picture).stat().st_size > 10_000


def test_there_are_three_lessons():
    assert len(LESSONS) == 3


@each_page
def test_links_and_pictures_lead_to_what_is_there(page):
    folder = (ROOT / page).parent
    for link in re.findall(r"\]\(([^)#:]+)\)", text_of(page)):
        assert (folder / link).exists(), link


@each_page
def test_pictures_have_a_text_for_those_who_do_not_see_them(page):
    for text in re.findall(r"!\[(.*?)\]\(", text_of(page), re.DOTALL):
        assert len(text.split()) > 5, text


def test_no_picture_is_larger_than_a_phone_likes_to_load():
    pictures = [path for where in ("docs", "examples") for path in (ROOT / where).rglob("*.png")]
    pictures = [
        path for path in pictures if "_build" not in path.parts and "runs" not in path.parts
    ]
    assert len(pictures) > 10
    assert max(path.stat().st_size for path in pictures) <= 300_000


@each_page
def test_the_settings_are_not_met_by_their_numbers_alone(page):
    text = text_of(page)
    for short, name in (("S1", "factored"), ("S2", "latent"), ("S3", "pictures")):
        assert not re.search(rf"\b{short}\b", text) or name in text, short
    for short, name in (("W", "unembedding"), ("H", "features")):
        assert not re.search(rf"\b{short}\b(?!&)", text) or name in text, short


@pytest.mark.parametrize(
    "page", [page for page in PAGES if re.match("docs/(how|und).*(?<!index.md)$", page)]
)
def test_the_words_of_the_field_are_explained_where_they_are_met(page):
    prose = re.sub(r"```.*?```|`.*?`|\]\(.*?\)", "", text_of(page), flags=re.DOTALL)
    terms = re.findall(r"^- \*\*(.*?)\*\*", text_of("docs/understand/words.md"), re.MULTILINE)
    assert len(terms) > 15
    met = [term for term in terms if re.search(rf"(?<!\*)\b{term}s?\b", prose)]
    is_linked = re.search(r"\]\((\.\./understand/)?(words|figures)\.md", text_of(page))
    assert is_linked or all(f"*{term}*" in prose for term in met), met


@each_page
def test_words_are_spelled_as_in_britain(page):
    american = r"\b(color|behavior|gray|neighbor|center|normaliz|summariz)\w*"
    prose = re.sub(r"```.*?```|`.*?`", "", text_of(page), flags=re.DOTALL)
    assert not re.search(american, prose, re.IGNORECASE)


@each_page
def test_each_page_is_in_a_list_of_pages(page):
    folder, name = page.rsplit("/", 1) if "/" in page else ("", page)
    if not folder or page == "docs/index.md":
        return
    listed = "docs/index.md" if name == "index.md" else f"{folder}/index.md"
    own = f"{folder.split('/')[-1]}/index" if name == "index.md" else name.removesuffix(".md")
    assert own in text_of(listed).split("```{toctree}")[1].split("```")[0].split()


def test_all_public_names_are_in_the_reference():
    page = text_of("docs/reference/python.md")
    named = re.findall(r"auto(?:class|function):: lightning_semgeom\.(\w+)$", page, re.MULTILINE)
    assert sorted(named) == sorted(set(lightning_semgeom.__all__) - {"__version__"})


def test_all_options_and_keys_are_in_the_reference():
    options = inspect.signature(lightning_semgeom.SemanticGeometry.__init__).parameters
    page = text_of("docs/reference/options.md")
    for name in set(options) - {"self"}:
        assert f"`{name}`" in page, name
    page = text_of("docs/reference/keys.md")
    for name in (*SIMILARITIES, *SPECTRUM, *EIGENSPECTRUM, *COUNTS):
        assert f"`{name}`" in page, name


def test_the_house_names_all_that_stands_in_it():
    page, package = text_of("docs/develop/house.md"), ROOT / "lightning_semgeom"
    files = {path.name for path in package.glob("[a-z]*.py")} - {"cli.py"}
    folders = {f"{path.parent.name}/" for path in package.glob("[a-z]*/__init__.py")}
    assert len(files | folders) > 12
    for name in files | folders:
        assert name in page, name
