"""What several commands print."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_semgeom.record.history import History


def tell(history: History, control: History) -> None:
    """Print the phases of a run, in a table and in words."""
    from lightning_semgeom.record.summary import sentence, table_of

    print(f"\n{table_of(history, control)}\n\n{sentence(history, control)}\n")


def warn(lines: Iterable[object]) -> None:
    """Print what may be wrong, a line each, where errors go."""
    for line in lines:
        print(f"lightning-semgeom: {line}", file=sys.stderr)
