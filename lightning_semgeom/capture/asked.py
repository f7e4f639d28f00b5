"""What is asked for at all: refused at once where it makes no sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


def check_sites(
    unembedding: bool | str, embedding: bool | str, hidden: Sequence[str], whose: str
) -> None:
    """Raise a ValueError where there is no site."""
    if not (unembedding or embedding or hidden):
        raise ValueError(
            f"{whose}: there is nothing to capture: unembedding and embedding are False and hidden "
            "is empty."
        )


def check_least(whose: str, **given: tuple[int | None, int]) -> None:
    """Raise a ValueError where one of several (number or None, least) is too small."""
    for argument, (value, least) in given.items():
        if value is not None and value < least:
            raise ValueError(f"{whose}: {argument} must be {least} or more: {value}.")


def check_growth(growth: float | None, whose: str) -> None:
    """Raise a ValueError where captures would not become less dense."""
    if growth is not None and not growth > 1:
        raise ValueError(f"{whose}: growth must be above 1 or None; got {growth}.")


def check_alerts(can_be_sent: bool, loggers: list[str] | str, whose: str) -> None:
    """Raise a ValueError where no logger sends alerts."""
    if not can_be_sent:
        raise ValueError(f"{whose}: alerts=True needs a WandbLogger; the loggers are {loggers}.")


def check_name(name: str, whose: str) -> None:
    """Raise a ValueError unless `name` can be the root of keys."""
    if not name or "/" in name:
        raise ValueError(f"{whose}: name must be a word without a slash: {name!r}.")


def check_metrics(metrics: Sequence[str], hidden: Sequence[str], whose: str) -> None:
    """Raise a ValueError for metrics that nobody knows, or of sites that are not there."""
    unknown = [name for name in metrics if name != "eigenspectrum"]
    if unknown:
        raise ValueError(
            f"{whose}: metrics adds figures to those of each record, and knows 'eigenspectrum' "
            f"alone; got {', '.join(map(repr, unknown))}."
        )
    if metrics and not hidden:
        raise ValueError(
            f"{whose}: 'eigenspectrum' is of the positions of hidden sites, and hidden names no "
            "module."
        )


def check_probe(probe: Any, hidden: Sequence[str], labels: object, whose: str) -> None:
    """Raise a ValueError where a probe is one batch, or there is nothing to take from it."""
    if probe is None:
        return
    if not hidden:
        raise ValueError(f"{whose}: probe was given, but hidden names no module.")
    check_batches(probe, labels, "probe")


def check_batches(given: Any, labels: object, argument: str) -> None:
    """Raise a ValueError where `given` is one batch and not several.

    Args:
        given: what the user gave.
        labels: where a batch has its labels, which tells a pair of tensors from two batches.
        argument: its name.
    """
    entries = given if isinstance(given, tuple | list) else ()
    is_pair = bool(entries) and all(isinstance(entry, Tensor) for entry in entries)
    if (
        isinstance(given, Mapping | Tensor | str | bytes)
        or (is_pair and isinstance(labels, int))
        or not (hasattr(given, "__iter__") or hasattr(given, "__getitem__"))
    ):
        raise ValueError(
            f"{argument} must be batches, as a DataLoader or a list has them; a "
            f"{type(given).__name__} is one batch: {argument}=[batch]."
        )
