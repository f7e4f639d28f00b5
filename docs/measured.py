"""Write the tables of docs/measured.toml into the pages that show them.

    python docs/measured.py

What is measured depends on the machine, so it is written down there, once, with the command and the
machine. In a page a table stands between `<!-- measured: NAME -->` and `<!-- end -->`.
"""

import re
from pathlib import Path

import tomllib

DOCS = Path(__file__).parent


def table(name: str) -> list[str]:
    """The lines of one table, and the line that says where it is from."""
    found = tomllib.loads((DOCS / "measured.toml").read_text())[name]
    cells = [found["head"], ["---"] * len(found["head"]), *found["rows"]]
    return [*("| " + " | ".join(line) + " |" for line in cells), "", f"*{found['made']}.*"]


def written(text: str) -> str:
    """The text of a page, with its tables as they are now."""
    place = r"(<!-- measured: (\S+) -->\n).*?(\n<!-- end -->)"
    return re.sub(
        place,
        lambda found: "\n".join([found[1], *table(found[2]), found[3]]),
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    for page in DOCS.rglob("*.md"):
        page.write_text(written(page.read_text()))
