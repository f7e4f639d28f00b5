"""Which of a checkpoint's tensors is the unembedding.

A checkpoint tells names and shapes alone, and its names begin as the strategy or `torch.compile`
had it. Files of tied models lack the head: the input embedding stands for it. PEFT keeps a weight
deeper in its module, with the factors of LoRA or a frozen copy beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from lightning_semgeom.capture.names import plain_name
from lightning_semgeom.capture.sites import HEAD_NAMES
from lightning_semgeom.checkpoints.tensors import CheckpointError

# Of token embeddings alone: those of positions and of token types go by other names.
EMBEDDING_NAMES = (
    *("wte", "embed_tokens", "word_embeddings", "embed_in", "shared", "tok_embeddings", "embed"),
    *("embedding", "embeddings", "token_embedding", "token_embeddings", "tok_emb", "tokens_embed"),
)
# GPT-NeoX; Megatron
_HEAD_NAMES = (*HEAD_NAMES, "final_linear", "output_layer")
_KNOWN = (*_HEAD_NAMES, *EMBEDDING_NAMES)
# In names of output embeddings; others with "emb" are of inputs or positions.
_OF_HEADS = ("unemb", "out", "head", "logit", "lm_")
_LEADING = ("state_dict", "module")
# PEFT: below the name of a module lie its weight where factors of LoRA are added to it, or the one
# trained in its place, by the name of the adapter, and the one of before, which does nothing.
_BASE, _TRAINED, _FROZEN = "base_layer", "modules_to_save", "original_module"
_FACTORS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")
_MERGE = "merge the adapters into the model and save that"
Shape = tuple[int, ...]


def site_of(tensor: str | None) -> str:
    """What records call the tensor that a user names: the unembedding, or what is no such thing."""
    if tensor is None:
        return "unembedding"
    last = _last(tensor).lower()
    by_word = "emb" in last and not any(word in last for word in _OF_HEADS)
    return "embedding" if _is_embedding(tensor) or by_word else "unembedding"


def find_tensor(
    shapes: Mapping[str, Shape],
    wanted: str | None,
    num_rows: int,
    untied: str | None = None,
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The name of the tensor `[rows, d]` to look at.

    Without `wanted` it is the only one whose module is called like a head, or else the only one
    whose module is called like an input embedding, with at least `num_rows` rows.

    Args:
        shapes: of all tensors, by name.
        wanted: its name, with or without wrappers, what PEFT adds and the last `.weight`.
        num_rows: rows of the attribute table.
        untied: why no embedding stands for a head that is absent, in words; None: it may.
        elsewhere: why tensors of the model cannot be read, in words, by name.

    Raises:
        CheckpointError: if there is none, or more than one; the message names the candidates. And
            if what was found is not all that the model works with.
    """
    _raise_if_elsewhere(shapes, wanted, elsewhere)
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    if wanted is None:
        _raise_if_empty(shapes)
        found = _found(matrices, num_rows, untied)
        _raise_if_adapted(found, matrices)
        return found
    name = _named(shapes, matrices, wanted)
    if matrices[name][0] < num_rows:
        raise CheckpointError(
            f"the attribute table has {num_rows} rows, but '{name}' has only {matrices[name][0]}. "
            "Tokens that were added later stand at the end; without them: "
            f"table.first({matrices[name][0]}). A shorter table leaves the rest out."
        )
    return name


def sufficient(names: Iterable[str], wanted: str | None) -> list[str]:
    """Of all names those among which `find_tensor` finds the one to look at; none: it needs all.

    Where a model is in several files, those that have these are enough.
    """
    there = list(names)
    if wanted is not None:
        return [n for n in there if n == wanted] or [
            n for n in there if _plain(n) == _plain(wanted)
        ]
    heads = [n for n in there if _is_head(n) and not (_is_numbered(n) or _is_factor(n))]
    modules = set(map(_plain, heads))
    return heads + [n for n in there if _is_factor(n) and _module_of_factor(n) in modules]


def _named(shapes: Mapping[str, Shape], matrices: Mapping[str, Shape], wanted: str) -> str:
    same = [n for n in shapes if n == wanted] or [n for n in shapes if _plain(n) == _plain(wanted)]
    if len(same) > 1:
        raise CheckpointError(f"several tensors are called '{wanted}': {_listed(shapes, same)}.")
    if not same:
        close = get_close_matches(wanted, shapes, n=5, cutoff=0.4)
        known = f"close names: {_listed(shapes, close)}" if close else f"it has {_of(matrices)}"
        raise CheckpointError(f"it has no tensor '{wanted}'; {known}.")
    if same[0] not in matrices:
        raise CheckpointError(f"'{same[0]}' is {list(shapes[same[0]])} and not [rows, d].")
    return same[0]


def _found(matrices: Mapping[str, Shape], num_rows: int, untied: str | None) -> str:
    own = {n: shape for n, shape in matrices.items() if not _is_factor(n) and not _is_frozen(n)}
    large = [name for name, (rows, _) in own.items() if rows >= num_rows]
    heads = [n for n in large if _is_head(n) and not _is_in_layer(n, own)]
    if heads:
        return _only(matrices, heads, "the unembedding")
    # T5 and Bart have up to three names for the one that encoder and decoder share.
    embeddings = [name for name in large if _is_embedding(name)]
    shared = [name for name in embeddings if _last(name) == "shared"]
    if not embeddings and matrices and all(map(_is_factor, matrices)):
        raise CheckpointError("it holds adapters alone; merge them into the model and save that.")
    if not embeddings:
        raise CheckpointError(
            f"no tensor was found for the {num_rows} rows of the attribute table: none with as "
            f"many is called {', '.join(_HEAD_NAMES)}, or as an input embedding is. It has "
            f"{_of(own)}. Name the one to look at: tensor='...'."
        )
    name = _only(matrices, shared or embeddings, "the embedding, which stands for a tied head")
    _raise_if_untied(name, matrices, num_rows)
    alike = [n for n, shape in own.items() if shape == own[name] and _may_be_head(n)]
    if alike:
        raise CheckpointError(
            f"no tensor is called {', '.join(_HEAD_NAMES)}, and '{name}' stands for a tied one, "
            f"but this may be the head: {_listed(matrices, alike)}. Name the one to look at: "
            f"tensor='{alike[0]}'."
        )
    if untied is not None:
        raise CheckpointError(
            f"no tensor is called {', '.join(_HEAD_NAMES)}, and the embedding '{name}' does not "
            f"stand for a tied head: {untied}. For the figures of the embedding, name it: "
            f"tensor='{name}'."
        )
    return name


def _raise_if_untied(embedding: str, matrices: Mapping[str, Shape], num_rows: int) -> None:
    """A head too small for the table, or one of which adapters alone are there, is a head still."""
    width = matrices[embedding][1]
    # A square one is a projection in a layer, as those of attention called `output` are.
    others = {n: s for n, s in matrices.items() if s[0] != width and not _is_frozen(n)}
    for name, (rows, columns) in others.items():
        if columns == width and _last(name) in _HEAD_NAMES and not _is_factor(name):
            raise CheckpointError(
                f"the attribute table has {num_rows} rows, but the head '{name}' has only {rows}. "
                f"Cut the table, table.first({rows}), or name the tensor to look at: "
                f"tensor='{embedding}'."
            )
    known = set(map(_plain, matrices))
    for name in others:
        module = _module_of_factor(name) if _factor(name) == "lora_B" else ""
        if module.rpartition(".")[2] in _HEAD_NAMES and module not in known:
            raise CheckpointError(
                f"it holds adapters of the head '{module}' and no weight of it; {_MERGE}."
            )


def _raise_if_elsewhere(
    shapes: Mapping[str, Shape], wanted: str | None, elsewhere: Mapping[str, str]
) -> None:
    """A head that is there is the one where no other tensor may be it, or a part of it."""
    heads = {_plain(name) for name in shapes if _is_head(name) and not _is_numbered(name)}
    if wanted in shapes:
        lost = []
    elif wanted is not None:
        lost = [name for name in elsewhere if _plain(name) == _plain(wanted)]
    elif heads:
        lost = [name for name in elsewhere if _is_head(name) and not _is_numbered(name)]
        lost += [n for n in elsewhere if _is_factor(n) and _module_of_factor(n) in heads]
    else:
        lost = sorted(elsewhere, key=lambda name: not _is_head(name))
    if lost:
        raise CheckpointError(f"'{lost[0]}' cannot be read: {elsewhere[lost[0]]}")


def _raise_if_empty(shapes: Mapping[str, Shape]) -> None:
    """DeepSpeed ZeRO-3 leaves weights without entries in what each process calls its model."""
    empty = [n for n, shape in shapes.items() if 0 in shape and _last(n) in _KNOWN]
    if empty:
        raise CheckpointError(
            f"'{empty[0]}' is {list(shapes[empty[0]])}, without entries, as DeepSpeed ZeRO-3 "
            "leaves what it has cut up. The weights are in zero_pp_rank_*_model_states.pt and the "
            "optimizer's files beside them: join those with DeepSpeed's zero_to_fp32.py."
        )


def _raise_if_adapted(name: str, matrices: Mapping[str, Shape]) -> None:
    """A live run measures the weight with its adapters, which a checkpoint keeps apart."""
    factors = [n for n in matrices if _is_factor(n) and _module_of_factor(n) == _plain(name)]
    if factors:
        raise CheckpointError(
            f"'{name}' is not all that the model works with: it has the adapters "
            f"{_listed(matrices, factors)}. For the figures of both, {_MERGE}; for those of the "
            f"base alone, name it: tensor='{name}'."
        )


def _is_in_layer(name: str, own: Mapping[str, Shape]) -> bool:
    """Whether it is a projection in a numbered layer, of a model with an embedding as wide.

    Those of attention are called `output` in some models, and a short table fits into them.
    """
    rows, width = own[name]
    embeddings = (shape for other, shape in own.items() if _is_embedding(other))
    return _is_numbered(name) and rows == width and any(s[1] == width != s[0] for s in embeddings)


def _only(matrices: Mapping[str, Shape], candidates: list[str], what: str) -> str:
    if len(candidates) > 1:
        raise CheckpointError(
            f"several tensors may be {what}: {_listed(matrices, candidates)}. Name the one to look "
            f"at: tensor='{candidates[0]}'."
        )
    return candidates[0]


def _is_head(name: str) -> bool:
    """Whether its module is called like a head; OLMo's is, and so is a part of each layer."""
    return _last(name) in _HEAD_NAMES or (_last(name) == "ff_out" and not _is_numbered(name))


def _is_numbered(name: str) -> bool:
    """Whether it is in a layer, or elsewhere in a list of modules."""
    return any(part.isdigit() for part in name.split("."))


def _may_be_head(name: str) -> bool:
    return name.endswith(".weight") and not _is_embedding(name)


def _is_embedding(name: str) -> bool:
    return _last(name) in EMBEDDING_NAMES


def _is_frozen(name: str) -> bool:
    return _FROZEN in name.split(".")


def _is_factor(name: str) -> bool:
    return _factor(name) is not None


def _factor(name: str) -> str | None:
    return next((part for part in name.split(".") if part in _FACTORS), None)


def _module_of_factor(name: str) -> str:
    return _plain(name.partition(f".{_factor(name)}")[0])


def _last(name: str) -> str:
    return _plain(name).removesuffix(f".{_FROZEN}").rpartition(".")[2]


def _plain(name: str) -> str:
    """The module of a tensor, by the dotted name that a user knows."""
    known = plain_name(name.removesuffix(".weight"))
    parts = [part for part in known.split(".") if part != _BASE]
    if _TRAINED in parts:
        at = parts.index(_TRAINED)
        del parts[at : at + 2]  # with the name of the adapter
    while len(parts) > 1 and parts[0] in _LEADING:
        del parts[0]
    return ".".join(parts)


def _of(matrices: Mapping[str, Shape]) -> str:
    return f"the matrices {_listed(matrices, matrices)}" if matrices else "no matrix at all"


def _listed(shapes: Mapping[str, Shape], names: Iterable[str], limit: int = 8) -> str:
    shown = [f"'{name}' {list(shapes[name])}" for name in names]
    rest = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + rest
