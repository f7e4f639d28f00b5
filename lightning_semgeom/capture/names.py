"""The modules of a model by the dotted names that a user knows, without those of wrappers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

_WRAPPERS = ("_orig_mod", "_forward_module", "_fsdp_wrapped_module")


def module_names(model: nn.Module) -> dict[str, nn.Module]:
    """All submodules by name; one that is shared stands under each of its names."""
    found = model.named_modules(remove_duplicate=False)
    return {plain_name(name): module for name, module in found if plain_name(name)}


def module_at(model: nn.Module, name: str) -> nn.Module | None:
    """What `module_names(model)` has as `name`, without a walk over the model; None: nothing."""
    found = model
    for part in name.split("."):
        while part not in found._modules and _inside(found) is not found:
            found = _inside(found)
        following = found._modules.get(part)
        if following is None:
            return None
        found = following
    while _inside(found) is not found:
        found = _inside(found)
    return found


def _inside(module: nn.Module) -> nn.Module:
    """What a wrapper holds; `module` itself where it is none."""
    held = (module._modules.get(wrapper) for wrapper in _WRAPPERS)
    return next((inner for inner in held if inner is not None), module)


def plain_name(name: str) -> str:
    """A module's dotted name without the names of wrappers in it."""
    name = f"{name}."
    for wrapper in _WRAPPERS:
        name = name.replace(f"{wrapper}.", "")
    return name[:-1]


def compiled_around(model: nn.Module, name: str) -> str | None:
    """Which compiled module holds the one called `name`, in words; None: it is called as it is.

    Hooks on a submodule of compiled code are not called.
    """
    from torch._dynamo import OptimizedModule  # takes as long to import as all the rest of torch

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


def find_hidden(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """The modules whose outputs are captured, by name, in the model's order.

    In a glob `*` and `?` stay between two dots of a name, and `**` between dots is anything, dots
    and all: `layers.*` is each layer and nothing within one, `**.mlp` each module called mlp.

    Raises:
        ValueError: if a name or glob matches no module; the message lists close names.
    """
    names = module_names(model)
    found: dict[str, nn.Module] = {}
    for pattern in patterns:
        matches = [name for name in names if _matches(name.split("."), pattern.split("."))]
        if not matches:
            raise ValueError(
                f"hidden='{pattern}' matches no module of {type(model).__name__}. {_hint(pattern)}"
                f"{suggestion(pattern, names)}"
            )
        found |= {name: names[name] for name in matches}
    return distinct({name: module for name, module in names.items() if name in found})


def find_site(model: nn.Module, site: str) -> nn.Module:
    """The one module called `site`, which may begin with `hidden.` as sites of records do.

    Raises:
        ValueError: if there is none; the message lists close names.
    """
    names = module_names(model)
    name = site if site in names else site.removeprefix("hidden.")
    if name not in names:
        raise ValueError(
            f"site='{site}' is no module of {type(model).__name__}. {suggestion(name, names)}"
        )
    return names[name]


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


def distinct(found: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Each module once, under its first name."""
    first = {id(module): name for name, module in reversed(found.items())}
    return {name: module for name, module in found.items() if first[id(module)] == name}


def listed(names: Iterable[str], limit: int = 8) -> str:
    """Names in quotes, and how many more there are than `limit`."""
    shown = [f"'{name}'" for name in names]
    rest = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + rest or "none"


def suggestion(wanted: str, names: Iterable[str]) -> str:
    """Names close to `wanted`, or some of all, in words."""
    close = get_close_matches(wanted, names, n=5, cutoff=0.4)
    return f"Close names: {listed(close)}." if close else f"Modules: {listed(names)}."
