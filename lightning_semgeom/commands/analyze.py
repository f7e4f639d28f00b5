"""The analysis of checkpoints as the command does it: with a control, a picture and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.attributes.vocabulary import Vocabulary
from lightning_semgeom.checkpoints.analysis import NAME, analyze_with
from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.chosen import ChosenSteps
from lightning_semgeom.checkpoints.given import GivenSteps
from lightning_semgeom.checkpoints.hidden import HiddenAsked
from lightning_semgeom.checkpoints.online.asking import HubError
from lightning_semgeom.commands.arguments import attribute_parts, tokenizer_file
from lightning_semgeom.extras import check_installed, needs
from lightning_semgeom.record.history import History
from lightning_semgeom.record.places import CONTROL
from lightning_semgeom.show.layers import layer_sites
from lightning_semgeom.show.plots import timeline
from lightning_semgeom.show.report.page import write_report
from lightning_semgeom.show.report.runs import find_runs
from lightning_semgeom.stores import write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CONTROL_SEED = 0


@dataclass(frozen=True)
class AnalysisRun:
    """What an analysis leaves."""

    history: History
    control: History
    """The same with shuffled attributes."""
    faults: list[str]
    """What was wrong with checkpoints, one line each."""
    notes: list[str]
    """What may be wrong with them, one line each."""


def run_analysis(
    checkpoints: Sequence[Checkpoint],
    table: AttributeTable,
    tensor: str | None,
    out: Path,
    given: GivenSteps,
    asked: HiddenAsked | None = None,
    tell: Callable[[str], object] | None = None,
    chosen: ChosenSteps | None = None,
) -> AnalysisRun:
    """Measure the checkpoints of a run with attributes and control, and draw what was found.

    Args:
        checkpoints: of one run.
        table: the attributes.
        tensor: name of the weight; None: it is found.
        out: where histories and pictures go, here or in a store.
        given: the steps that a user says.
        asked: which hidden states, beside the weight.
        tell: gets what these cost, in words, before the work begins.
        chosen: which steps; None: all.

    Raises:
        ValueError: as `analyze_with` does.
        ModuleNotFoundError: if what draws is not installed.
        OSError: if `out` cannot be written.
    """
    check_installed(matplotlib="plots", plotly="report")  # now, and not after an hour of reading
    tables = with_control(table)
    folders = {name: out / name for name in tables}
    found = analyze_with(checkpoints, tables, tensor, folders, given, asked, tell, chosen)
    history, control = (found.histories[name] for name in tables)
    run = AnalysisRun(history, control, found.faults, found.notes)
    picture, _ = timeline(run.history, run.control)
    _save(picture, out / "timeline.png")
    if len(layer_sites(run.history)) > 1:
        layers, _ = run.history.plot_layers()
        _save(layers, out / "layers.png")
    return run


def _save(picture: Figure, file: Path) -> None:
    png = BytesIO()
    picture.savefig(png, format="png", dpi=110)
    write(file, png.getvalue())


def write_page(folders: Sequence[Path], out: Path) -> None:
    """Write the page of what `run_analysis` left in `folders`.

    Raises:
        OSError: if `out` cannot be written.
    """
    write_report(find_runs([folder / NAME for folder in folders]), out / "report.html")


def with_control(table: AttributeTable) -> dict[str, AttributeTable]:
    """A table and its shuffled control, by the roots of their keys."""
    return {NAME: table, NAME + CONTROL: table.shuffled(_CONTROL_SEED)}


def attributes_of(
    named: str,
    tokenizer: Any,
    wordnet: Path,
    min_count: int | None = None,
    threshold: float | None = None,
    quantile: float | None = None,
) -> AttributeTable:
    """The table of files, and of what a tokenizer's vocabulary gives, all joined.

    The arguments are as `arguments.check_analyze` lets them pass.

    Args:
        named: paths of files, `surface`, `python` or `wordnet`, joined by commas.
        tokenizer: what `tokenizer_at` has read; None: nothing is about a vocabulary.
        wordnet: folder of a WordNet database.
        min_count: fewest rows of a value; None: as the maker of the table has it.
        threshold: where to cut a file's columns of numbers.
        quantile: at which quantile to cut them instead.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if a file cannot be read, there is nothing to cut, or an attribute is in two.
    """
    fewest = {} if min_count is None else {"min_count": min_count}

    def made(part: str) -> AttributeTable:
        match part:
            case "surface":
                return AttributeTable.surface(tokenizer, **fewest)
            case "python":
                return AttributeTable.python_tokens(tokenizer, **fewest)
            case "wordnet":
                return AttributeTable.wordnet(tokenizer, wordnet, **fewest)
        return AttributeTable.from_file(part, tokenizer, min_count or 1, threshold, quantile)

    first, *others = map(made, attribute_parts(named))
    return first.joined(*others)


def tokens_of(tokenizer: Any, table: AttributeTable) -> list[str] | None:
    """The texts of the table's rows, where a tokenizer says them."""
    if tokenizer is None:
        return None
    texts = Vocabulary.of(tokenizer).texts
    known = [f"<{row}>" if text is None else text for row, text in enumerate(texts[: len(table)])]
    return known + [f"<{row}>" for row in range(len(known), len(table))]


def tokenizer_at(path: Path | None) -> Any:
    """The tokenizer of a tokenizer.json, or of a folder with one; None where there is no path.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it cannot be read.
    """
    return None if path is None else read_tokenizer(tokenizer_file(path))


def read_tokenizer(file: Path) -> Any:
    """The tokenizer of a tokenizer.json, here, in a store or on the Hub.

    Raises:
        ValueError: if it cannot be read.
        HubError: if the Hub does not give it.
    """
    with needs("analyze"):
        from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except HubError:
        raise
    except Exception as fault:  # tokenizers raises nothing more special
        raise ValueError(f"'{file}' cannot be read as a tokenizer: {fault}.") from None
