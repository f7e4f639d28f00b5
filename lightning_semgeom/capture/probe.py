"""Hidden states of batches that are not trained on.

The user's batches are read once and copied: each capture has its own copy, so that a model which
changes its batch in place sees the same one every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lightning_semgeom.capture.activations import HiddenCapture, HiddenRows
from lightning_semgeom.capture.calls import Calls
from lightning_semgeom.capture.labels import LabelReader, Share
from lightning_semgeom.capture.ranks import Ranks
from lightning_semgeom.capture.windows import TableProbe
from lightning_semgeom.faults import attempted

Found = dict[str, HiddenRows | Exception]
_NO_BATCH = "no batch was given to take hidden states from: it is empty."


class Probe:
    """Runs the probe's batches through the model and keeps the rows of the hidden sites.

    Args:
        batches: read up to the one that fills `limit`, in the first run.
        hidden: the hidden sites.
        reader: how a batch's labels are found.
        limit: most rows of a site, over all processes.
        ranks: this process among the others.

    Raises:
        ValueError: if batches of `probe_from` were made for other use.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        hidden: HiddenCapture,
        reader: LabelReader,
        limit: int,
        ranks: Ranks,
    ) -> None:
        _check_use(batches, reader, limit)
        self._source = batches
        self._kept: list[Any] | None = None
        self._hidden = hidden
        self._reader = reader
        self._limit = limit
        self._ranks = ranks

    def run(self, calls: Calls, capacity: int) -> Found:
        """Run the batches in eval mode without gradients, as if nothing had happened.

        Each process runs all of them, since a sharded model needs all processes in its forward, and
        keeps its part of the rows.

        Args:
            calls: how the model is called on a batch.
            capacity: the most rows of a site that this process keeps.
        """
        parts: list[Found] = []
        with isolate_rng(), calls.predicting():
            fault = attempted(self._run_all, calls, parts)
        if isinstance(fault, Exception):
            return dict.fromkeys(self._hidden.sites, fault)
        return {
            site: _joined([part[site] for part in parts], capacity) for site in self._hidden.sites
        }

    def _run_all(self, calls: Calls, parts: list[Found]) -> None:
        kept: list[Any] = []
        labelled = 0
        with _generators_as_they_were(self._source):
            for stored in self._source if self._kept is None else self._kept:
                kept.append(_copied(stored) if self._kept is None else stored)
                part, positions = self._probed(calls, len(parts), _copied(kept[-1]))
                parts.append(part)
                labelled += min(positions, self._limit)
                # From here on every process has all that it keeps: a loader may be endless.
                if labelled >= self._limit + self._ranks.size * (len(parts) + 1):
                    break
        if not kept:
            raise ValueError(_NO_BATCH)
        self._kept = kept

    def _probed(self, calls: Calls, index: int, batch: Any) -> tuple[Found, int]:
        """What one batch gives, or what was wrong, by site; and how many positions have labels."""
        ranks, positions = self._ranks, 0
        share = Share(self._limit, (ranks.rank + index) % ranks.size, ranks.size)
        try:
            batch = calls.prepared(batch)
            self._hidden.arm(batch, share)
            # Known of kept batches; a GPU would have to be waited for.
            positions = self._reader.count(batch) if self._kept is None else 0
            with self._hidden.looking():
                calls.run(batch, index)
        except Exception as fault:
            return dict.fromkeys(self._hidden.sites, fault), positions
        finally:
            self._hidden.disarm()
        return self._hidden.collect(), positions


def read_batches(batches: Iterable[Any], reader: LabelReader, limit: int) -> list[Any]:
    """Copies of the first batches, up to the one with which `limit` positions have labels.

    Random generators are afterwards as they were.

    Raises:
        ValueError: if a batch has no labels that can be read, or there is none at all; or batches
            of `probe_from` were made for other use.
    """
    _check_use(batches, reader, limit)
    kept: list[Any] = []
    labelled = 0
    with isolate_rng(), _generators_as_they_were(batches):
        for batch in batches:
            labelled += reader.count(batch)
            kept.append(_copied(batch))
            if labelled >= limit:
                break
    if not kept:
        raise ValueError(_NO_BATCH)
    return kept


def _check_use(batches: Iterable[Any], reader: LabelReader, limit: int) -> None:
    if isinstance(batches, TableProbe):
        batches.check_use(reader.shift, limit)


def _copied(batch: Any) -> Any:
    try:
        return deepcopy(batch)
    except Exception:
        # What cannot be copied whole, as a tensor with a graph or an open file beside the tensors.
        return apply_to_collection(batch, Tensor, lambda tensor: tensor.detach().clone())


@contextmanager
def _generators_as_they_were(loader: Any) -> Iterator[None]:
    """Put back the random generators of a loader: another one may share them."""
    sampler = getattr(loader, "batch_sampler", None)
    places = (loader, getattr(loader, "sampler", None), sampler, getattr(sampler, "sampler", None))
    found = {id(g): g for g in (getattr(place, "generator", None) for place in places)}
    states = [(g, g.get_state()) for g in found.values() if isinstance(g, torch.Generator)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def _joined(parts: Sequence[HiddenRows | Exception], limit: int) -> HiddenRows | Exception:
    """The rows of several batches one after the other, at most `limit` of them."""
    faults = [part for part in parts if isinstance(part, Exception)]
    found = [part for part in parts if not isinstance(part, Exception)]
    if not found:
        return faults[0]
    if not faults:
        return HiddenRows.joined(found, limit)
    lacks = ValueError(
        f"{len(faults)} of {len(parts)} batches are left out; the first of them because of "
        f"{type(faults[0]).__name__}: {faults[0]}"
    )
    return HiddenRows.joined(found, limit, lacks)
