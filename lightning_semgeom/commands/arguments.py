"""What is wrong with arguments, told before anything heavy is imported.

Whether files are there, and which options go together; what is in the files is seen by those who
read them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from lightning_semgeom.attributes import delimited
from lightning_semgeom.attributes.numbers import Cut
from lightning_semgeom.checkpoints import paths as checkpoints
from lightning_semgeom.checkpoints.online.addresses import check_address, is_online, place_of
from lightning_semgeom.record.places import history_folders, own_history
from lightning_semgeom.settings.documents import text_of
from lightning_semgeom.stores import is_in_store, is_there, place

VOCABULARY = ("surface", "python", "wordnet")
"""What stands for a file of attributes where a tokenizer is given."""


def attribute_parts(attributes: str) -> list[str]:
    """The files and words of `--attributes`, which commas join; a file may have one in its name."""
    return [attributes] if Path(attributes).is_file() else attributes.split(",")


def address(text: str) -> Path:
    """A path of this machine, of a store or of the Hub, for argparse."""
    try:
        return cast(Path, place_of(text)) if is_online(text) else place(text)
    except (ValueError, ImportError) as fault:
        raise argparse.ArgumentTypeError(f"'{text}': {fault}") from None


def positive(text: str) -> int:
    """The number that `text` is.

    Raises:
        ValueError, argparse.ArgumentTypeError: if it is none, or less than 1.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more; got {number}")
    return number


def check_demo(setting: str, text: str | None, out: Path) -> None:
    """Raise a ValueError or an OSError for what `demo` cannot take."""
    if text is not None and setting != "stdlib":
        raise ValueError("--text goes with --setting stdlib; the others make their own data.")
    if text is not None:
        text_of(Path(text))
    if is_in_store(out):
        raise ValueError(f"--out: '{out}' is in a store; expected a folder on this machine.")
    _check_out_folder(out)


def check_analyze(
    paths: Sequence[Path],
    attributes: str,
    tokenizer: Path | None,
    wordnet: Path,
    threshold: float | None,
    quantile: float | None,
    out: Path,
) -> None:
    """Raise a ValueError or an OSError for what `analyze` cannot take."""
    parts = attribute_parts(attributes)
    named, asked = [part for part in parts if part in VOCABULARY], f"--attributes {attributes}"
    if named and tokenizer is None and not all(map(is_online, paths)):
        raise ValueError(f"{asked} is about a vocabulary: give its --tokenizer, too.")
    if len(named) == len(parts) and (threshold is not None or quantile is not None):
        raise ValueError(
            f"{asked} has no columns of numbers: --threshold and --quantile cut those of a file."
        )
    Cut.of(threshold, quantile)
    if tokenizer is not None:
        tokenizer_file(tokenizer)
    for part in parts:
        if part not in VOCABULARY:
            delimited.check_is_there(Path(part))
    if "wordnet" in named and not wordnet.is_dir():
        raise FileNotFoundError(
            f"no WordNet database at '{wordnet}': --wordnet says where one is (Debian: apt-get "
            "install wordnet-base)."
        )
    for path in paths:
        (check_address if is_online(path) else checkpoints.check_is_there)(path)
    _check_out_folder(out)


def check_text(
    text: Path | None,
    tokenizer: Path | None,
    hidden: Sequence[str],
    context: int | None,
    batches: int | None,
) -> None:
    """Raise a ValueError or an OSError for what `analyze` cannot take hidden states of."""
    if text is None:
        told = {"--hidden": bool(hidden), "--context": context, "--batches": batches}
        for option in (option for option, value in told.items() if value):
            raise ValueError(f"{option} goes with --text: hidden states are those of a text.")
        return
    if tokenizer is None:
        raise ValueError("--text is made into tokens: give the --tokenizer of the model, too.")
    if not text.is_file():
        raise FileNotFoundError(f"--text: there is no file '{text}'.")
    if context is not None and context < 2:
        raise ValueError(f"--context must be 2 or more; got {context}.")


def given_steps(said: Sequence[str]) -> dict[str, int]:
    """The steps that `--step-of` says: NAME=STEP, or a file of lines NAME,STEP.

    Raises:
        ValueError, FileNotFoundError: if one is neither.
    """
    steps: dict[str, int] = {}
    for text in said:
        name, equals, step = text.rpartition("=")
        if equals and step.strip().isdecimal():
            steps[name] = int(step)
            continue
        if not Path(text).is_file():
            raise ValueError(
                f"--step-of: '{text}' is neither NAME=STEP with a whole number nor a file."
            )
        for number, line in enumerate(Path(text).read_text(encoding="utf-8").splitlines(), start=1):
            name, comma, step = line.rpartition(",")
            if comma and step.strip().isdecimal():
                steps[name.strip()] = int(step)
            elif line.strip() and number > 1:  # the first may be a header
                raise ValueError(f"--step-of: {text}, line {number} is not NAME,STEP: '{line}'.")
    return steps


def tokenizer_file(path: Path) -> Path:
    """The tokenizer.json that `path` is, or that is in the folder `path`.

    Raises:
        FileNotFoundError: if there is none.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"no tokenizer at '{file}'.")
    return file


def check_report(folders: Sequence[Path], out: Path) -> None:
    """Raise a ValueError or an OSError for what `report` cannot take."""
    history_folders(folders)
    if is_there(out) and out.is_dir():
        raise IsADirectoryError(f"--out: '{out}' is a folder; expected the name of a file.")
    if not (is_in_store(out) or out.parent.is_dir()):  # a store has no folders that would be made
        raise FileNotFoundError(f"--out: there is no folder '{out.parent}' to write the page to.")


def check_workspace(folder: Path | None, name: str) -> None:
    """Raise an OSError for what `wandb-workspace` cannot take."""
    if folder is not None:
        own_history(folder, name)


def _check_out_folder(out: Path) -> None:
    if is_online(out):
        raise ValueError(f"--out: '{out}' is on the Hub, where nothing is written.")
    if is_in_store(out):
        is_there(out)  # raises where the store is away: better now than after an hour
        return
    there = next((path for path in (out, *out.parents) if path.exists()), out)
    if there.exists() and not there.is_dir():
        raise NotADirectoryError(f"--out: '{there}' is a file; expected a folder, new or not.")
