"""The supersenses of words from a WordNet database folder: kinds of thing and of doing.

A supersense is the lexicographer file of a word's senses, such as noun.animal or verb.motion: the
files are described in wndb(5WN), their names in lexnames(5WN).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_PARTS = ("noun", "verb", "adj", "adv")
# Debian's wordnet-base has no file `lexnames`, which readers such as nltk's ask for.
_NAMES = (
    "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact",
    "noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event",
    "noun.feeling", "noun.food", "noun.group", "noun.location", "noun.motive", "noun.object",
    "noun.person", "noun.phenomenon", "noun.plant", "noun.possession", "noun.process",
    "noun.quantity", "noun.relation", "noun.shape", "noun.state", "noun.substance", "noun.time",
    "verb.body", "verb.change", "verb.cognition", "verb.communication", "verb.competition",
    "verb.consumption", "verb.contact", "verb.creation", "verb.emotion", "verb.motion",
    "verb.perception", "verb.possession", "verb.social", "verb.stative", "verb.weather",
    "adj.ppl",
)  # fmt: skip


def supersenses(folder: Path) -> dict[str, set[str]]:
    """The supersenses that the senses of each single word have, over all parts of speech.

    Raises:
        FileNotFoundError: if the folder lacks a file of the database.
        ValueError: if a file is no such file; the message names it and the line.
    """
    found: dict[str, set[str]] = {}
    for part in _PARTS:
        file = folder / f"index.{part}"
        names = dict(_synsets(folder / f"data.{part}"))
        for number, word, offsets in _words(file):
            if not names.keys() >= set(offsets):
                raise ValueError(
                    f"{file}, line {number}: names a synset that data.{part} lacks; the two files "
                    "are not of one database."
                )
            if "_" not in word:
                found.setdefault(word, set()).update(names[offset] for offset in offsets)
    return found


def _synsets(file: Path) -> Iterator[tuple[str, str]]:
    """The offset of each synset, and its supersense."""
    for number, line in _lines(file):
        fields = line.split(maxsplit=2)
        try:
            yield fields[0], _NAMES[int(fields[1])]
        except (IndexError, ValueError):
            raise ValueError(f"{file}, line {number}: not a synset of WordNet.") from None


def _words(file: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Line, word, and the offsets of its synsets, which stand at the end of the line."""
    for number, line in _lines(file):
        fields = line.split()
        try:
            word, count = fields[0], int(fields[2])
            offsets = fields[len(fields) - count :]
        except (IndexError, ValueError):
            raise ValueError(f"{file}, line {number}: not a word of WordNet's index.") from None
        yield number, word, offsets


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines behind the licence, whose lines begin with spaces."""
    if not file.is_file():
        raise FileNotFoundError(
            f"no WordNet file at '{file}'; give the folder of a WordNet 3 database, such as "
            "/usr/share/wordnet of Debian's wordnet-base."
        )
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.startswith("  "):
                yield number, line
