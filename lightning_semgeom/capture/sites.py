"""Find the weights in a model that yield rows: the unembedding and the embedding.

Modules are recognised by what they offer (`.weight`, `get_output_embeddings`), not by their class,
so that wrapped and foreign layers are found as well. The search looks at what modules store and
never asks one that it does not need for its `.weight`: that may run code (`computed.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from lightning_semgeom.capture.adapters import inner_layer, weight_with_adapters
from lightning_semgeom.capture.computed import stored_shape
from lightning_semgeom.capture.names import distinct, listed, module_names, suggestion

HEAD_NAMES = ("lm_head", "output", "embed_out", "unembed", "head", "decoder")

Found = dict[str, nn.Module]


def find_unembedding(model: nn.Module, wanted: bool | str, num_rows: int) -> tuple[str, nn.Module]:
    """The module whose weight `[rows, d]` turns hidden states into logits, with its name.

    Looked for in this order: the module named by `wanted`; what a `get_output_embeddings()` in the
    model answers; the only module called like a head (lm_head, output, embed_out, unembed, head,
    decoder); the only linear module with `num_rows` outputs. One that does not train, as a
    teacher's, gives way to the only one of as many rows that does, by whichever of these rules.

    Raises:
        ValueError: if there is none, or more than one; the message names the candidates.
    """
    names = module_names(model)
    if isinstance(wanted, str):
        return wanted, _named(names, wanted, "unembedding")
    answered = _answered(model, names, "get_output_embeddings")
    called = {n: m for n, m in names.items() if n.rsplit(".", 1)[-1] in HEAD_NAMES}
    called = {n: m for n, m in called.items() if _shape(m) and not _is_table(m)}
    matrices = {n: m for n, m in names.items() if _is_linear(m)}
    fitting = {n: m for n, m in matrices.items() if _outputs(m) == num_rows}
    found = _that_train(model, (answered, called, fitting))
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        raise ValueError(
            f"several modules may be the unembedding: {listed(found)}. Name the one to look at: "
            f"unembedding='{next(iter(found))}'."
        )
    raise ValueError(
        "no unembedding was found: no module answers get_output_embeddings(), none is called "
        f"{', '.join(HEAD_NAMES)}, and none has {num_rows} outputs as the attribute table has "
        f"rows. Name it, unembedding='...', or give unembedding=False. Linear modules: "
        f"{listed(distinct(matrices))}."
    )


def find_embedding(model: nn.Module, wanted: bool | str, num_rows: int) -> tuple[str, nn.Module]:
    """The module whose weight `[rows, d]` holds the input vectors of the tokens, with its name.

    Looked for in this order: the module named by `wanted`; what a `get_input_embeddings()` in the
    model answers; the only embedding module with at least `num_rows` rows. One that does not train
    gives way to the only one of as many rows that does.

    Raises:
        ValueError: if there is none, or more than one; the message names the candidates.
    """
    names = module_names(model)
    if isinstance(wanted, str):
        return wanted, _named(names, wanted, "embedding")
    answered = _answered(model, names, "get_input_embeddings")
    tables = {n: m for n, m in names.items() if _is_table(m) and _shape(m)}
    fitting = {n: m for n, m in tables.items() if site_shape(m)[0] >= num_rows}
    found = _that_train(model, (answered, fitting))
    if len(found) == 1:
        return next(iter(found.items()))
    begin = "several modules may be" if found else "no module was found that is"
    raise ValueError(
        f"{begin} the embedding of the {num_rows} tokens in the attribute table. Name it: "
        f"embedding='...'. Embedding modules: {listed(found or _outermost(tables))}."
    )


def site_weight(module: nn.Module) -> Tensor:
    """The weight of a module found above: `[rows, d]`, where no strategy keeps it in pieces.

    Where it is computed from other parameters, it is computed anew from what these are now.

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


def _that_train(model: nn.Module, rules: Iterable[Found]) -> Found:
    """The candidates of the first rule that has any; of several the only one that trains.

    Where none of them trains, those of the later rules that do, and are as long, stand beside them.
    """
    found: Found = {}
    for candidates in rules:
        lengths = {site_shape(module)[0] for module in found.values()}
        alike = {n: m for n, m in candidates.items() if not found or site_shape(m)[0] in lengths}
        trained = _trained(model, alike)
        found = _outermost({**found, **(trained if found else alike)})
        if trained:
            break
    trained = _trained(model, found)
    one_length = len({site_shape(module)[0] for module in found.values()}) == 1
    return trained if len(trained) == 1 and one_length else found


def _trained(model: nn.Module, found: Found) -> Found:
    """Those with a parameter that requires a gradient and, where it is known, has an optimizer."""
    optimizers = getattr(getattr(model, "_trainer", None), "optimizers", ())
    updated = {id(p) for o in optimizers for group in o.param_groups for p in group["params"]}
    # Some strategies give their optimizers other tensors than those of the model.
    is_known = any(id(parameter) in updated for parameter in model.parameters())
    return {
        name: module
        for name, module in found.items()
        if any(p.requires_grad and (id(p) in updated or not is_known) for p in module.parameters())
    }


def _named(names: Found, wanted: str, argument: str) -> nn.Module:
    if wanted not in names:
        raise ValueError(f"{argument}='{wanted}' is no module. {suggestion(wanted, names)}")
    if not _shape(names[wanted]):
        raise ValueError(
            f"{argument}='{wanted}' is a {type(names[wanted]).__name__} without a weight [rows, d]."
        )
    return names[wanted]


def _answered(model: nn.Module, names: Found, method: str) -> Found:
    """What modules answer; those inside one that has an answer are not asked."""
    answers: Found = {}
    owners: list[str] = []
    for owner, module in {"": model, **names}.items():
        if any(f"{owner}.".startswith(outer) for outer in owners):
            continue
        ask: Callable[[], Any] | None = getattr(module, method, None)
        try:
            answer = ask() if callable(ask) else None
        except (AttributeError, NotImplementedError):
            # How transformers, and wrappers that hand attributes on, say that a model has no such
            # layer: the next rule looks, and where none finds one the error names candidates.
            answer = None
        if isinstance(answer, nn.Module) and _shape(answer):
            owners.append(f"{owner}." if owner else "")
            answers[next((name for name, m in names.items() if m is answer), owner)] = answer
    return answers


def _shape(module: nn.Module) -> tuple[int, int] | None:
    shape = stored_shape(inner_layer(module))
    if shape is not None or _stores_weight(module):
        return shape
    # A wrapper that hands on what another module has, or works it out.
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and weight.ndim == 2:
        return weight.shape[0], weight.shape[1]
    return None


def _stores_weight(module: nn.Module) -> bool:
    return any("weight" in place for place in (module._parameters, module._buffers, vars(module)))


def _is_linear(module: nn.Module) -> bool:
    return stored_shape(inner_layer(module)) is not None and not _is_table(module)


def _outputs(module: nn.Module) -> int | None:
    return getattr(module, "out_features", None)


def _is_table(module: nn.Module) -> bool:
    return hasattr(inner_layer(module), "num_embeddings")


def _outermost(found: Found) -> Found:
    """Each once, without those inside another one, as the layer that an adapter sits on is."""
    found = distinct(found)
    return {n: m for n, m in found.items() if not any(n.startswith(f"{o}.") for o in found)}
