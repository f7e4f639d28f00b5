"""The README and the pages of docs/, as they stand."""

import re

from tests.warm import ROOT

_FILES = sorted((ROOT / "docs").rglob("*.md"))
_OURS = [str(path.relative_to(ROOT)) for path in _FILES if "_build" not in path.parts]
PAGES = ["README.md", "CONTRIBUTING.md", *_OURS]


def text_of(page):
    return (ROOT / page).read_text()


def blocks_of(page, having=""):
    """Its blocks of Python, in their order; those that have some words alone."""
    found = re.findall(r"^```python\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)
    return [block for block in found if having in block]


LESSONS = [page for page in PAGES if page.startswith("docs/start/") and blocks_of(page)]
