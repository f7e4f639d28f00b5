"""A history as a pandas table."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING

from lightning_semgeom.extras import needs

if TYPE_CHECKING:
    import pandas as pd

    from lightning_semgeom.record.history import History


def to_pandas(history: History, wide: bool = False) -> pd.DataFrame:
    """The figures of all records as a table, ready for seaborn (needs pandas).

    Args:
        history: what to show.
        wide: one row a record instead, `step` as its index, and a column for each key.

    Returns:
        One row a step, site and attribute: columns `step`, `site`, `attribute`, then the figures
        of an attribute, as `gap`, and those of its site, as `asymmetry`; NaN where unknown.
    """
    with needs("pandas"):
        import pandas as pd

    if wide:
        index = pd.Index([record.step for record in history], name="step")
        return pd.DataFrame([dict(record.values) for record in history], index=index)
    rows: list[dict[str, object]] = []
    columns = {site: _columns(history, site) for site in history.sites}
    for record in history:
        for site, of_attributes in columns.items():
            for attribute, keys in of_attributes.items():
                said = {"step": record.step, "site": site, "attribute": attribute}
                rows.append(said | {name: record.values.get(k, nan) for name, k in keys.items()})
    return pd.DataFrame(rows, columns=None if rows else ["step", "site", "attribute"])


def _columns(history: History, site: str) -> dict[str, dict[str, str]]:
    """The key of each figure, by attribute."""
    names = history.attributes(site)
    of_all, of_each = {}, {name: dict[str, str]() for name in names}
    for metric in history.metrics(site):
        figure, _, name = metric.partition("/")
        if name in of_each:
            of_each[name][figure] = history.key(site, metric)
        elif not name:
            of_all[figure] = history.key(site, metric)
    # Means over the attributes would stand where an attribute's own figure is.
    return {
        name: own | {f: k for f, k in of_all.items() if f not in own}
        for name, own in of_each.items()
    }
