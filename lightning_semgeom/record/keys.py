"""The names of figures, and the keys under which a record has them.

A key is `<name>_<site>/<metric>` for the mean over the attributes; that of one of them has
`/<attribute>` behind it.
"""

from __future__ import annotations

SIMILARITIES = ("gap", "z", "within", "between", "strength", "partial_gap")
"""Of each attribute, and as means over all."""

SPECTRUM = ("asymmetry", "participation_ratio", "effective_rank")
"""Of all rows of a site, whatever they share."""

EIGENSPECTRUM = ("rankme", "alpha_req")
"""Of the positions of a hidden site, where they are asked for."""

COUNTS = ("rows", "skipped")


def metric_keys(names: tuple[str, ...], more: tuple[str, ...] = ()) -> list[str]:
    """The keys of a site's figures for attributes `names`, without the site's own.

    `more` are figures of the site that not all sites have.
    """
    similarities = [
        key for metric in SIMILARITIES for key in (metric, *(f"{metric}/{name}" for name in names))
    ]
    return [*similarities, *SPECTRUM, *more, *COUNTS]
