"""The figures of one checkpoint after the other, and what was wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.capture.names import listed
from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.hidden import GRAM_SIZE, HiddenAsked, HiddenStates
from lightning_semgeom.checkpoints.names import find_tensor, site_of, sufficient
from lightning_semgeom.checkpoints.online.asking import HubError
from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors
from lightning_semgeom.measure.figures import Measurement
from lightning_semgeom.measure.plan import plan_site
from lightning_semgeom.measure.site import measure
from lightning_semgeom.stores import is_in_store


@dataclass(frozen=True)
class Measured:
    """What one checkpoint gave."""

    rows: Tensor
    """Of the weight, those that the tables have."""
    figures: dict[str, dict[str, Measurement]]
    """By table and site."""
    left: list[str]
    """The matrices that the model of the hidden states has no place for."""

    @property
    def flaws(self) -> list[list[str]]:
        """Site, kind and words of why figures are NaN, with the first table."""
        first = next(iter(self.figures.values()))
        found = [(site, one.flaw) for site, one in first.items()]
        return [[site, flaw.kind, str(flaw)] for site, flaw in found if flaw is not None]


class Measuring:
    """Measures the weight of checkpoints, and where it is asked for hidden states.

    Args:
        tables: of one length, by name.
        tensor: name of the weight; None: it is found.
        asked: which hidden states.

    Raises:
        ValueError: as `HiddenStates` does.
    """

    def __init__(
        self,
        tables: Mapping[str, AttributeTable],
        tensor: str | None,
        asked: HiddenAsked | None = None,
    ) -> None:
        self._tensor = tensor
        self._num_rows = len(next(iter(tables.values())))
        row_ids = torch.arange(self._num_rows)
        self._plans = {name: plan_site(table, row_ids, GRAM_SIZE) for name, table in tables.items()}
        self.hidden = None if asked is None else HiddenStates(asked, tables)
        self._site = site_of(tensor)
        self.sites = [self._site, *(() if self.hidden is None else self.hidden.sites)]

    def measured(self, checkpoint: Checkpoint) -> Measured:
        """The figures of a checkpoint.

        Raises:
            CheckpointError: if it cannot be read, or does not fit the model.
            Exception: what the model raises.
        """
        opened, rows = self._opened(checkpoint)
        found = {name: {self._site: measure(rows, plan)} for name, plan in self._plans.items()}
        left: list[str] = []
        if self.hidden is not None:
            states, left = self.hidden.measure(checkpoint.path, opened)
            found = {name: {**of_weight, **states[name]} for name, of_weight in found.items()}
        return Measured(rows, found, left)

    def rows_of(self, checkpoint: Checkpoint) -> Tensor:
        """The rows of the weight that the tables have."""
        return self._opened(checkpoint)[1]

    def _opened(self, checkpoint: Checkpoint) -> tuple[Tensors, Tensor]:
        """A checkpoint and the rows; of one in a store no more files are opened than have to be."""
        if self.hidden is None and is_in_store(checkpoint.path):
            try:
                opened = checkpoint.open(partial(sufficient, wanted=self._tensor))
                return opened, self._rows(opened)
            except CheckpointError:
                pass  # the words about all of it tell more
        opened = checkpoint.open()
        return opened, self._rows(opened)

    def _rows(self, opened: Tensors) -> Tensor:
        name = find_tensor(
            opened.shapes, self._tensor, self._num_rows, opened.untied, opened.elsewhere
        )
        rows = opened.read(name, self._num_rows)
        if not rows.is_floating_point() or rows.element_size() < 2:
            raise CheckpointError(f"'{name}' is {rows.dtype}; expected floats of 16 bits or more.")
        return rows


class Faults:
    """What was wrong with which checkpoint, in words."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        """One a checkpoint, and one for each kind of figure that is missing."""
        self.notes: list[str] = []
        """What may be wrong and was measured all the same."""
        self._flaws: set[tuple[bool, str]] = set()

    def add(self, checkpoint: Checkpoint, fault: Exception) -> None:
        """Tell what was wrong with a checkpoint, which is left out."""
        self.lines.append(f"{checkpoint}: {reason_of(fault)}")

    def add_flaws(self, checkpoint: Checkpoint, flaws: Iterable[Sequence[str]]) -> None:
        """Tell why figures of sites are NaN, of each kind and in words; as in a live run, once.

        Those of hidden states are notes: a text may lack what an attribute is about.
        """
        for site, kind, words in flaws:
            is_hidden = site.startswith("hidden.")
            if (is_hidden, kind) not in self._flaws:
                self._flaws.add((is_hidden, kind))
                told, of = (self.notes, f" of {site}") if is_hidden else (self.lines, "")
                told.append(f"{checkpoint}: figures{of} are missing. {words}")

    def short(self, limit: int = 3) -> str:
        """The first lines, and how many more there are."""
        rest = f" And {len(self.lines) - limit} more." if len(self.lines) > limit else ""
        return " ".join(self.lines[:limit]) + rest


def reason_of(fault: Exception) -> str:
    """Why a checkpoint is left out, in one line.

    Raises:
        ModuleNotFoundError: where that was it, which is the fault of no checkpoint: all of its kind
            need the package.
    """
    if isinstance(fault, ModuleNotFoundError):
        raise fault
    told = isinstance(fault, CheckpointError | HubError)
    named = "" if told else f"{type(fault).__name__}: "
    return f"{named}{' '.join(str(fault).split())}"


def left_notes(names: Iterable[str]) -> list[str]:
    """A line about the matrices that a model has no place for; none where there are none."""
    names = [*names]
    if not names:
        return []
    return [
        f"checkpoints have {listed(names)}, which the model that was built has no place for: the "
        "hidden states are those of a model without."
    ]
