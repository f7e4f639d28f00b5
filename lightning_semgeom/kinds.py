"""Arguments of another kind than their annotation says are told at once, in plain words."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from os import PathLike
from typing import NamedTuple, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class _Kind(NamedTuple):
    """A part of an annotation."""

    words: str
    """What it is in words."""
    fits: Callable[[object], bool]
    """Whether a value is of the kind."""


def checked_kinds(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Make a function raise a ValueError where an argument is not what its annotation says.

    The annotations are strings, as `from __future__ import annotations` leaves them. One with a
    name that is not known here is left to the function.
    """
    signature = inspect.signature(function)
    owner = function.__qualname__.removesuffix(".__init__")
    kinds = {name: _kinds(one.annotation) for name, one in signature.parameters.items()}

    @wraps(function)
    def checked(*arguments: Arguments.args, **named: Arguments.kwargs) -> Answer:
        try:
            given = signature.bind(*arguments, **named).arguments
        except TypeError:
            return function(*arguments, **named)  # Python's own words tell what is missing
        for name, value in given.items():
            known = kinds[name]
            if known and not any(kind.fits(value) for kind in known):
                expected = " or ".join(dict.fromkeys(kind.words for kind in known))
                shown = "" if hasattr(value, "shape") else f", {value!r:.60}"
                raise ValueError(
                    f"{owner}: {name} must be {expected}; got a {type(value).__name__}{shown}."
                )
        return function(*arguments, **named)

    return checked


def _kinds(annotation: str) -> list[_Kind]:
    """The alternatives of an annotation; none where one of them is not known."""
    if not isinstance(annotation, str):
        return []
    found = [_kind(one) for one in _alternatives(ast.parse(annotation, mode="eval").body)]
    known = [kind for kind in found if kind is not None]
    return known if len(known) == len(found) else []


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def _kind(node: ast.expr) -> _Kind | None:
    if not isinstance(node, ast.Subscript):
        return _PLAIN.get(ast.unparse(node))
    of, inner = ast.unparse(node.value), node.slice
    if of == "Literal":
        told = ast.literal_eval(inner)
        choices = (told,) if isinstance(told, str) else told
        return _Kind(" or ".join(map(repr, choices)), lambda value: _is_among(value, choices))
    if of == "Sequence":
        entries = _kinds(ast.unparse(inner))
        words = " or ".join(kind.words for kind in entries)
        return _Kind(f"a list (each entry {words})", lambda value: _is_list(value, entries))
    return _GENERIC.get(of)


def _is_among(value: object, choices: Sequence[object]) -> bool:
    return isinstance(value, str) and value in choices


def _is_list(value: object, entries: list[_Kind]) -> bool:
    # Arrays and columns too, which are no Sequence.
    is_list = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    if not is_list or isinstance(value, str | bytes | Mapping):
        return False
    return not entries or all(any(kind.fits(entry) for kind in entries) for entry in value)  # type: ignore[attr-defined]


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_flag(value: object) -> bool:
    # numpy's own too.
    return type(value).__name__ in ("bool", "bool_") or (_is_number(value) and value in (0, 1))


def _of_torch(*names: str) -> Callable[[object], bool]:
    """Whether a value is of a class of torch, which is asked for when a value is there."""

    def fits(value: object) -> bool:
        import torch

        found: object = torch
        for name in names:
            found = getattr(found, name)
        return isinstance(value, found)  # type: ignore[arg-type]

    return fits


_PLAIN = {
    "int": _Kind("a whole number", lambda v: isinstance(v, Integral) and not isinstance(v, bool)),
    "float": _Kind("a number", _is_number),
    "bool": _Kind("True or False", _is_flag),
    "str": _Kind("a str", lambda v: isinstance(v, str)),
    "None": _Kind("None", lambda v: v is None),
    "Path": _Kind("a path", lambda v: isinstance(v, PathLike)),
    # By name: nothing of ours is imported here.
    "AttributeTable": _Kind(
        "an AttributeTable, as AttributeTable.from_dict({'colour': ['red', 'blue', None, ...]})",
        lambda v: any(one.__name__ == "AttributeTable" for one in type(v).__mro__),
    ),
    "Tensor": _Kind("a tensor", _of_torch("Tensor")),
    "nn.Module": _Kind("a module", _of_torch("nn", "Module")),
    "torch.nn.Linear": _Kind("a torch.nn.Linear", _of_torch("nn", "Linear")),
}
_GENERIC = {
    "Callable": _Kind("a function", callable),
    "Mapping": _Kind("a dict", lambda v: isinstance(v, Mapping)),
}
