"""Which files are parts of one checkpoint, as their names tell.

Many writers cut a model up, and name each file by its number. One of them alone looks like a model
with less in it: with an embedding and no head, or with half of the head's rows. Numbers of steps,
epochs and versions are none of parts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lightning_semgeom.checkpoints.unreadable import finished_name


class Kind(Enum):
    """What a model was cut along, and who does so."""

    SHARDS = "tensors: save_pretrained"
    LAYERS = "layers: GPT-NeoX, Megatron-DeepSpeed"
    ZERO = "all tensors, flat: DeepSpeed ZeRO"
    DEEPSPEED = "rows or columns: tensor parallelism with DeepSpeed"
    LLAMA = "rows or columns: Llama as Meta gives it"
    MEGATRON = "rows, columns and layers: Megatron, one folder a part"
    WORLD = "all tensors: FSDP, with the number of ranks in the name"
    RANKS = "not known: each process wrote a file, a part or a copy"


# Each group is a number that differs from part to part, but for the total.
_FILES = {
    Kind.SHARDS: (
        r"(?:.*?(?:model|weights?|shard|part)[-_.]?|(?:.*?[-_.])?(?=\d{5}))"
        r"(\d+)[-_]of[-_](?P<total>\d+)(?:\.\w+)+"
    ),
    Kind.LAYERS: r"layer_(\d+)-model_(\d+)-model_states\.pt",
    Kind.ZERO: r"(?:\w+_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_(?:model|optim)_states\.pt",
    Kind.DEEPSPEED: r"mp_rank_(\d+)_model_states\.pt",
    Kind.LLAMA: r"consolidated[-_.](\d+)\.(?:pth|pt|safetensors)",
    Kind.WORLD: r".*world_size_(?P<total>\d+)_rank_(\d+)\.\w+",
    # At the end of the name; adapters have a rank of another kind.
    Kind.RANKS: r"(?i:(?!.*(?:lora|adapter|low[-_]?rank)).*(?<![a-z])rank[-_]?(\d+)\.\w+)",
}
_FOLDERS = {
    Kind.MEGATRON: r"[mt]p_rank_(\d+)(?:_(?:pp_rank_)?(\d+))?(?:_(\d+))?",
    Kind.RANKS: r"(?i:rank[-_]?(\d+))",
}
_MP_RANK = re.compile(r".*mp_rank_(\d+)_(?:model|optim)_states\.pt")


@dataclass(frozen=True)
class Parts:
    """The files of one checkpoint that are there."""

    kind: Kind
    pattern: Path
    """Their path, with `*` for the numbers."""
    files: Mapping[tuple[int, ...], Path]
    """By the numbers in their names, sorted; empty where a download has not got that far."""
    total: int | None
    """How many there should be; None: the names do not tell."""
    width: int
    """Digits of a number, with the zeros before it."""

    def missing(self) -> list[int]:
        """First numbers of which no file is there, although the names tell that there is one."""
        found = {numbers[0] for numbers in self.files}
        if self.total is None:
            return sorted(set(range(max(found, default=0) + 1)) - found)
        first = 0 if 0 in found or self.kind is Kind.WORLD else 1
        return sorted(set(range(first, first + self.total)) - found)

    def name_of(self, number: int) -> str:
        """What the file, or folder, of a number is called."""
        name = self.pattern.name if "*" in self.pattern.name else self.pattern.parent.name
        return name.replace("*", f"{number:0{self.width}d}", 1)


def parts_of(path: Path) -> Parts | None:
    """The parts that a file is one of; None: its name is of no part."""
    name = finished_name(path)
    if re.fullmatch(_FILES[Kind.DEEPSPEED], name) and (layer := _layer_in(path.parent)):
        name = layer  # a state of the engine: the weights are in the files of the layers
    for kind, regex in _FILES.items():
        match = re.fullmatch(regex, name)
        if match:
            pattern = _starred(match)
            siblings = {file.name: file for file in path.parent.iterdir()}
            found = _alike(regex, pattern, siblings)
            total = int(match["total"]) if "total" in match.re.groupindex else None
            return Parts(kind, path.parent / pattern, found, total, _width(match))
    for kind, regex in _FOLDERS.items():
        match = re.fullmatch(regex, path.parent.name)
        if match:
            above, pattern = path.parent.parent, _starred(match)
            siblings = {folder.name: folder / name for folder in above.iterdir()}
            found = _alike(regex, pattern, siblings)
            parts = Parts(kind, above / pattern / name, found, None, _width(match))
            # `rank-8` may be one of a sweep.
            if kind is Kind.MEGATRON or (len(found) > 1 and not parts.missing()):
                return parts
    return None


def mp_ranks(folder: Path) -> set[int]:
    """The parts of tensor parallelism that the names of DeepSpeed's files in a folder tell of."""
    found = (_MP_RANK.fullmatch(path.name) for path in folder.iterdir())
    return {int(match[1]) for match in found if match}


def _layer_in(folder: Path) -> str | None:
    names = (path.name for path in folder.iterdir())
    return next((name for name in names if re.fullmatch(_FILES[Kind.LAYERS], name)), None)


def _alike(regex: str, pattern: str, named: Mapping[str, Path]) -> Mapping[tuple[int, ...], Path]:
    """Of files by a name those that are there, and whose name differs in the numbers alone."""
    matches = ((re.fullmatch(regex, name), file) for name, file in named.items())
    found = {
        tuple(int(match[k]) for k in _varying(match)): file
        for match, file in matches
        if match and _starred(match) == pattern and file.is_file()
    }
    return dict(sorted(found.items()))


def _starred(match: re.Match[str]) -> str:
    name = match.string
    for k in reversed(_varying(match)):
        name = f"{name[: match.start(k)]}*{name[match.end(k) :]}"
    return name


def _width(match: re.Match[str]) -> int:
    return len(match[_varying(match)[0]])


def _varying(match: re.Match[str]) -> list[int]:
    total = match.re.groupindex.get("total")
    return [k for k in range(1, match.re.groups + 1) if k != total and match[k] is not None]
