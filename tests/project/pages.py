"""The README and the pages of docs/, as they stand."""

import re

from tests.warm import ROOT

PAGES = ["README.md", "CONTRIBUTING.md"] + sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "docs").rglob("*.md")
    if "_build" not in path.parts
)


def text_of(page):
    return (ROOT / page).read_text()


def blocks_of(page, having=""):
    """Its blocks of Python, in their order; those that have some words alone."""
    found = re.findall(r"^```python\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)
    return [block for block in found if having in block]
