"""The page: words, a table, timelines, and pictures that a slider moves through the steps.

All that it needs is in the file: it opens from disk without a network.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from lightning_semgeom.extras import needs
from lightning_semgeom.record.history import History
from lightning_semgeom.record.picture import SitePicture, turned_towards
from lightning_semgeom.record.summary import known_gaps
from lightning_semgeom.show.moment import is_moment
from lightning_semgeom.show.plots.style import COLOURS
from lightning_semgeom.show.report.layers import layer_maps
from lightning_semgeom.show.report.runs import RunFiles
from lightning_semgeom.show.report.timelines import timelines
from lightning_semgeom.show.report.words import (
    moment_section,
    next_steps,
    phase_sections,
    sentences,
    terms,
)
from lightning_semgeom.stores import is_there, write

_MOST_PICTURES = 40  # of a site: 1 MB at 96 lines
_SCALE = 10_000  # cosines travel as integers of 16 bits


def write_report(runs: Sequence[RunFiles], out: Path) -> None:
    """Write the page of `runs` to `out`.

    Raises:
        ModuleNotFoundError: if plotly is not installed.
        OSError: if the file cannot be written.
    """
    with needs("report"):
        from plotly.offline import get_plotlyjs

    moment = is_moment([run.history for run in runs])
    drawn = {} if moment else timelines(runs)
    figures = {site: json.loads(figure.to_json()) for site, figure in drawn.items()}
    maps = {} if moment else layer_maps(runs)
    pictures = [
        {"run": run.name, "sites": _pictures(run.history), "peaks": _peaks(run.history)}
        for run in runs
    ]
    source = files("lightning_semgeom.show.report")
    page = Template(source.joinpath("page.html").read_text(encoding="utf-8"))
    html = page.substitute(
        title=escape(", ".join(run.name for run in runs)),
        style=source.joinpath("page.css").read_text(encoding="utf-8"),
        terms=terms(moment),
        sentences=sentences(runs, moment),
        sections=moment_section(runs) if moment else phase_sections(runs, [*figures], [*maps]),
        next=next_steps(moment),
        pictures="Pictures" if moment else "Pictures by step",
        data=_json(
            {
                "timelines": figures,
                "layers": [json.loads(figure.to_json()) for figure in maps.values()],
                "pictures": pictures,
                "scale": _SCALE,
                "colours": COLOURS,
            }
        ),
        plotly=get_plotlyjs(),
        script=source.joinpath("page.js").read_text(encoding="utf-8"),
    )
    write(out, html.encode())


def _json(data: Any) -> str:
    """JSON that no name in it can end the script with."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")


def _peaks(history: History) -> dict[str, int]:
    """The step of the largest mean gap at each site."""
    gaps = {site: known_gaps(history, site) for site in history.sites}
    return {site: max(found, key=lambda step: found[step]) for site, found in gaps.items() if found}


def _pictures(history: History) -> dict[str, list[dict[str, Any]]]:
    """For each site the pictures that are on disk, oldest first."""
    found = {}
    for site in history.sites:
        kept = [
            (record.step, history.folder / record.pictures[site])
            for record in history
            if site in record.pictures
            and history.folder is not None
            and is_there(history.folder / record.pictures[site])
        ]
        marked = {
            step
            for attribute in history.attributes(site)
            for step in vars(history.milestones(site, attribute)).values()
        }
        before = np.zeros((0, 2))
        shown = []
        for step, file in _thinned(kept, marked):
            picture = SitePicture.load(file)
            positions, _ = picture.map()
            before = turned_towards(positions, before)
            shown.append(_packed(step, picture, before))
        if shown:
            found[site] = shown
    return found


def _thinned(kept: list[tuple[int, Path]], marked: set[int | None]) -> list[tuple[int, Path]]:
    """At most `_MOST_PICTURES`, evenly, with the first, the last and those of `marked` steps."""
    if len(kept) <= _MOST_PICTURES:
        return kept
    evenly = {round(k * (len(kept) - 1) / (_MOST_PICTURES - 1)) for k in range(_MOST_PICTURES)}
    return [one for number, one in enumerate(kept) if number in evenly or one[0] in marked]


def _packed(step: int, picture: SitePicture, positions: np.ndarray) -> dict[str, Any]:
    cosines = np.nan_to_num(picture.gram * _SCALE, nan=-32768).round().astype("<i2")
    shared = picture.shared()
    return {
        "step": step,
        "gram": base64.b64encode(cosines.tobytes()).decode("ascii"),
        "rows": picture.rows.tolist(),
        "labels": picture.labels.tolist(),
        "attributes": picture.attributes.tolist(),
        "bands": picture.bands(),
        "map": [[_known(x) for x in place] for place in positions.tolist()],
        "values": [
            [*name, int(rows), _known(within)]
            for name, rows, within in zip(
                picture.values.tolist(),
                picture.value_rows,
                picture.value_within.tolist(),
                strict=True,
            )
            if rows > 1
        ],
        "shared": [
            [number, _known(cosine), pairs / 2]
            for number, (cosine, pairs) in enumerate(
                zip(shared.cosine.tolist(), shared.pairs.tolist(), strict=True)
            )
        ],
    }


def _known(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
