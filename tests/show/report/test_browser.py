"""The page in a real browser: it loads, its slider moves the pictures, it prints."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from lightning_semgeom import AttributeTable, snapshot
from lightning_semgeom.show.report.page import write_report
from lightning_semgeom.show.report.runs import find_runs
from tests import models
from tests.browser import browser, needs_chromium
from tests.show.test_layers import GAPS, history

__all__ = ["browser"]
pytestmark = [pytest.mark.processes, needs_chromium]


@pytest.fixture(scope="module")
def report(tmp_path_factory, run_folder, other_folder):
    """The report of two runs."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(find_runs([run_folder, other_folder]), out)
    return out


@pytest.fixture
def page(browser, report):
    """The report, opened from disk: as nobody has touched it."""
    browser.get(report.as_uri())
    yield browser
    assert browser.get_log("browser") == []  # no error, nothing that it could not load


def shown_gram(page):
    """The cosines that the heat map holds."""
    return np.array(page.execute_script("return document.getElementById('gram').data[0].z"))


def shown_step(page):
    return int(page.find_element("id", "step-now").text)


def test_the_page_loads_with_all_its_pictures(page):
    assert page.title.startswith("Semantic geometry")
    for name in ("timeline-0", "gram", "values", "map", "shared"):
        drawn = page.find_element("id", name).find_elements("css selector", "svg.main-svg")
        assert drawn, name
    image = Image.open(io.BytesIO(page.get_screenshot_as_png())).convert("L")
    assert np.asarray(image).std() > 20
    gram = page.find_element("id", "gram")
    page.execute_script("arguments[0].scrollIntoView()", gram)
    pixels = np.asarray(Image.open(io.BytesIO(gram.screenshot_as_png)).convert("RGB"))
    assert pixels.std(axis=(0, 1)).min() > 10


def test_the_slider_moves_the_gram_by_the_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    slider = page.find_element("id", "step")
    assert shown_step(page) == 21  # it begins at the largest gap
    peak = shown_gram(page)
    slider.send_keys(Keys.HOME)
    assert shown_step(page) == 0
    assert slider.get_attribute("aria-valuetext") == "step 0"
    start = shown_gram(page)
    assert np.abs(start - peak).max() > 0.3
    slider.send_keys(Keys.RIGHT)
    assert shown_step(page) == 1
    page.find_element("id", "to-peak").send_keys(Keys.ENTER)
    assert (shown_gram(page) == peak).all()


def test_all_controls_are_reached_by_tab(page):
    from selenium.webdriver.common.keys import Keys

    page.find_element("id", "run").send_keys("")
    page.execute_script("document.getElementById('run').focus()")
    reached = []
    for _ in range(5):
        reached.append(page.switch_to.active_element.get_attribute("id"))
        page.switch_to.active_element.send_keys(Keys.TAB)
    assert reached == ["run", "site", "step", "to-peak", "colour"]


def test_another_run_has_its_own_steps(page):
    from selenium.webdriver.support.select import Select

    page.find_element("id", "step").send_keys("")
    run = Select(page.find_element("id", "run"))
    assert len(run.options) == 2
    most = int(page.find_element("id", "step").get_attribute("max"))
    run.select_by_index(1)
    assert int(page.find_element("id", "step").get_attribute("max")) < most


def test_the_page_prints_its_pictures_and_not_its_controls(page):
    assert base64.b64decode(page.print_page()).startswith(b"%PDF")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        for name in ("timeline-0", "gram", "values", "map", "shared", "step-now"):
            assert page.find_element("id", name).is_displayed(), name
        assert not page.find_element("id", "to-peak").is_displayed()
        assert not page.find_element("id", "step").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


# Text that is not all on the screen, or of its picture; what scrolls in its own place is not cut.
CUT = """
const width = document.documentElement.clientWidth;
const cut = [];
if (document.documentElement.scrollWidth > width) cut.push("the page scrolls sideways");
const texts = "main :is(h1, h2, h3, p, li, label, button, select, figcaption, th, td), .plot text";
for (const text of document.querySelectorAll(texts)) {
  const box = text.getBoundingClientRect();
  if (!box.width || !text.textContent.trim()) continue;
  const plot = text.closest(".plot"), wide = text.closest(".wide");
  const frame = plot ? plot.getBoundingClientRect() : { left: 0, right: width };
  if (wide) frame.right = wide.getBoundingClientRect().left + wide.scrollWidth;
  const isCut = box.left < frame.left - 1 || box.right > frame.right + 1 ||
    (plot && (box.top < frame.top - 1 || box.bottom > frame.bottom + 1));
  if (isCut) cut.push(`${text.textContent} (${plot ? plot.id : text.tagName})`);
}
return cut;
"""
# The smallest contrast of a text to the page, as WCAG counts it, and that text.
CONTRAST = """
const light = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
};
const ground = light(getComputedStyle(document.body).backgroundColor);
let least = [99, ""];
const texts = "main :is(h1, h2, p, li, td, th, figcaption), .plot text";
for (const text of document.querySelectorAll(texts)) {
  if (!text.textContent.trim()) continue;
  const style = getComputedStyle(text);
  const ink = light(text.closest(".plot") ? style.fill : style.color);
  const contrast = Math.max(ink, ground) / Math.min(ink, ground);
  if (contrast < least[0]) least = [contrast, text.textContent];
}
return least;
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory, report):
    """A report of two runs, one of a moment without curves, and one with a map of layers."""
    folder = tmp_path_factory.mktemp("pages")
    values = ["proper noun, singular", "preposition or subordinating conjunction", "verb", "other"]
    table = AttributeTable.from_dict(
        {"part of speech in the corpus": values * 12, "k": [*"abcd"] * 12}
    )
    model = models.StagedModel()
    model.set_head(models.StagedModel.PEAK)
    snapshot(model, table).save(folder / "a-model-with-a-long-name/semgeom")
    history(folder / "layered/semgeom")
    found = {"runs": report}
    for name in ("a-model-with-a-long-name", "layered"):
        found[name] = folder / f"{name}.html"
        write_report(find_runs([folder / name]), found[name])
    return found


@pytest.fixture(params=[(390, "light"), (390, "dark"), (1200, "light"), (1200, "dark")], ids=str)
def screen(browser, request):
    """A browser of that width and scheme of colours."""
    width, scheme = request.param
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    yield browser, width, scheme
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_no_word_is_cut_and_each_is_legible_on_a_phone_and_in_the_dark(screen, pages):
    browser, width, scheme = screen
    for name, page in pages.items():
        browser.get(page.as_uri())
        assert browser.execute_script("return innerWidth") == width
        assert browser.execute_script(CUT) == [], name
        contrast, text = browser.execute_script(CONTRAST)
        assert contrast >= 4.5, (name, text)
        plot = browser.find_element("css selector", ".plot")
        pixels = np.asarray(Image.open(io.BytesIO(plot.screenshot_as_png)).convert("L"))
        corner = pixels[:3, :3].mean()  # where nothing is drawn
        assert corner < 60 if scheme == "dark" else corner > 200, name
        assert browser.get_log("browser") == []


def test_a_page_that_is_made_narrow_draws_its_timelines_anew(browser, report):
    from selenium.webdriver.support.wait import WebDriverWait

    size = {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    try:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(report.as_uri())
        legend = "return document.getElementById('timeline-0').layout.legend?.orientation"
        assert browser.execute_script(legend) is None
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size | {"width": 390})
        wait = WebDriverWait(browser, 10)  # it is told of its width in its own time
        wait.until(lambda page: page.execute_script(legend) == "h")
        wait.until(lambda page: page.execute_script(CUT) == [])
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_an_empty_run_shows_words_and_no_error(browser, tmp_path):
    from lightning_semgeom import History

    History().open(tmp_path / "run/semgeom")
    write_report(find_runs([tmp_path / "run"]), tmp_path / "report.html")
    browser.get((tmp_path / "report.html").as_uri())
    assert "Nothing was recorded." in browser.find_element("tag name", "body").text
    assert not browser.find_element("id", "pictures").is_displayed()
    assert browser.get_log("browser") == []


def test_models_that_were_looked_at_once_have_figures_and_no_timeline_or_slider(browser, tmp_path):
    model, table = models.StagedModel(), models.StagedModel.table()
    for step in (0, models.StagedModel.PEAK):
        model.set_head(step)
        snapshot(model, table).save(tmp_path / f"after {step}/semgeom")
    out = tmp_path / "report.html"
    write_report(find_runs([tmp_path / "after 0", tmp_path / "after 20"]), out)
    browser.get(out.as_uri())
    assert browser.get_log("browser") == []
    headings = [found.text for found in browser.find_elements("css selector", "h2")]
    assert headings == ["Figures", "Pictures", "What to do next"]
    assert not browser.find_elements("css selector", ".timeline")
    hidden = [browser.find_element("id", name) for name in ("step-field", "to-peak")]
    assert not any(found.is_displayed() for found in hidden)
    first = shown_gram(browser)
    browser.execute_script(
        "const run = document.getElementById('run'); run.value = 1;"
        "run.dispatchEvent(new Event('change'));"
    )
    assert np.abs(shown_gram(browser) - first).max() > 0.5


def test_the_map_of_layers_is_drawn_with_its_stars(browser, tmp_path):
    history(tmp_path / "run/semgeom")
    write_report(find_runs([tmp_path / "run"]), tmp_path / "report.html")
    browser.get((tmp_path / "report.html").as_uri())
    place = browser.find_element("id", "layers-0")
    browser.execute_script("arguments[0].scrollIntoView()", place)
    heat = browser.execute_script("return arguments[0].data[0].z", place)
    assert heat == [[None if np.isnan(g) else g for g in gaps] for gaps in GAPS.values()]
    assert len(place.find_elements("css selector", ".scatterlayer .point")) == 2
    pixels = np.asarray(Image.open(io.BytesIO(place.screenshot_as_png)).convert("RGB"))
    reds, blues = pixels[..., 0].astype(int), pixels[..., 2].astype(int)
    assert (reds - blues > 60).any()
    assert (blues - reds > 60).any()
    names = [found.text for found in place.find_elements("css selector", ".ytick text")]
    bottoms = [f.location["y"] for f in place.find_elements("css selector", ".ytick text")]
    assert names == ["0", "1", "2"]
    assert bottoms == sorted(bottoms, reverse=True)
    rows = [found.text for found in browser.find_elements("css selector", "td:first-child")]
    assert rows == ["unembedding", "hidden.model.layers.0", "hidden.model.layers.1"]
    assert browser.get_log("browser") == []
