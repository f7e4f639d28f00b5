"""`lightning-semgeom analyze`: its options, and which of its two ways a call takes."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_semgeom.checkpoints.chosen import ChosenSteps
from lightning_semgeom.checkpoints.online.addresses import is_online
from lightning_semgeom.commands.arguments import (
    VOCABULARY,
    address,
    attribute_parts,
    check_analyze,
    check_text,
    given_steps,
    positive,
)
from lightning_semgeom.commands.telling import tell, warn
from lightning_semgeom.stores import is_in_store

if TYPE_CHECKING:
    from lightning_semgeom.attributes.table import AttributeTable
    from lightning_semgeom.checkpoints.checkpoint import Checkpoint
    from lightning_semgeom.checkpoints.given import GivenSteps
    from lightning_semgeom.checkpoints.hidden import HiddenAsked

_CONTEXT, _BATCHES = 256, 8


def add_analyze(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "analyze",
        help="measure the checkpoints of a run that is over",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_ANALYZE,
        epilog=_ANALYZE_EXAMPLES,
    )
    parser.set_defaults(command=_analyze, extra="analyze")
    parser.add_argument(
        "paths",
        metavar="RUN",
        type=address,
        nargs="+",
        help="a checkpoint, or a folder that is searched for them, here or in a store "
        "(s3://bucket/run), or a model on the Hub (hf://org/name, hf://org/name@revision, globs "
        "in either); together they are one run",
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
        type=address,
        help="tokenizer.json of the model, or the folder that has it (default: of a model on the "
        "Hub its own)",
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
        type=positive,
        help="fewest rows of a value; rarer ones are left out (default: 1 in files, else 5)",
    )
    parser.add_argument(
        "--step-of",
        metavar="NAME=STEP",
        action="append",
        default=[],
        help="the step of a checkpoint whose name tells none, by the name of its file or folder; "
        "or a CSV file of names and steps; may be given again",
    )
    parser.add_argument(
        "--steps",
        metavar="STEPS",
        help="which steps to measure, joined by commas: 1000 is one, 0:512 all that there are from "
        "0 to 512, 1000:143000:10 every tenth of those that there are (default: all)",
    )
    parser.add_argument(
        "--tensor",
        metavar="NAME",
        help="the weight to look at (default: the head, or the input embedding it is tied to)",
    )
    parser.add_argument(
        "--text",
        metavar="FILE",
        type=address,
        help="measure the hidden states of this text, too: it goes through the model of each "
        "checkpoint, whole folders of save_pretrained with a config.json; needs --tokenizer",
    )
    parser.add_argument(
        "--hidden",
        metavar="GLOB",
        action="append",
        default=[],
        help="modules whose outputs are measured, as 'model.layers.*'; may be given again "
        "(default: all layers)",
    )
    parser.add_argument(
        "--context",
        metavar="TOKENS",
        type=positive,
        help=f"length of the pieces that the text is cut into (default: {_CONTEXT})",
    )
    parser.add_argument(
        "--batches",
        metavar="NUMBER",
        type=positive,
        help=f"most batches of 4 contexts (default: {_BATCHES}, which are 8192 positions with "
        f"{_CONTEXT} tokens; more positions than that are not measured)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=address,
        help="where results go, here or in a store (default: semgeom_analysis in the first RUN, "
        "or beside it; in the working directory, where that is in a store)",
    )


def _analyze(chosen: argparse.Namespace) -> int:
    first = chosen.paths[0]
    above = Path() if is_in_store(first) else first if first.is_dir() else first.parent
    out = chosen.out or above / "semgeom_analysis"
    cut = {"threshold": chosen.threshold, "quantile": chosen.quantile}
    named, wordnet = chosen.attributes, chosen.wordnet
    check_analyze(chosen.paths, named, chosen.tokenizer, wordnet, **cut, out=out)
    has_own = chosen.tokenizer is None and all(map(is_online, chosen.paths))
    tokenizer = first if has_own else chosen.tokenizer
    check_text(chosen.text, tokenizer, chosen.hidden, chosen.context, chosen.batches)
    steps = given_steps(chosen.step_of)
    wanted = None if chosen.steps is None else ChosenSteps(chosen.steps)
    from lightning_semgeom.checkpoints.given import GivenSteps
    from lightning_semgeom.checkpoints.looks import are_without_steps
    from lightning_semgeom.checkpoints.runs import find_checkpoints
    from lightning_semgeom.commands.analyze import attributes_of, tokenizer_at, tokens_of

    found, given = find_checkpoints(chosen.paths), GivenSteps(steps)
    given.check_known(found)
    if has_own:
        from lightning_semgeom.commands.online import tokenizer_online

        # A file of attributes may be about rows: it says itself where it needs a tokenizer.
        is_needed = bool(chosen.text or {*VOCABULARY} & {*attribute_parts(named)})
        tokenizer = tokenizer_online(found, wanted, is_needed)
    else:
        tokenizer = tokenizer_at(chosen.tokenizer)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        table = attributes_of(named, tokenizer, wordnet, chosen.min_count, **cut)
    warn(warning.message for warning in told)
    if any(value is not None for value in cut.values()):
        print(table, file=sys.stderr)  # says where the columns of numbers were cut
    asked = None if chosen.text is None else _hidden(chosen, tokenizer, found)
    if not steps and are_without_steps(found):
        if wanted is not None:
            raise ValueError(f"--steps {chosen.steps}: '{found[0]}' tells no step.")
        return _look(found, table, tokens_of(tokenizer, table), chosen.tensor, out, asked)
    return _follow(found, table, chosen.tensor, out, given, asked, wanted)


def _hidden(chosen: argparse.Namespace, tokenizer: Any, found: list[Checkpoint]) -> HiddenAsked:
    """The hidden states of the text."""
    from lightning_semgeom.commands.hidden import TextChosen, hidden_of

    context, batches = chosen.context or _CONTEXT, chosen.batches or _BATCHES
    text = TextChosen(chosen.text, chosen.hidden, context, batches)
    asked, notes = hidden_of(text, tokenizer, found)
    warn(notes)
    return asked


def _follow(
    found: list[Checkpoint],
    table: AttributeTable,
    tensor: str | None,
    out: Path,
    given: GivenSteps,
    asked: HiddenAsked | None,
    wanted: ChosenSteps | None,
) -> int:
    """Measure the checkpoints of a run, or of each stage that counts its steps anew."""
    from lightning_semgeom.checkpoints.stages import restarted_stages
    from lightning_semgeom.commands.analyze import run_analysis, write_page

    folders: list[Path] = []
    has_faults = False
    stages = restarted_stages(found, given)
    runs: list[tuple[str | None, list[Checkpoint]]] = [*stages.items()] or [(None, found)]
    for stage, checkpoints in runs:
        folder = out if stage is None else out / stage.replace("/", "_")
        try:
            run = run_analysis(checkpoints, table, tensor, folder, given, asked, _tell_cost, wanted)
        except ValueError as fault:
            if stage == runs[-1][0] and not folders:
                raise
            warn([f"{stage}: {fault}"])  # the other stages go on
            has_faults = True
            continue
        warn([*run.faults, *run.notes])
        has_faults |= bool(run.faults)
        if stage is not None:
            print(f"\n{stage}:")
        tell(run.history, run.control)
        print(f"Pictures and histories of {len(run.history)} checkpoints: {folder}")
        folders.append(folder)
    write_page(folders, out)
    print(f"Open in a browser: {out / 'report.html'}")
    return 1 if has_faults else 0


def _look(
    models: list[Checkpoint],
    table: AttributeTable,
    tokens: list[str] | None,
    tensor: str | None,
    out: Path,
    asked: HiddenAsked | None,
) -> int:
    """Measure models that tell no step, each on its own."""
    from lightning_semgeom.commands.looks import run_looks, words

    looks, faults = run_looks(models, table, tensor, out, tokens, asked, _tell_cost)
    warn(faults)
    print(f"\n{words(looks)}\n")
    print(f"Histories, pictures and directions: {', '.join(str(look.folder) for look in looks)}")
    print(f"Open in a browser: {out / 'report.html'}")
    return 1 if faults else 0


def _tell_cost(line: str) -> None:
    warn([line])


_ANALYZE = """\
Measure the output weight in each checkpoint of a run that is over, print when
each attribute emerged, peaked and was gone, and leave histories, a timeline and
a report. Reads Lightning checkpoints (sharded ones, too), folders of
torch.distributed.checkpoint, safetensors, folders of save_pretrained and files
of torch.save; of each one tensor alone, and never by running code in it. Of a
model on the Hub the revisions that tell a step are measured, and of each no
more is fetched than that tensor; what was fetched is kept.
The step stands in a name (step-10, step=10, checkpoint-10), or inside. Models
that tell no step are each measured on their own: figures, the control, and the
tokens nearest to the direction of each value.
With --text the hidden states of that text are measured, too: the model is built
once, and the weights of each checkpoint, which is read whole, are put into it.
Of a model of masked tokens each seventh token is masked, and those alone are
measured. What was interrupted goes on where it was when it is called again."""

_ANALYZE_EXAMPLES = """\
examples:
  lightning-semgeom analyze lightning_logs/version_0 --attributes tokens.csv
  lightning-semgeom analyze out/checkpoint-* --attributes words.tsv \\
      --tokenizer out/checkpoint-500
  lightning-semgeom analyze pythia-70m --attributes surface \\
      --tokenizer pythia-70m/step0 --tensor embed_out
  lightning-semgeom analyze hf://EleutherAI/pythia-70m --attributes surface \\
      --steps 0:512,1000:143000:10
  lightning-semgeom analyze my-final-model --attributes surface,wordnet \\
      --tokenizer my-final-model
  lightning-semgeom analyze pythia-70m --attributes surface \\
      --tokenizer pythia-70m/step0 --text prose.txt --hidden 'gpt_neox.layers.*'

exit status: 0; 1 if a checkpoint could not be read and was left out, each with
one line that says why; 2 if nothing could be done."""
