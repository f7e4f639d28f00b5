"""Packages that come with an extra: one that is missing is told with the extra's name.

They are imported where they are used, in a `with needs("plots"):`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

CONTAINS = {"analyze": ("plots", "report"), "demo": ("hf", "plots", "report")}
"""The other extras that the one of a command installs, as pyproject.toml has them."""


class MissingExtraError(ModuleNotFoundError):
    """Says what is not installed, and what installs it."""

    def __init__(self, package: str, extra: str) -> None:
        named = f"[{extra}]" if extra else ""
        super().__init__(
            f"{package} is not installed: pip install 'lightning-semgeom{named}'.", name=package
        )
        self.package = package
        self.extra = extra


@contextmanager
def needs(extra: str = "") -> Iterator[None]:
    """Import within it what `extra` installs; without a name, what every install has.

    Raises:
        MissingExtraError: if that is not there.
    """
    try:
        yield
    except MissingExtraError:
        raise
    except ModuleNotFoundError as fault:
        package = (fault.name or extra).partition(".")[0]
        raise MissingExtraError(package, extra) from None


def check_installed(**packages: str) -> None:
    """Raise a MissingExtraError where one of several (package=extra) is not there."""
    for package, extra in packages.items():
        with needs(extra):
            import_module(package)


def told_for(fault: ModuleNotFoundError, command: str) -> str:
    """The line for one who has called a command: its own extra, where that installs what it needs.

    Args:
        fault: what was raised.
        command: the command's extra.
    """
    if isinstance(fault, MissingExtraError) and fault.extra in CONTAINS.get(command, ()):
        return str(MissingExtraError(fault.package, command))
    if isinstance(fault, MissingExtraError) or "pip install" in str(fault):
        return str(fault)
    return f"{fault}. What it needs: pip install 'lightning-semgeom[{command}]'."
