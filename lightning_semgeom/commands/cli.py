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
from lightning_semgeom.commands.arguments import (
    check_analyze,
    check_demo,
    check_report,
    check_workspace,
)

if TYPE_CHECKING:
    from lightning_semgeom.record.history import History

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
    for add in (_add_demo, _add_analyze, _add_report, _add_wandb_workspace):
        add(commands)
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.command(chosen))
    except (ValueError, OSError, ModuleNotFoundError) as fault:
        missing = isinstance(fault, ModuleNotFoundError)
        hint = f" Install what it needs: pip install 'lightning-semgeom[{chosen.extras}]'."
        print(f"lightning-semgeom: {fault}{hint if missing else ''}", file=sys.stderr)
        return 2


def _add_demo(commands: _Commands) -> None:
    parser = commands.add_parser(
        "demo",
        help="train a small model and watch its geometry",
        description="Train a small model with SemanticGeometry, print when each attribute emerged, "
        "peaked and faded, and leave the history and pictures in the run's folder.",
    )
    parser.set_defaults(command=_demo, extras="demo")
    parser.add_argument(
        "--setting",
        choices=("stdlib", "factored", "latent", "pictures"),
        default="stdlib",
        help="stdlib: a GPT on the Python standard library's own source (default); the others are "
        "controlled experiments: contexts that spell out their attributes, contexts that hint at "
        "them by synonyms, and small pictures",
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (default: 0)")
    parser.add_argument("--steps", type=_positive, help="optimizer steps (default: the setting's)")
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


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more; got {number}")
    return number


def _demo(chosen: argparse.Namespace) -> int:
    check_demo(chosen.setting, chosen.text, chosen.out)
    began = time.monotonic()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # What Lightning and its dependencies remark on here is about their own defaults.
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch|lightning\.fabric")
    from lightning_semgeom.commands.demo import run_demo

    run = run_demo(
        chosen.setting, chosen.seed, chosen.steps, chosen.out, chosen.text, chosen.logger
    )
    _tell(run.geometry.history, run.control.history)
    print(f"Pictures and history ({time.monotonic() - began:.0f} s): {run.folder}")
    for path in sorted(run.folder.glob("*.png")):
        print(f"  {path.name}")
    print(f"Open in a browser: {run.folder / 'report.html'}")
    return 0


def _tell(history: History, control: History) -> None:
    from lightning_semgeom.show.summary import sentence, table_of

    print(f"\n{table_of(history, control)}\n\n{sentence(history, control)}\n")


def _add_analyze(commands: _Commands) -> None:
    parser = commands.add_parser(
        "analyze",
        help="measure the checkpoints of a run that is over",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_ANALYZE,
        epilog=_ANALYZE_EXAMPLES,
    )
    parser.set_defaults(command=_analyze, extras="analyze")
    parser.add_argument(
        "paths",
        metavar="RUN",
        type=Path,
        nargs="+",
        help="a checkpoint, or a folder that is searched for them; together they are one run",
    )
    parser.add_argument(
        "--attributes",
        metavar="FILE",
        required=True,
        help="CSV or TSV file that says which row has which value of which attribute; or, with "
        "--tokenizer, a file about words, or 'surface', 'python' or 'wordnet': what each token "
        "looks like, is in Python source, or means; several are joined by commas",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="PATH",
        type=Path,
        help="tokenizer.json of the model, or the folder that has it",
    )
    parser.add_argument(
        "--wordnet",
        metavar="FOLDER",
        type=Path,
        default=Path("/usr/share/wordnet"),
        help="of a WordNet 3 database (default: /usr/share/wordnet)",
    )
    cuts = parser.add_mutually_exclusive_group()
    cuts.add_argument(
        "--threshold",
        metavar="NUMBER",
        type=float,
        help="cut the file's columns of numbers in two here; as they are, each number is a value",
    )
    cuts.add_argument(
        "--quantile",
        metavar="SHARE",
        type=float,
        help="cut them at this quantile of their own numbers instead, such as 0.5",
    )
    parser.add_argument(
        "--min-count",
        metavar="ROWS",
        type=_positive,
        help="fewest rows of a value; rarer ones are left out (default: 1 in files, else 5)",
    )
    parser.add_argument(
        "--tensor",
        metavar="NAME",
        help="the weight to look at (default: the head, or the input embedding it is tied to)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        help="where results go (default: semgeom_analysis in the first RUN, or beside it)",
    )


def _analyze(chosen: argparse.Namespace) -> int:
    first = chosen.paths[0]
    out = chosen.out or (first if first.is_dir() else first.parent) / "semgeom_analysis"
    cut = {"threshold": chosen.threshold, "quantile": chosen.quantile}
    about = (chosen.attributes, chosen.tokenizer, chosen.wordnet)
    check_analyze(chosen.paths, *about, **cut, out=out)
    from lightning_semgeom.commands.analyze import attributes_of, run_analysis

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        table = attributes_of(*about, chosen.min_count, **cut)
    for warning in told:
        print(f"lightning-semgeom: {warning.message}", file=sys.stderr)
    if any(value is not None for value in cut.values()):
        print(table, file=sys.stderr)  # says where the columns of numbers were cut
    run = run_analysis(chosen.paths, table, chosen.tensor, out)
    for line in (*run.faults, *run.notes):
        print(f"lightning-semgeom: {line}", file=sys.stderr)
    _tell(run.history, run.control)
    print(f"Pictures and histories of {len(run.history)} checkpoints: {out}")
    print(f"Open in a browser: {out / 'report.html'}")
    return 1 if run.faults else 0


_ANALYZE = """\
Measure the output weight in each checkpoint of a run that is over, print when
each attribute emerged, peaked and faded, and leave histories, a timeline and a
report. Reads Lightning checkpoints (sharded ones, too), folders of
torch.distributed.checkpoint, safetensors, folders of save_pretrained and files
of torch.save; of each one tensor alone, and never by running code in it.
The step stands in a name (step-10, step=10, checkpoint-10), or inside."""

_ANALYZE_EXAMPLES = """\
examples:
  lightning-semgeom analyze lightning_logs/version_0 --attributes tokens.csv
  lightning-semgeom analyze out/checkpoint-* --attributes words.tsv \\
      --tokenizer out/checkpoint-500
  lightning-semgeom analyze pythia-70m --attributes surface \\
      --tokenizer pythia-70m/step0 --tensor embed_out

exit status: 0; 1 if a checkpoint could not be read and was left out, each with
one line that says why; 2 if nothing could be done."""


def _add_report(commands: _Commands) -> None:
    parser = commands.add_parser(
        "report",
        help="make one HTML page of one or several runs",
        description="Make one self-contained HTML page of the histories in run folders: words, a "
        "table, timelines, and pictures by step. Several runs are drawn over each other.",
    )
    parser.set_defaults(command=_report, extras="report")
    parser.add_argument(
        "folders", metavar="RUN_FOLDER", type=Path, nargs="+", help="what a Trainer's logger wrote"
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="where to write (default: report.html in the first folder)",
    )


def _report(chosen: argparse.Namespace) -> int:
    out = chosen.out or chosen.folders[0] / "report.html"
    check_report(chosen.folders, out)
    from lightning_semgeom.show.report.page import write_report
    from lightning_semgeom.show.report.runs import find_runs

    write_report(find_runs(chosen.folders), out)
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def _add_wandb_workspace(commands: _Commands) -> None:
    parser = commands.add_parser(
        "wandb-workspace",
        help="save a W&B workspace with panels for the callback's keys",
        description="Save a new view in a W&B project, with panels for the callback's keys: the "
        "headline, a section for each site, and pictures. Needs a login and the network.",
    )
    parser.set_defaults(command=_wandb_workspace, extras="workspace")
    parser.add_argument("--entity", required=True, help="user or team that has the project")
    parser.add_argument("--project", required=True, help="the project that gets the view")
    parser.add_argument("--name", default="semgeom", help="the callback's (default: semgeom)")
    parser.add_argument(
        "folder",
        metavar="RUN_FOLDER",
        nargs="?",
        type=Path,
        help="a run whose sites get sections and pictures (default: the unembedding, the embedding "
        "and all hidden sites together, these without pictures)",
    )


def _wandb_workspace(chosen: argparse.Namespace) -> int:
    check_workspace(chosen.folder, chosen.name)
    from lightning_semgeom.show.workspace import DEFAULT_SITES, save, sites_of, workspace

    sites = sites_of(chosen.folder, chosen.name) if chosen.folder else DEFAULT_SITES
    print(save(workspace(chosen.entity, chosen.project, sites, chosen.name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
