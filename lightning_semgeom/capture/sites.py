"""Find the places in a model that yield rows: the unembedding, the embedding, hidden modules.

Modules are recognised by what they offer (`.weight`, `get_output_embeddings`), not by their class,
so that wrapped and foreign layers are found as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from lightning_semgeom.capture.adapters import inner_layer, weight_with_adapters

HEAD_NAMES = ("lm_head", "output", "embed_out", "unembed", "head", "decoder")
_WRAPPERS = ("_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.")


def module_names(model: nn.Module) -> dict[str, nn.Module]:
    """All submodules by the dotted name a user knows, without the names of wrappers."""
    names = {plain_name(name): module for name, module in model.named_modules()}
    del names[""]
    return names


def compiled_around(model: nn.Module, name: str) -> str | None:
    """Which compiled module holds the one called `name`, in words; None: it is called as it is.

    Hooks on a submodule of compiled code are not called.
    """
    # Lightning unwraps a compiled LightningModule and leaves this mark.
    if getattr(model, "_compiler_ctx", None) is not None:
        return type(model).__name__
    for wrapped, module in model.named_modules():
        in_place = getattr(module, "_compiled_call_impl", None) is not None
        if in_place or isinstance(module, OptimizedModule):
            outer = plain_name(wrapped)
            if f"{name}.".startswith(f"{outer}." if outer else ""):
                return f"'{outer}'" if outer else type(module).__name__
    return None


def plain_name(name: str) -> str:
    """A module's dotted name without the names of wrappers in it."""
    name = f"{name}."
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name[:-1]


def find_unembedding(model: nn.Module, wanted: bool | str, num_rows: int) -> tuple[str, nn.Module]:
    """The module whose weight `[rows, d]` turns hidden states into logits, with its name.

    Looked for in this order: the module named by `wanted`; what a `get_output_embeddings()` in the
    model answers; the only module called like a head (lm_head, output, embed_out, unembed, head,
    decoder); the only linear module with `num_rows` outputs.

    Raises:
        ValueError: if there is none, or more than one; the message names the candidates.
    """
    names = module_names(model)
    if isinstance(wanted, str):
        return wanted, _named(names, wanted, "unembedding")
    answered = _answered(names, "get_output_embeddings")
    if answered is not None:
        return answered
    matrices = {n: m for n, m in names.items() if _is_linear(m)}
    called = {n: m for n, m in matrices.items() if n.rsplit(".", 1)[-1] in HEAD_NAMES}
    fitting = {n: m for n, m in matrices.items() if getattr(m, "out_features", None) == num_rows}
    for candidates in map(_outermost, (called, fitting)):
        if len(candidates) == 1:
            return next(iter(candidates.items()))
        if len(candidates) > 1:
            raise ValueError(
                f"several modules may be the unembedding: {_listed(candidates)}. Name the one to "
                f"look at: unembedding='{next(iter(candidates))}'."
            )
    raise ValueError(
        "no unembedding was found: no module answers get_output_embeddings(), none is called "
        f"{', '.join(HEAD_NAMES)}, and none has {num_rows} outputs as the attribute table has "
        f"rows. Name it, unembedding='...', or give unembedding=False. Linear modules: "
        f"{_listed(matrices)}."
    )


def find_embedding(model: nn.Module, wanted: bool | str, num_rows: int) -> tuple[str, nn.Module]:
    """The module whose weight `[rows, d]` holds the input vectors of the tokens, with its name.

    Looked for in this order: the module named by `wanted`; what a `get_input_embeddings()` in the
    model answers; the only embedding module with at least `num_rows` rows.

    Raises:
        ValueError: if there is none, or more than one; the message names the candidates.
    """
    names = module_names(model)
    if isinstance(wanted, str):
        return wanted, _named(names, wanted, "embedding")
    answered = _answered(names, "get_input_embeddings")
    if answered is not None:
        return answered
    tables = {n: m for n, m in names.items() if _is_table(m) and _has_matrix(m)}
    tables = _outermost(tables)
    fitting = {n: m for n, m in tables.items() if site_shape(m)[0] >= num_rows}
    if len(fitting) == 1:
        return next(iter(fitting.items()))
    found = "several modules may be" if fitting else "no module was found that is"
    raise ValueError(
        f"{found} the embedding of the {num_rows} tokens in the attribute table. Name it: "
        f"embedding='...'. Embedding modules: {_listed(tables)}."
    )


def find_hidden(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """The modules whose outputs are captured, by name, in the model's order.

    In a glob `*` and `?` stay between two dots of a name, and `**` between dots is anything, dots
    and all: `layers.*` is each layer and nothing within one, `**.mlp` each module called mlp.

    Raises:
        ValueError: if a name or glob matches no module; the message lists close names.
    """
    names = module_names(model)
    found: set[str] = set()
    for pattern in patterns:
        matches = [name for name in names if _matches(name.split("."), pattern.split("."))]
        if not matches:
            raise ValueError(
                f"hidden='{pattern}' matches no module of {type(model).__name__}. {_hint(pattern)}"
                f"{_suggestion(pattern, names)}"
            )
        found.update(matches)
    return {name: module for name, module in names.items() if name in found}


def find_site(model: nn.Module, site: str) -> nn.Module:
    """The one module called `site`, which may begin with `hidden.` as sites of records do.

    Raises:
        ValueError: if there is none; the message lists close names.
    """
    names = module_names(model)
    name = site if site in names else site.removeprefix("hidden.")
    if name not in names:
        raise ValueError(
            f"site='{site}' is no module of {type(model).__name__}. {_suggestion(name, names)}"
        )
    return names[name]


def site_weight(module: nn.Module) -> Tensor:
    """The weight of a module found above: `[rows, d]`, where no strategy keeps it in pieces.

    Raises:
        ValueError: if adapters of PEFT are on it that do more than to add to the weight.
    """
    return weight_with_adapters(module)


def site_shape(module: nn.Module) -> tuple[int, int]:
    """Rows and width of the weight of a module found above."""
    shape = _shape(module)
    if shape is None:
        raise ValueError(f"a {type(module).__name__} has no weight [rows, d].")
    return shape


def _named(names: dict[str, nn.Module], wanted: str, argument: str) -> nn.Module:
    if wanted not in names:
        raise ValueError(f"{argument}='{wanted}' is no module. {_suggestion(wanted, names)}")
    if not _has_matrix(names[wanted]):
        raise ValueError(
            f"{argument}='{wanted}' is a {type(names[wanted]).__name__} without a weight [rows, d]."
        )
    return names[wanted]


def _answered(names: dict[str, nn.Module], method: str) -> tuple[str, nn.Module] | None:
    for owner, module in names.items():
        ask: Callable[[], nn.Module | None] | None = getattr(module, method, None)
        try:
            answer = ask() if callable(ask) else None
        except (AttributeError, NotImplementedError):
            # How transformers, and wrappers that hand attributes on, say that a model has no such
            # layer: the next rule looks, and where none finds one the error names candidates.
            answer = None
        if isinstance(answer, nn.Module) and _has_matrix(answer):
            found = next((name for name, m in names.items() if m is answer), owner)
            return found, answer
    return None


def _has_matrix(module: nn.Module) -> bool:
    return _shape(module) is not None


def _shape(module: nn.Module) -> tuple[int, int] | None:
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return None
    if weight.ndim == 2:
        return weight.shape[0], weight.shape[1]
    # A strategy that has cut the weight leaves the module's own word for its size.
    layer = inner_layer(module)
    for rows, width in (("out_features", "in_features"), ("num_embeddings", "embedding_dim")):
        if isinstance(getattr(layer, rows, None), int):
            return getattr(layer, rows), getattr(layer, width)
    return None


def _is_linear(module: nn.Module) -> bool:
    return _has_matrix(module) and not _is_table(module)


def _is_table(module: nn.Module) -> bool:
    return hasattr(inner_layer(module), "num_embeddings")


def _outermost(found: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Those that are not inside another one, as the layer that an adapter sits on is."""
    return {n: m for n, m in found.items() if not any(n.startswith(f"{o}.") for o in found)}


def _matches(name: Sequence[str], pattern: Sequence[str]) -> bool:
    # Part by part, as of a path: a `*` that ran over dots would have `model.layers.*` capture each
    # projection and norm within the layers of a language model too, and fail on what has no rows.
    if not pattern:
        return not name
    if pattern[0] == "**":
        # At the end it is what lies inside, and not the module around it.
        least = 0 if pattern[1:] else 1
        return any(_matches(name[k:], pattern[1:]) for k in range(least, len(name) + 1))
    return bool(name) and fnmatchcase(name[0], pattern[0]) and _matches(name[1:], pattern[1:])


def _hint(pattern: str) -> str:
    return "`*` ends at a dot; `**` does not. " if "*" in pattern else ""


def _listed(names: Iterable[str], limit: int = 8) -> str:
    shown = [f"'{name}'" for name in names]
    rest = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + rest or "none"


def _suggestion(wanted: str, names: Iterable[str]) -> str:
    close = get_close_matches(wanted, names, n=5, cutoff=0.4)
    return f"Close names: {_listed(close)}." if close else f"Modules: {_listed(names)}."
