"""A checkpoint's tensors put into a model that is built already, one after the other.

In memory are the model and the tensor at work. Names may begin otherwise than the model's, as those
of a LightningModule around it do: by one prefix, that all have or lack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_semgeom.capture.names import listed, plain_name
from lightning_semgeom.checkpoints.renamed import renamed
from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors, are_same

_Prefix = tuple[str, str]
"""What a checkpoint's name begins with and the model's does not, and the other way round."""


def put_weights(model: nn.Module, tensors: Tensors) -> list[str]:
    """Copy the tensors of a checkpoint into `model`, in place.

    Where this raises, the model may be filled in part: it is not to be measured.

    Returns:
        The matrices of the checkpoint that the model has no place for.

    Raises:
        CheckpointError: if the model has what the checkpoint lacks, or has otherwise; the message
            has the names.
    """
    places = _places(model)
    tied: dict[int, list[str]] = {}
    for name, place in places.items():
        tied.setdefault(id(place), []).append(name)
    plain = {plain_name(name): name for name in tensors.shapes}
    if len(plain) < len(tensors.shapes):
        raise CheckpointError("several of its tensors have one name but for those of wrappers.")
    found = _matched(places, plain, tensors.shapes)
    missing = _missing(tied, found)
    if missing:
        names = {new: plain[name] for name, new in renamed(model, plain).items()}
        found = _matched(places, names, tensors.shapes)
        missing = _missing(tied, found)
    if missing:
        raise CheckpointError(
            f"it lacks {listed(missing)} of the {type(model).__name__} that was built."
        )
    wrong = [
        f"'{name}' is {list(tensors.shapes[stored])} and not {list(places[name].shape)}"
        for name, stored in found.items()
        if tuple(tensors.shapes[stored]) != tuple(places[name].shape)
    ]
    if wrong:
        more = f", and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise CheckpointError(f"it is of another model: {', '.join(wrong[:4])}{more}.")
    with torch.no_grad():
        for group in tied.values():
            _put([(name, found[name]) for name in group if name in found], places, tensors)
    left = tensors.shapes.keys() - set(found.values())
    return [name for name in tensors.shapes if name in left and len(tensors.shapes[name]) == 2]


def _places(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers that a model keeps, a tied one under each of its names."""
    kept = model.state_dict(keep_vars=True)
    return {plain_name(n): place for n, place in kept.items() if isinstance(place, Tensor)}


def _missing(tied: Mapping[int, Sequence[str]], found: Mapping[str, str]) -> list[str]:
    """The first names of the weights that nothing was found for."""
    return [group[0] for group in tied.values() if not found.keys() & set(group)]


def _put(stored: list[tuple[str, str]], places: Mapping[str, Tensor], tensors: Tensors) -> None:
    """Copy into one parameter what is stored under each of its names."""
    (name, first), *others = stored
    place, tensor = places[name], tensors.read(first, None)
    for _, other in others:
        if not are_same(tensor, tensors.read(other, None)):
            raise CheckpointError(
                f"'{first}' and '{other}' differ, and the model that was built has one weight for "
                "both: build it with the two untied."
            )
    is_float = tensor.is_floating_point() and tensor.element_size() > 1
    if place.is_floating_point() and not is_float:
        raise CheckpointError(
            f"'{first}' {list(tensor.shape)} is {tensor.dtype}; expected floats of 16 bits or more."
        )
    if tensor.is_floating_point() and not place.is_floating_point():
        raise CheckpointError(f"'{first}' is {tensor.dtype}, and the model has {place.dtype}.")
    place.copy_(tensor)


def _matched(
    places: Mapping[str, Tensor],
    names: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, str]:
    """The name in the checkpoint of each of the model's names that it has."""
    counts = Counter(_prefixes(places, names))
    if not counts:
        return {}
    best = max(counts.values())
    each = [_with_prefix(prefix, places, names) for prefix, n in counts.items() if n == best]
    fitting = [sum(places[m].shape == shapes[c] for m, c in found.items()) for found in each]
    chosen = [found for found, fits in zip(each, fitting, strict=True) if fits == max(fitting)]
    if len(chosen) > 1:
        shown = " and ".join(f"'{next(iter(found.values()))}'" for found in chosen[:4])
        raise CheckpointError(
            f"its names fit the model in {len(chosen)} ways, as in {shown}: which of them is meant "
            "is not known. Build the model that has them all."
        )
    return chosen[0]


def _prefixes(places: Mapping[str, Tensor], names: Mapping[str, str]) -> Iterable[_Prefix]:
    """For each pair of names of which one ends with the other what the longer begins with."""
    own = set(places)
    for name in names:
        for start in _starts(name):
            if name[start:] in own:
                yield name[:start], ""
    for place in places:
        for start in _starts(place):
            if start and place[start:] in names:
                yield "", place[:start]


def _starts(name: str) -> list[int]:
    return [0, *(at + 1 for at, letter in enumerate(name) if letter == ".")]


def _with_prefix(
    prefix: _Prefix, places: Iterable[str], names: Mapping[str, str]
) -> dict[str, str]:
    ours, theirs = prefix
    found = {m: ours + m.removeprefix(theirs) for m in places if m.startswith(theirs)}
    return {place: names[name] for place, name in found.items() if name in names}
