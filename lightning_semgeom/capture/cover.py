"""Which windows of a stream of tokens meet all values of a table: as few as a greedy choice needs.

A set of windows is worth f = sum_v min(asked_v, sum_{t has v} min(c_t, k)); the window that adds
most to it is taken next. As f is monotone and submodular, what a window adds can only fall: it is
looked at again where its last known worth still leads (Minoux, "Accelerated greedy algorithms for
maximizing submodular set functions", 1978). So the choice is the greedy one, which needs at most
ln(max f of a window) + 1 times the fewest windows there are (Wolsey 1982), in little more than one
pass over the windows.

Legend: windows of L labels; token t of N is labelled c_t times and counts k times at most; V values
of all attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
_ENTRIES = 1 << 20  # worked on at once
_WINDOWS = 256  # looked at again at once


@dataclass(frozen=True)
class Stream:
    """Tokens, cut into windows in which each of them but the first is a label once."""

    tokens: NDArray[np.int32]
    """int32 `[n]`, n > L."""
    labels: int
    """L."""

    def __len__(self) -> int:
        """How many windows there are; the last one reaches back where no whole one is left."""
        return -(-(len(self.tokens) - 1) // self.labels)

    def spans(self, windows: Sequence[int] | Numbers) -> Numbers:
        """The tokens of windows, int64 `[w, 1 + L]`: the labels follow the first."""
        starts = np.minimum(
            np.asarray(windows, dtype=np.int64) * self.labels, len(self.tokens) - 1 - self.labels
        )
        span = np.arange(1 + self.labels)
        return self.tokens[starts[:, None] + span].astype(np.int64)

    def repeated(self, windows: Sequence[int] | Numbers) -> Numbers:
        """How many labels at the beginning of each window are those of the window before it."""
        lacking = len(self) * self.labels - (len(self.tokens) - 1)
        return np.where(np.asarray(windows) == len(self) - 1, lacking, 0)


class Values:
    """How often values are met by the windows that were taken.

    Args:
        codes: int64 `[N, A]`, -1: not labelled.
        num_values: of each attribute.
        per_token: k.
    """

    def __init__(self, codes: Numbers, num_values: Sequence[int], per_token: int) -> None:
        offsets = np.array([*accumulate(num_values, initial=0)])
        self.count, self.attributes = int(offsets[-1]), codes.shape[1]
        # One row more for tokens past the table's end, one value more for what is not labelled.
        none = np.full((1, codes.shape[1]), self.count)
        of_token = np.where(codes < 0, self.count, codes + offsets[:-1])
        self._of_token = np.concatenate([of_token, none])
        self._per_token = per_token
        # How often each token is a label, as far as that matters: of those without a value never.
        self._labelled = np.where((self._of_token < self.count).any(1), 0, per_token)
        self.met: Numbers = np.zeros(self.count, dtype=np.int64)
        self.left: Numbers = self.met

    def sizes(self) -> Numbers:
        """How many tokens have each value, int64 `[V]`."""
        return np.bincount(self._of_token.ravel(), minlength=self.count + 1)[:-1]

    def within(self, tokens: NDArray[np.int32]) -> Numbers:
        """How often each value is met where all of `tokens` are labels, int64 `[V]`."""
        counts = np.zeros(len(self._labelled), dtype=np.int64)
        # Not all at once: a copy of the tokens would be twice as wide.
        for first in range(0, len(tokens), _ENTRIES):
            rows = self._rows(tokens[first : first + _ENTRIES])
            counts += np.bincount(rows, minlength=len(counts))
        return self._added_up(np.arange(len(counts)), np.minimum(counts, self._per_token))

    def ask(self, asked: Numbers) -> None:
        """Say how often each value is to be met, int64 `[V]`."""
        self._asked = asked
        self.left = np.maximum(asked - self.met, 0)

    def worth(self, labels: Numbers) -> Numbers:
        """What each window with `labels` `[w, L]`, -1: none, would add to f, int64 `[w]`."""
        ordered = np.sort(self._rows(labels), axis=1)
        place = np.arange(ordered.shape[1])
        begins = np.ones(ordered.shape, dtype=bool)
        begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        earlier = place - np.maximum.accumulate(np.where(begins, place, 0), axis=1)
        window, column = np.nonzero(self._labelled[ordered] + earlier < self._per_token)
        width = self.count + 1
        cells = window[:, None] * width + self._of_token[ordered[window, column]]
        found = np.bincount(cells.ravel(), minlength=len(labels) * width).reshape(-1, width)
        worth: Numbers = np.minimum(found[:, :-1], self.left).sum(1)
        return worth

    def take(self, labels: Numbers) -> None:
        """Count the labels of a window, `[L]`, as met."""
        tokens, counts = np.unique(self._rows(labels), return_counts=True)
        before = np.minimum(self._labelled[tokens], self._per_token)
        self._labelled[tokens] += counts
        after = np.minimum(self._labelled[tokens], self._per_token)
        self.met = self.met + self._added_up(tokens, after - before)
        self.ask(self._asked)

    def _rows(self, labels: Numbers | NDArray[np.int32]) -> Numbers:
        outside = len(self._labelled) - 1
        return np.where(labels < 0, outside, np.minimum(labels, outside))

    def _added_up(self, tokens: Numbers, counts: Numbers) -> Numbers:
        found = np.zeros(self.count + 1, dtype=np.int64)
        np.add.at(found, self._of_token[tokens], counts[:, None])
        return found[:-1]


def greedy_cover(stream: Stream, values: Values, most: int) -> list[int]:
    """The windows that are taken, the one that adds most first; of equal ones the earlier.

    Args:
        stream: where they are taken from.
        values: what is asked; afterwards what they meet.
        most: how many there may be.
    """
    step = max(1, _ENTRIES // max(values.count + 1, stream.labels * values.attributes))
    known = np.concatenate(
        [
            values.worth(_labels(stream, np.arange(first, min(first + step, len(stream)))))
            for first in range(0, len(stream), step)
        ]
    )
    taken: list[int] = []
    while len(taken) < most and values.left.any():
        best = _best(stream, values, known)
        values.take(_labels(stream, [best])[0])
        known[best] = 0
        taken.append(best)
    return taken


def _best(stream: Stream, values: Values, known: Numbers) -> int:
    """The window that adds most; `known`, what each has added at most, is brought up to date."""
    is_new = known == 0
    while not is_new[best := int(known.argmax())]:
        open_ = np.where(is_new, -1, known)
        some = np.argpartition(open_, -min(_WINDOWS, len(open_)))[-_WINDOWS:]
        some = some[~is_new[some]]  # what is taken stays so
        known[some] = values.worth(_labels(stream, some))
        is_new[some] = True
    return best


def _labels(stream: Stream, windows: Sequence[int] | Numbers) -> Numbers:
    """The labels of windows, int64 `[w, L]`; -1 where an earlier window has them."""
    labels = stream.spans(windows)[:, 1:]
    earlier = np.arange(stream.labels) < stream.repeated(windows)[:, None]
    return np.where(earlier, -1, labels)
