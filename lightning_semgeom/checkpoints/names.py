"""Which of a checkpoint's tensors is the unembedding.

A checkpoint tells names and shapes alone, and its names begin as the strategy or `torch.compile`
had it. Files of tied models lack the head: the input embedding stands for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from lightning_semgeom.capture.sites import HEAD_NAMES
from lightning_semgeom.checkpoints.tensors import CheckpointError

# Of token embeddings alone: those of positions and of token types go by other names.
EMBEDDING_NAMES = (
    *("wte", "embed_tokens", "word_embeddings", "embed_in", "shared", "tok_embeddings", "embed"),
    *("embedding", "embeddings", "token_embedding", "token_embeddings", "tok_emb", "tokens_embed"),
)
_WRAPPERS = ("_orig_mod", "_forward_module", "_fsdp_wrapped_module")
_LEADING = ("state_dict", "module")
Shape = tuple[int, ...]


def site_of(tensor: str | None) -> str:
    """What records call the tensor that a user names: the unembedding, or what is no such thing."""
    return "embedding" if tensor is not None and _is_embedding(tensor) else "unembedding"


def find_tensor(shapes: Mapping[str, Shape], wanted: str | None, num_rows: int) -> str:
    """The name of the tensor `[rows, d]` to look at.

    Without `wanted` it is the only one whose module is called like a head, or else the only one
    whose module is called like an input embedding, with at least `num_rows` rows.

    Args:
        shapes: of all tensors, by name.
        wanted: its name, with or without wrappers and the last `.weight`.
        num_rows: rows of the attribute table.

    Raises:
        CheckpointError: if there is none, or more than one; the message names the candidates.
    """
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    if wanted is None:
        return _found(matrices, num_rows)
    name = _named(shapes, matrices, wanted)
    if matrices[name][0] < num_rows:
        raise CheckpointError(
            f"the attribute table has {num_rows} rows, but '{name}' has only {matrices[name][0]}. "
            "Give a table with one row a token or class; a shorter one leaves the rest out."
        )
    return name


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


def _found(matrices: Mapping[str, Shape], num_rows: int) -> str:
    large = [name for name, (rows, _) in matrices.items() if rows >= num_rows]
    heads = [name for name in large if _last(name) in HEAD_NAMES]
    if heads:
        return _only(matrices, heads, "the unembedding")
    # T5 and Bart have up to three names for the one that encoder and decoder share.
    embeddings = [name for name in large if _is_embedding(name)]
    shared = [name for name in embeddings if _last(name) == "shared"]
    if not embeddings:
        raise CheckpointError(
            f"no tensor was found for the {num_rows} rows of the attribute table: none with as "
            f"many is called {', '.join(HEAD_NAMES)}, or as an input embedding is. It has "
            f"{_of(matrices)}. Name the one to look at: tensor='...'."
        )
    name = _only(matrices, shared or embeddings, "the embedding, which stands for a tied head")
    alike = [n for n, shape in matrices.items() if shape == matrices[name] and _may_be_head(n)]
    if alike:
        raise CheckpointError(
            f"no tensor is called {', '.join(HEAD_NAMES)}, and '{name}' stands for a tied one, but "
            f"this may be the head: {_listed(matrices, alike)}. Name the one to look at: "
            f"tensor='{alike[0]}'."
        )
    return name


def _only(matrices: Mapping[str, Shape], candidates: list[str], what: str) -> str:
    if len(candidates) > 1:
        raise CheckpointError(
            f"several tensors may be {what}: {_listed(matrices, candidates)}. Name the one to look "
            f"at: tensor='{candidates[0]}'."
        )
    return candidates[0]


def _may_be_head(name: str) -> bool:
    return name.endswith(".weight") and not _is_embedding(name)


def _is_embedding(name: str) -> bool:
    return _last(name) in EMBEDDING_NAMES


def _last(name: str) -> str:
    return _plain(name).rpartition(".")[2]


def _plain(name: str) -> str:
    """The module of a tensor, by the dotted name that a user knows."""
    parts = [part for part in name.removesuffix(".weight").split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] in _LEADING:
        del parts[0]
    return ".".join(parts)


def _of(matrices: Mapping[str, Shape]) -> str:
    return f"the matrices {_listed(matrices, matrices)}" if matrices else "no matrix at all"


def _listed(shapes: Mapping[str, Shape], names: Iterable[str], limit: int = 8) -> str:
    shown = [f"'{name}' {list(shapes[name])}" for name in names]
    rest = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + rest
