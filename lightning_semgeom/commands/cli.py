"""The command line: `lightning-semgeom demo`, `analyze`, `report` and `wandb-workspace`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from typing_extensions import override

from lightning_semgeom._version import __version__
from lightning_semgeom.commands.analyze_command import add_analyze
from lightning_semgeom.commands.arguments import (
    address,
    check_demo,
    check_report,
    check_workspace,
    positive,
)
from lightning_semgeom.commands.demo_words import STEPS, after, before
from lightning_semgeom.commands.telling import tell, warn
from lightning_semgeom.extras import told_for

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction["_Parser"]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, 1 where a part failed, 2 for wrong arguments."""
    parser = _Parser(
        prog="lightning-semgeom",
        description="See meaning form and fade in a language model while it trains, or in the "
        "checkpoints that a run has left.",
        epilog="lightning-semgeom COMMAND --help tells what a command takes.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_demo, add_analyze, _add_report, _add_wandb_workspace):
        add(commands)
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.command(chosen))
    except ModuleNotFoundError as fault:
        warn([told_for(fault, chosen.extra)])
    except (ValueError, OSError) as fault:
        warn([fault])
    return 2


def _add_demo(commands: _Commands) -> None:
    parser = commands.add_parser(
        "demo",
        help="train a small model and watch its geometry",
        description="Train a small model with SemanticGeometry, print when each attribute emerged, "
        "peaked and was gone, and leave the history and pictures in the run's folder.",
    )
    parser.set_defaults(command=_demo, extra="demo")
    parser.add_argument(
        "--setting",
        choices=tuple(STEPS),
        default="stdlib",
        help="stdlib: a GPT on the Python standard library's own source (default); the others are "
        "controlled experiments: contexts that spell out their attributes, contexts that hint at "
        "them by synonyms, and small pictures",
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (default: 0)")
    parser.add_argument("--steps", type=positive, help="optimizer steps (default: the setting's)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), help="where runs go (default: runs)"
    )
    parser.add_argument("--text", metavar="FILE", help="train on this text file instead (stdlib)")
    parser.add_argument(
        "--logger",
        choices=("csv", "tensorboard", "wandb"),
        default="csv",
        help="who else gets each record (default: csv)",
    )


def _demo(chosen: argparse.Namespace) -> int:
    check_demo(chosen.setting, chosen.text, chosen.out)
    began = time.monotonic()
    steps = chosen.steps or STEPS[chosen.setting]
    print(before(chosen.setting, steps, chosen.text, chosen.out), flush=True)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # What Lightning and its dependencies remark on here is about their own defaults.
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch|lightning\.fabric")
    from lightning_semgeom.commands.demo import run_demo

    run = run_demo(chosen.setting, chosen.seed, steps, chosen.out, chosen.text, chosen.logger)
    tell(run.geometry.history, run.control.history)
    print(f"Pictures and history ({time.monotonic() - began:.0f} s): {run.folder}")
    for path in sorted(run.folder.glob("*.png")):
        print(f"  {path.name}")
    print(after(run.folder))
    return 0


def _add_report(commands: _Commands) -> None:
    parser = commands.add_parser(
        "report",
        help="make one HTML page of one or several runs",
        description="Make one self-contained HTML page of the histories in run folders: words, a "
        "table, timelines, and pictures by step. Several runs are drawn over each other.",
    )
    parser.set_defaults(command=_report, extra="report")
    parser.add_argument(
        "folders",
        metavar="RUN_FOLDER",
        type=address,
        nargs="+",
        help="what a Trainer's logger wrote, here or in a store (s3://bucket/run)",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=address,
        metavar="FILE",
        help="where to write, here or in a store (default: report.html in the first folder)",
    )


def _report(chosen: argparse.Namespace) -> int:
    folders = chosen.folders
    out = chosen.out or folders[0] / "report.html"
    check_report(folders, out)
    from lightning_semgeom.show.report.page import write_report
    from lightning_semgeom.show.report.runs import find_runs

    write_report(find_runs(folders), out)
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def _add_wandb_workspace(commands: _Commands) -> None:
    parser = commands.add_parser(
        "wandb-workspace",
        help="save a W&B workspace with panels for the callback's keys",
        description="Save a new view in a W&B project, with panels for the callback's keys: the "
        "headline, a section for each site, and pictures. Needs a login and the network.",
    )
    parser.set_defaults(command=_wandb_workspace, extra="workspace")
    parser.add_argument("--entity", required=True, help="user or team that has the project")
    parser.add_argument("--project", required=True, help="the project that gets the view")
    parser.add_argument("--name", default="semgeom", help="the callback's (default: semgeom)")
    parser.add_argument(
        "folder",
        metavar="RUN_FOLDER",
        nargs="?",
        type=address,
        help="a run whose sites get sections and pictures (default: the unembedding, the embedding "
        "and all hidden sites together, these without pictures)",
    )


def _wandb_workspace(chosen: argparse.Namespace) -> int:
    folder = chosen.folder
    check_workspace(folder, chosen.name)
    from lightning_semgeom.show.workspace import DEFAULT_SITES, save, sites_of, workspace

    sites = sites_of(folder, chosen.name) if folder is not None else DEFAULT_SITES
    print(save(workspace(chosen.entity, chosen.project, sites, chosen.name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
