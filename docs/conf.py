"""How `make docs` builds the pages: MyST Markdown, docstrings, and the command line's own help."""

import contextlib
import io
import os
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from lightning_semgeom._version import __version__
from lightning_semgeom.commands.cli import main

project = "lightning-semgeom"
author = "lightning-semgeom contributors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
default_role = "literal"  # docstrings have `names` in single quotes, as Markdown has
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
add_module_names = False

html_theme = "furo"
html_title = "lightning-semgeom"
html_show_copyright = False
html_copy_source = False


class CommandHelp(SphinxDirective):
    """What a command prints for `--help`."""

    optional_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """The words as they are printed, 80 columns wide."""
        os.environ["COLUMNS"] = "80"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([*self.arguments, "--help"])
        return [nodes.literal_block(text=printed.getvalue(), language="text")]


def as_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Tables of the examples are files to download: they are no pages."""
    source[0] = source[0].replace("](../../examples/tables/", "](path:../../examples/tables/")


def plain_bars(app: Sphinx, what: str, name: str, of: object, options: object, lines: list) -> None:
    """Bars of a norm, |x|, which would refer to a substitution; those in `quotes` are let be."""
    for index, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = line.split("`")
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[index] = "`".join(parts)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive("command-help", CommandHelp)
    app.connect("source-read", as_files)
    app.connect("autodoc-process-docstring", plain_bars)
