"""One look at a model, wherever it is trained: the figures of a record, without a Trainer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from lightning_semgeom.attributes.given import Attributes, table_of
from lightning_semgeom.capture.activations import HiddenRows
from lightning_semgeom.capture.asked import check_batches, check_least, check_name, check_sites
from lightning_semgeom.capture.capture import Capture
from lightning_semgeom.capture.exchange import HiddenExchange
from lightning_semgeom.capture.forward import ForwardCalls
from lightning_semgeom.capture.labels import LabelReader
from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.shards import OwnedRows, flat_units
from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.measure.figures import Measurement
from lightning_semgeom.measure.hidden import HiddenFigures
from lightning_semgeom.measure.weights import WeightFigures
from lightning_semgeom.record.snapshot import SiteFound, SiteRows, Snapshot


@checked_kinds
def snapshot(
    model: nn.Module,
    attributes: Attributes,
    *,
    unembedding: bool | str = True,
    embedding: bool | str = False,
    hidden: str | Sequence[str] = (),
    data: Iterable[Any] | None = None,
    forward: Callable[[Any, Any], object] | None = None,
    labels: str | int | Callable[[Any], Tensor] = "labels",
    positions: Literal["all", "last"] = "all",
    shift_labels: bool = False,
    max_positions: int = 8192,
    gram_size: int = 96,
    name: str = "semgeom",
) -> Snapshot:
    """Measure a model as it is now: what a record of SemanticGeometry has, without a Trainer.

    The model, its modes, its hooks and the random generators are afterwards as they were before.
    Compiled code runs eagerly. A model that FSDP has cut is measured by all processes together, so
    each of them has to call; any other one by the process that calls, alone.

    Args:
        model: any module.
        attributes: which token or class has which value of which attribute; of a dict a table is
            made.
        unembedding: measure the output weight: True finds it, a dotted name says which it is.
        embedding: the same for the input weight.
        hidden: names of modules whose outputs are measured; globs: `model.layers.*`, `**.mlp`.
        data: batches for the hidden states, read until `max_positions` are found.
        forward: a function of the model and a batch that calls the model on it; None: a dict's
            entries go to the parameters of the model's forward that have their names, or the whole
            dict to one that has another name; of a tuple it gets the entries that it requires.
        labels: where the batch has the table's row of each output position, `[B]` or `[B, T]`,
            negative where it has none: a key, an index, or a function of the batch.
        positions: take all positions of a sequence, or the last one with a label.
        shift_labels: True where labels are the inputs themselves, as in Hugging Face batches.
        max_positions: most hidden rows of a site.
        gram_size: most lines of a Gram picture; where there are more rows, neighbours share one.
        name: the root of all keys.

    Returns:
        Figures, pictures and rows. Where figures are NaN, a warning says why.

    Raises:
        ValueError: if arguments contradict each other, or a module, a key or the table does not fit
            the model; the message says what would.
        Exception: what the model raises as it is called on `data`.

    Example:
        >>> model = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4, bias=False))
        >>> found = snapshot(model, {"colour": ["red", "red", "blue", "blue"]})
        >>> found.sites
        ['unembedding']
        >>> rows, labels = found.rows("unembedding")
        >>> rows.shape, labels.tolist()
        (torch.Size([4, 3]), [0, 1, 2, 3])
    """
    table = table_of(attributes, "snapshot")
    hidden = (hidden,) if isinstance(hidden, str) else tuple(hidden)
    check_sites(unembedding, embedding, hidden, "snapshot")
    check_least("snapshot", max_positions=(max_positions, 2), gram_size=(gram_size, 2))
    check_name(name, "snapshot")
    if bool(hidden) != (data is not None):
        raise ValueError(
            "snapshot: hidden states come from data, so hidden=[names of modules] and "
            f"data=[batches] are given together; got hidden={list(hidden)} and "
            f"{'no data' if data is None else 'data'}."
        )
    if data is not None:
        check_batches(data, labels, "data")
    if isinstance(model, DistributedDataParallel):
        model = model.module  # the wrapper would wait for other processes, which may not look
    ranks = _ranks(model)
    reader = LabelReader(labels, positions, shift_labels)
    sites = (unembedding, embedding, hidden)
    capture = Capture(model, len(table), *sites, reader, data, max_positions, ranks, once=True)
    figures: dict[str, Measurement | Exception] = {}
    found: dict[str, SiteFound] = {}
    if capture.weight_sites:
        weights = WeightFigures(table, capture.widths, gram_size, ranks)
        with capture.weights(model) as owned:
            figures |= weights.measure(owned, None)
            # What FullyShardedDataParallel has gathered for this is gone after it.
            is_gone = bool(flat_units(model))
            found |= {site: _of_weight(figures[site], owned[site], is_gone) for site in owned}
    if capture.reads_probe:
        exchange = HiddenExchange(capture.hidden_sites, capture.capacity, ranks)
        own = capture.run_probe(ForwardCalls(model, forward))
        rows = exchange.all_rows(own)
        figures |= HiddenFigures(table, gram_size).measure(rows)
        found |= {site: _of_hidden(figures[site], rows[site]) for site in rows}
        for site, kept in own.items():
            if isinstance(kept, HiddenRows) and kept.lacks is not None:
                warnings.warn(
                    f"snapshot: rows of {site} are missing. {kept.lacks}", stacklevel=3
                )  # `checked_kinds` lies between
    for site, one in figures.items():
        if isinstance(one, Measurement) and one.flaw is not None:
            warnings.warn(f"snapshot: figures of {site} are missing. {one.flaw}", stacklevel=3)
    for note in capture.notes():
        warnings.warn(f"snapshot: {note}.", stacklevel=3)  # `checked_kinds` lies between
    return Snapshot(name, table.names, found)


def _of_weight(
    figures: Measurement | Exception, owned: OwnedRows | Exception, is_gone: bool
) -> SiteFound:
    if isinstance(owned, Exception):
        raise owned
    rows = owned.rows.clone() if is_gone else owned.rows
    return _found(figures, rows, torch.arange(owned.first, owned.first + len(rows)))


def _of_hidden(figures: Measurement | Exception, kept: HiddenRows | Exception) -> SiteFound:
    if isinstance(kept, Exception):
        raise kept
    return _found(figures, kept.rows, kept.labels)


def _found(figures: Measurement | Exception, rows: Tensor, labels: Tensor) -> SiteFound:
    if isinstance(figures, Exception):
        raise figures
    return SiteFound(figures.values, figures.picture(), SiteRows.of(rows, labels))


def _ranks(model: nn.Module) -> Ranks:
    """The processes that have to measure together: those that hold parts of one weight."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    parameters = (isinstance(parameter, DTensor) for parameter in model.parameters())
    if dist.is_initialized() and (any(parameters) or flat_units(model)):
        return Ranks(dist.get_rank(), dist.get_world_size(), device)
    return Ranks(device=device)
