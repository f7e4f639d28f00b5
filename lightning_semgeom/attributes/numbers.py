"""Cut numeric features into two values, at a threshold or at a quantile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from lightning_semgeom.attributes.missing import MISSING, is_missing, missing_numbers


@dataclass(frozen=True)
class Cut:
    """Where the numbers of a column are cut; what lies at the cut is below it."""

    at: float
    """A number, or a quantile."""
    is_quantile: bool
    """Whether it is a quantile of the column's own numbers."""

    @classmethod
    def of(cls, threshold: float | None, quantile: float | None) -> Cut | None:
        """The cut that the arguments of `AttributeTable.from_file` ask for; None: no cut.

        Raises:
            ValueError: if both are given, the threshold is not finite, or the quantile does not
                lie between 0 and 1.
        """
        if threshold is not None and quantile is not None:
            raise ValueError(
                f"give threshold={threshold} or quantile={quantile}, and not both of them."
            )
        if threshold is not None and not isfinite(threshold):
            raise ValueError(f"threshold must be a finite number; got {threshold}.")
        if quantile is not None and not 0 < quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1; got {quantile}.")
        if quantile is not None:
            return cls(quantile, is_quantile=True)
        return None if threshold is None else cls(threshold, is_quantile=False)

    def applied(
        self, column: Sequence[str | None], missing: frozenset[str] = MISSING
    ) -> list[str | None] | None:
        """`<=c` or `>c` for each number of a column; None for a column with other entries.

        What is missing or not finite has no value.
        """
        lower = missing_numbers(missing)
        gone = [cell is None or is_missing(cell.lower(), lower) for cell in column]
        try:
            numbers = [
                None if is_gone else float(str(cell))
                for cell, is_gone in zip(column, gone, strict=True)
            ]
        except ValueError:
            return None
        known = [number for number in numbers if number is not None and isfinite(number)]
        if not known:
            return None
        at = _quantile(known, self.at) if self.is_quantile else self.at
        names = {False: f"<={at:.6g}", True: f">{at:.6g}"}
        return [
            None if number is None or not isfinite(number) else names[number > at]
            for number in numbers
        ]


def _quantile(numbers: Sequence[float], share: float) -> float:
    import numpy as np  # not at the top: the command line asks for `Cut.of` alone

    return float(np.quantile(np.array(numbers), share))
