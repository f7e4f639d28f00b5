"""A saved W&B workspace for the keys of a callback: what to look at first, then site by site."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_semgeom.extras import needs
from lightning_semgeom.faults import attempted
from lightning_semgeom.record.history import History
from lightning_semgeom.record.places import own_history

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import LinePlot
    from wandb_workspaces.workspaces import Section, Workspace

ALL_HIDDEN = "hidden"
DEFAULT_SITES = ("unembedding", "embedding", ALL_HIDDEN)
HEADLINES = ("gap", "z", "asymmetry", "phase")
BY_ATTRIBUTE = ("gap", "z", "strength", "partial_gap")
PICTURES = ("gram", "shared", "map")


def sites_of(folder: Path, name: str = "semgeom") -> list[str]:
    """The sites in the history of a run's folder, or of the callback's own folder within it.

    Raises:
        FileNotFoundError: if there is no history.
        ValueError: if it is that of a callback with another name.
    """
    history = History.load(own_history(folder, name))
    roots = list(dict.fromkeys(key.partition("/")[0] for key in history.keys))
    if name not in roots:
        raise ValueError(
            f"no key of the history in '{history.folder}' begins with '{name}/'; it has the name "
            f"{repr(roots[0]) if roots else 'of no callback, as it is empty'}."
        )
    return history.sites


def workspace(
    entity: str, project: str, sites: Sequence[str] = DEFAULT_SITES, name: str = "semgeom"
) -> Workspace:
    """Build the workspace; nothing is sent to W&B.

    Line plots have the number of updates on a logarithmic x axis, which leaves out step 0.

    Args:
        entity: the user or team that has the project.
        project: the project's name.
        sites: the sites' names, one section each; "hidden" stands for all hidden sites in one
            section of line plots. Pictures need the names, as W&B finds media by their keys alone.
        name: the callback's name, the root of all its keys.

    Raises:
        ModuleNotFoundError: if wandb-workspaces is not installed.
    """
    with needs("workspace"):
        import wandb_workspaces.workspaces as ws

    headline = [_plot(metric, y=[f"{name}/{metric}"]) for metric in HEADLINES]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(name="Headline", panels=headline, is_open=True),
            *(_site_section(name, site) for site in sites),
            _picture_section(name, [site for site in sites if site != ALL_HIDDEN]),
        ],
    )


def save(view: Workspace) -> str:
    """Save `view` as a new one at W&B, and answer with its address.

    Raises:
        ConnectionError: if there is no login or no network; the message says what is needed.
    """
    # What may be wrong is W&B's affair, and its exceptions have no common base.
    found = attempted(_saved, view)
    if isinstance(found, Exception):
        told = f"{type(found).__name__}: {found}".splitlines()[0]
        raise ConnectionError(
            f"the workspace was not saved ({told}). Saving needs the network, and a login: run "
            "`wandb login` first."
        ) from found
    return found


def _saved(view: Workspace) -> str:
    import wandb

    # Without a login W&B asks for one and waits, unless it is silent.
    wandb.setup(wandb.Settings(silent=True))
    return str(view.save().url)


def _site_section(name: str, site: str) -> Section:
    """Line plots of one site: a line for each attribute, then what the gap is made of."""
    from wandb_workspaces.workspaces import Section

    where = r"hidden\.[^/]+" if site == ALL_HIDDEN else re.escape(site)
    root = f"^{re.escape(name)}_{where}"
    return Section(
        name=site,
        panels=[
            *(_plot(metric, metric_regex=f"{root}/{metric}/.+$") for metric in BY_ATTRIBUTE),
            _plot("within and between", metric_regex=f"{root}/(within|between)$"),
        ],
    )


def _plot(title: str, **lines: str | list[str]) -> LinePlot:
    from wandb_workspaces.reports.v2 import LinePlot

    return LinePlot(title=title, x="trainer/global_step", log_x=True, **lines)


def _picture_section(name: str, sites: Sequence[str]) -> Section:
    """One panel a site, whose pictures move together by step, and the timeline."""
    from wandb_workspaces.reports.v2 import MediaBrowser
    from wandb_workspaces.workspaces import Section

    media = {site: [f"{name}_{picture}/{site}" for picture in PICTURES] for site in sites}
    media["timeline"] = [f"{name}/timeline"]
    return Section(
        name="Pictures",
        panels=[
            MediaBrowser(
                title=title,
                media_keys=keys,
                num_columns=len(keys),
                mode="gallery",
                gallery_axis="step",
            )
            for title, keys in media.items()
        ],
    )
