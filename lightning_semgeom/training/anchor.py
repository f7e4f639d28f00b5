"""GramAnchor: hold the geometry of the moment when it is least symmetric, without attributes.

Legend: n rows of the unembedding; k labels of the hidden states; u their centred unit vectors, v
those kept from the top; a call is one forward of the loss, on the weights of that step.
"""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from lightning_semgeom.geometry.spectrum import asymmetry
from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.training.pairs import (
    RowDraw,
    gram_difference,
    label_means,
    unit_rows,
    whole_rows,
)

_FIELDS = ("calls", "top", "holds", "unembedding", "hidden", "labels")
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


class _State(nn.Module):
    """All that is remembered.

    In a `state_dict` it is tensors of integers alone, numbers by their bits: files of tensors take
    nothing else, and an average over the floating point tensors of two states must not touch it.
    None of them is a buffer: a cast of the module would round them, and their sizes change.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.top = -inf
        self.holds = False
        self.unembedding: Tensor | None = None
        """v `[n, d]` in fp32 or fp64; as long as the rows are, until they are held."""
        self.hidden: Tensor | None = None
        """v `[k, d]` of the hidden states."""
        self.labels: Tensor | None = None
        """int64 `[k]`: theirs, increasing."""

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        for name in _FIELDS:
            destination[prefix + name] = _as_integers(getattr(self, name))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        *others: Any,
    ) -> None:
        """Take what was saved; the state of a model that had no anchor yet leaves all as it is."""
        saved = {
            name: state_dict.pop(prefix + name) for name in _FIELDS if prefix + name in state_dict
        }
        if saved and len(saved) < len(_FIELDS):
            missing_keys += [prefix + name for name in _FIELDS if name not in saved]
        elif saved:
            self.calls = int(saved["calls"])
            self.top = float(saved["top"].cpu().view(torch.float64))
            self.holds = bool(saved["holds"])
            self.unembedding = _from_integers(saved["unembedding"])
            self.hidden = _from_integers(saved["hidden"])
            self.labels = None if self.hidden is None else saved["labels"].clone()
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, *others
        )


def _as_integers(value: float | Tensor | None) -> Tensor:
    if value is None:
        return torch.empty(0, dtype=torch.int32)
    if isinstance(value, float):
        value = torch.tensor(value, dtype=torch.float64)
    if isinstance(value, Tensor):
        return value.view(_BITS[value.dtype]) if value.is_floating_point() else value
    return torch.tensor(value)


def _from_integers(saved: Tensor) -> Tensor | None:
    if saved.ndim != 2:
        return None
    kinds = {bits: dtype for dtype, bits in _BITS.items()}
    return saved.clone().view(kinds[saved.dtype])


class GramAnchor(nn.Module):
    r"""Keep the cosines between rows that were there when their asymmetry was largest.

    Follows the asymmetry of the unembedding's directions without their leading one: it rises and
    falls with semantic structure, but asks for no attributes. The rows of its peak have 98 % and
    more of the largest gap in the controlled settings; in a language model it peaks earlier
    (docs/results/keep.md). The leading direction is left out since it is that of frequency there,
    and comes and goes first. Until the asymmetry has fallen by `min_drop` from its largest value
    the loss is 0; from then on it is the mean of (u_i . u_j - v_i . v_j)^2 over pairs of different
    rows, u the rows' centred unit vectors now and v those at the largest value. Hidden states, if
    given, are held in the same way: the mean of each label, over pairs of labels that the batch of
    that moment had as well.

    Memory: one matrix of the unembedding's size in fp32. Time: where there are more than `max_rows`
    rows, so many are drawn anew in each call, uniformly and without replacement. Loss and gradient
    are then unbiased; with h_i the mean of row i's squared differences the variance of the loss is
    4 (1/b - 1/n) Var(h_i) + O(1/b^2) for b of n rows. The asymmetry is followed on `max_rows` rows
    that stay the same.

    Args:
        num_rows: rows of the unembedding that count, from the first on; None: all of them.
        min_drop: share of the largest asymmetry by which it has to fall.
        warm_up: calls before which nothing is followed: the first steps are not structure.
        max_rows: most rows compared at a time.
        seed: of the draws.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import torch
        >>> anchor = GramAnchor(warm_up=0)
        >>> generator = torch.Generator().manual_seed(0)
        >>> rows = torch.randn(20, 8, generator=generator)
        >>> plane = rows * torch.tensor([5.0, 5, 1, 1, 1, 1, 1, 1])
        >>> anchor(plane).item(), anchor.holds  # the largest asymmetry so far
        (0.0, False)
        >>> anchor(rows).item() > 0, anchor.holds  # it has fallen; the plane is what is kept
        (True, True)
        >>> anchor(plane).item() < 1e-6
        True
    """

    @checked_kinds
    def __init__(
        self,
        num_rows: int | None = None,
        min_drop: float = 0.15,
        warm_up: int = 20,
        max_rows: int = 4096,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < min_drop < 1:
            raise ValueError(f"min_drop must lie in (0, 1); got {min_drop}.")
        if num_rows is not None and num_rows < 2:
            raise ValueError(f"num_rows must be 2 or more, or None for all; got {num_rows}.")
        if warm_up < 0:
            raise ValueError(f"warm_up must be 0 calls or more; got {warm_up}.")
        self.num_rows = num_rows
        self.min_drop = min_drop
        self.warm_up = warm_up
        self._draw = RowDraw(max_rows, seed)
        self._seed = seed
        self._state = _State()

    @property
    def holds(self) -> bool:
        """Whether the top is past, and departure from it is penalised."""
        return self._state.holds

    def forward(
        self, unembedding: Tensor, hidden: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Follow, or penalise; in eval mode it does not follow.

        Args:
            unembedding: `[n, d]`, a DTensor as well: the rows that are followed and held.
            hidden: `[m, d']`: hidden states that are held, too.
            labels: int64 `[m]`: what each of them is of, negative: left out; None: row i is of i.

        Returns:
            The loss `[]`, in fp32, or fp64 where the rows are that.

        Raises:
            ValueError: if the shapes do not fit.
        """
        rows = whole_rows(unembedding, "unembedding")[: self.num_rows]
        means = None
        if hidden is not None:
            means = label_means(hidden, labels)
        if self.training and not self.holds:
            self._follow(rows.detach(), means)
        if not self.holds:
            return rows.new_zeros((), dtype=torch.promote_types(rows.dtype, torch.float32))
        loss = self._departure(rows)
        return loss if means is None else loss + self._hidden_departure(*means)

    def _follow(self, rows: Tensor, means: tuple[Tensor, Tensor] | None) -> None:
        state = self._state
        state.calls += 1
        if state.calls <= self.warm_up:
            return
        found = self._asymmetry(rows)
        dtype = torch.promote_types(rows.dtype, torch.float32)
        if found > state.top:
            state.top, state.unembedding = found, rows.to(dtype, copy=True)
            if means is not None:
                hidden, state.labels = means
                state.hidden = unit_rows(hidden.detach()).unit
        elif state.unembedding is not None and found <= (1 - self.min_drop) * state.top:
            state.holds = True
            state.unembedding = unit_rows(state.unembedding).unit

    def _asymmetry(self, rows: Tensor) -> float:
        same_ones = RowDraw(self._draw.max_rows, self._seed)(len(rows), rows.device)
        found = unit_rows(rows, same_ones)
        second = found.unit.T @ found.unit
        leading = _largest_eigenvalue(second)
        total = second.trace() - leading
        squared = second.square().sum() - leading.square()
        rank = (found.valid.sum() - 1).clamp(max=len(second)) - 1
        return float(asymmetry(total, squared, rank))

    def _departure(self, rows: Tensor) -> Tensor:
        kept = self._kept("unembedding", rows)
        if kept.shape != rows.shape:
            raise ValueError(
                f"unembedding must be {list(kept.shape)}, as it was when its geometry was kept; "
                f"got {list(rows.shape)}."
            )
        drawn = self._draw(len(rows), rows.device)
        return gram_difference(unit_rows(rows, drawn), kept[drawn])

    def _hidden_departure(self, means: Tensor, labels: Tensor) -> Tensor:
        if self._state.hidden is None:
            raise ValueError(
                "hidden states are given, but none were when the geometry was kept. Give them in "
                "each call or in none."
            )
        kept, known = self._kept("hidden", means), self._kept("labels", labels)
        common = torch.isin(labels, known).nonzero()[:, 0]
        drawn = common[self._draw(len(common), common.device)]
        place = torch.searchsorted(known, labels[drawn])
        return gram_difference(unit_rows(means, drawn), kept[place])

    def _kept(self, name: str, like: Tensor) -> Tensor:
        """What is kept, where `like` lies."""
        kept: Tensor = getattr(self._state, name).to(like.device)
        setattr(self._state, name, kept)
        return kept

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """Also take a state of version 0.1, where it was a dict."""
        saved = state_dict.pop(prefix + "_extra_state", None)
        if saved is not None:
            for name, value in saved.items():
                is_rows = isinstance(value, Tensor) and value.is_floating_point()
                widened = (
                    value.to(torch.promote_types(value.dtype, torch.float32)) if is_rows else value
                )
                setattr(self._state, name, widened)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _largest_eigenvalue(second: Tensor, iterations: int = 20) -> Tensor:
    """Of a positive matrix `[d, d]`, by power iteration: all of them would be cubic in d.

    Where the first ones are nearly equal the vector is any of theirs, and the value still right.
    """
    vector = second[second.square().sum(1).argmax()]
    for _ in range(iterations):
        vector = nn.functional.normalize(second @ vector, dim=0)
    return vector @ second @ vector
