"""The README and the pages of docs/, as they stand."""

import re
import shlex

from tests.warm import ROOT

_FILES = sorted((ROOT / "docs").rglob("*.md"))
_OURS = [str(path.relative_to(ROOT)) for path in _FILES if "_build" not in path.parts]
PAGES = ["README.md", "CONTRIBUTING.md", *_OURS]


def text_of(page):
    return (ROOT / page).read_text()


def blocks_of(page, having="", language="python"):
    """Its blocks of code, in their order; those that have some words alone."""
    fenced = rf"^```{language}\n(.*?)^```"
    found = re.findall(fenced, text_of(page), re.DOTALL | re.MULTILINE)
    return [block for block in found if having in block]


def commands_of(page):
    """Its commands, in their order, each as a list of words."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"\n\n((?: {4}.*\n)+)", prose)
    text = "".join([*blocks_of(page, language="sh"), *indented]).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


LESSONS = [page for page in PAGES if page.startswith("docs/start/") and blocks_of(page)]
