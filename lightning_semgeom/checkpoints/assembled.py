"""One checkpoint out of its parts, or a refusal that names what is missing.

Parts that are tensors or layers are opened together. Those of tensor parallelism are not: whether a
weight was cut along its rows, its columns or not at all is known to the code that cut it alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from lightning_semgeom.capture.names import listed
from lightning_semgeom.checkpoints.huggingface import open_model_file
from lightning_semgeom.checkpoints.parts import Kind, Parts, mp_ranks
from lightning_semgeom.checkpoints.pickled import open_pickled, parallel_parts
from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors, are_same

_ONE_OF_SEVERAL = "its name is of one part, and whether there are more is not known"
_CONVERTED = (
    "Join them first, as transformers does with convert_llama_weights_to_hf.py, or take the model "
    "in the format of transformers."
)
_Opener = Callable[[], Tensors]


def opener_of(parts: Parts) -> _Opener:
    """What opens the parts as one; nothing is read before that is called.

    Raises:
        CheckpointError: if a part is missing, or they cannot be joined.
    """
    return _OPENERS[parts.kind](parts)


def _shards(parts: Parts) -> _Opener:
    total, missing = parts.total or 0, parts.missing()
    before, _, after = parts.pattern.name.rpartition("*")
    stem, suffix = before.rstrip("-_."), after.partition(".")[2]
    index = parts.pattern.with_name(f"{stem}.{suffix}.index.json")
    if index.is_file():
        return lambda: open_model_file(index)
    if missing:
        there = [f"{numbers[0]}" for numbers in parts.files]
        lacking = listed([parts.name_of(number) for number in missing], limit=4)
        shards = "shard" if len(there) == 1 else "shards"
        what = f"{shards} {', '.join(there)} of {total}" if there else f"one of {total} shards"
        raise CheckpointError(
            f"it is {what}: {lacking} {_are(missing)} not there, nor is the index "
            f"'{index.name}'. Download or copy what is missing; a part is not measured as if it "
            "were the model."
        )
    return lambda: _joined(parts)


def _joined(parts: Parts) -> Tensors:
    opened = {file.name: _opened(file) for file in parts.files.values()}
    places: dict[str, str] = {}
    for place, tensors in opened.items():
        for name in tensors.shapes:
            other = places.setdefault(name, place)
            if other != place:
                raise CheckpointError(
                    f"its shards '{other}' and '{place}' both have '{name}', and no index tells "
                    "which counts."
                )
    shapes = {name: opened[place].shapes[name] for name, place in places.items()}
    return Tensors(shapes, lambda name, rows: opened[places[name]].read(name, rows))


def _layers(parts: Parts) -> _Opener:
    ranks = {numbers[1] for numbers in parts.files} | mp_ranks(parts.pattern.parent)
    if len(ranks) > 1:
        raise CheckpointError(
            f"each of its layers is cut into {max(ranks) + 1} parts of tensor parallelism "
            f"({', '.join(f'model_{rank:02d}' for rank in sorted(ranks))}), and no file has all "
            "rows. Join them first: GPT-NeoX does so with tools/ckpts/convert_neox_to_hf.py, "
            "Megatron-DeepSpeed with tools/convert_checkpoint/deepspeed_to_transformers.py."
        )
    if ranks != {0}:
        raise CheckpointError("its files of model_00 are not there; copy or download them, too.")
    return lambda: _stacked(parts)


def _stacked(parts: Parts) -> Tensors:
    """Layers have the same names; those begin with the layer's number here."""
    opened = {f"layer_{layer:02d}": _opened(f) for (layer, _), f in parts.files.items()}
    each = [(layer, name) for layer, tensors in opened.items() for name in tensors.shapes]
    times = Counter(name for _, name in each)
    places = {n if times[n] == 1 else f"{layer}.{n}": (layer, n) for layer, n in each}

    def read(name: str, rows: int | None) -> Tensor:
        layer, inner = places[name]
        return opened[layer].read(inner, rows)

    shapes = {name: opened[layer].shapes[inner] for name, (layer, inner) in places.items()}
    return Tensors(shapes, read, "files of layers do not tell whether the last one is there")


def _zero(parts: Parts) -> _Opener:
    folder = parts.pattern.parent
    if "_optim_" in parts.pattern.name:
        raise CheckpointError(
            "it is a part of the optimizer's state of DeepSpeed ZeRO. Weights are in "
            "'mp_rank_00_model_states.pt' beside it, or after ZeRO-3 in no file as a whole: join "
            f"them with {_zero_to_fp32(folder)}."
        )
    raise CheckpointError(
        f"it is sharded by DeepSpeed ZeRO-3 over {len(parts.files)} files, in none of which a "
        f"weight is whole. Join them with DeepSpeed's {_zero_to_fp32(folder)}, and give "
        "what that writes, in a folder whose name has the step."
    )


def _zero_to_fp32(folder: Path) -> str:
    above = folder.absolute().parent
    return (
        f"zero_to_fp32.py, which lies in the folder above: `python zero_to_fp32.py . OUT --tag "
        f"{folder.absolute().name}` in '{above}'"
    )


def _deepspeed(parts: Parts) -> _Opener:
    file = _only(parts, mp_ranks(parts.pattern.parent), "Join them first, with what wrote them.")

    def opened() -> Tensors:
        total = parallel_parts(file)
        if total is not None and total > 1:
            missing = range(1, total)
            raise CheckpointError(
                f"it is one of {total} parts of model parallelism, as it says itself; "
                f"{listed(map(parts.name_of, missing))} {_are(missing)} not there. Join them "
                "first, with what wrote them."
            )
        return replace(open_pickled(file), untied=None if total == 1 else _ONE_OF_SEVERAL)

    return opened


def _llama(parts: Parts) -> _Opener:
    file = _only(parts, set(), _CONVERTED)

    def opened() -> Tensors:
        found = replace(open_model_file(file), untied=_ONE_OF_SEVERAL)
        # The rows of the head are cut, and the columns of the embedding.
        shapes = {name.removesuffix(".weight"): shape for name, shape in found.shapes.items()}
        head, embedding = shapes.get("output"), shapes.get("tok_embeddings")
        if head and embedding and head[-1] != embedding[-1]:
            raise CheckpointError(
                f"it is one of {head[-1] // embedding[-1]} parts of model parallelism: 'output' is "
                f"{list(head)} and 'tok_embeddings' {list(embedding)}. {_CONVERTED}"
            )
        return found

    return opened


def _megatron(parts: Parts) -> _Opener:
    file = _only(parts, set(), "Join them first, as Megatron-LM does with tools/checkpoint.")
    return lambda: replace(open_model_file(file), untied=_ONE_OF_SEVERAL)


def _only(parts: Parts, told: set[int], advice: str) -> Path:
    """The file of a model that is not cut; `told`: of which parts the names of others tell."""
    there = {numbers[0] for numbers in parts.files}
    ranks = range(max(told | there, default=0) + 1)
    missing = sorted(set(ranks) - there)
    if not missing and len(parts.files) == 1:
        return next(iter(parts.files.values()))
    raise CheckpointError(
        f"it is cut into parts of model parallelism, {listed(map(parts.name_of, ranks))}"
        f"{_lacking(parts, missing)}. No file has all rows of all weights. {advice}"
    )


def _world(parts: Parts) -> _Opener:
    if parts.total == 1 and len(parts.files) == 1:
        (file,) = parts.files.values()
        return lambda: open_model_file(file)
    raise CheckpointError(
        f"it is sharded over {parts.total} ranks{_lacking(parts, parts.missing())}. No file has a "
        "whole weight. Join them with what wrote them, or save the full state dict."
    )


def _ranks(parts: Parts) -> _Opener:
    missing = parts.missing()
    if missing:
        raise CheckpointError(
            f"its name is of the file of one process, and {listed(map(parts.name_of, missing))} "
            f"{_are(missing)} not there: it may be a part. Get the others, too; if it is the whole "
            "model, give it a name without a rank."
        )
    return lambda: _copies([_opened(file) for file in parts.files.values()], parts)


def _copies(opened: list[Tensors], parts: Parts) -> Tensors:
    """Where all processes saved the same, one of them is the model."""
    first, *others = opened
    told = CheckpointError(
        f"its {len(opened)} files differ: they are parts that each process saved of its own. Join "
        "them with what wrote them, or save the full state dict."
    )
    if any(dict(other.shapes) != dict(first.shapes) for other in others):
        raise told

    def read(name: str, rows: int | None) -> Tensor:
        found = first.read(name, rows)
        for other in others:
            if not are_same(found, other.read(name, rows)):
                raise told
        return found

    return Tensors(first.shapes, read, None if others else _ONE_OF_SEVERAL)


def _opened(file: Path) -> Tensors:
    try:
        return open_model_file(file)
    except CheckpointError as fault:
        raise CheckpointError(f"in its part '{file.name}', {fault}") from None


def _lacking(parts: Parts, missing: Sequence[int]) -> str:
    if not missing:
        return ""
    return f", of which {listed(map(parts.name_of, missing))} {_are(missing)} not there"


def _are(numbers: Sequence[int]) -> str:
    return "is" if len(numbers) == 1 else "are"


_OPENERS: dict[Kind, Callable[[Parts], _Opener]] = {
    Kind.SHARDS: _shards,
    Kind.LAYERS: _layers,
    Kind.ZERO: _zero,
    Kind.DEEPSPEED: _deepspeed,
    Kind.LLAMA: _llama,
    Kind.MEGATRON: _megatron,
    Kind.WORLD: _world,
    Kind.RANKS: _ranks,
}
