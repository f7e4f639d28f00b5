"""What the pictures of a site draw: one small file a capture, read without the model.

Legend: m cells in attribute order, n_c rows each; K the inner products of their mean unit vectors;
A attributes with V values in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from itertools import groupby
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np

from lightning_semgeom.stores import make_folder, read, write

MIXED = "\N{HORIZONTAL ELLIPSIS}"
"""The label of a cell whose rows have several values."""


@dataclass(frozen=True)
class Shared:
    """Mean cosine of the pairs of rows that share the same number of attributes."""

    attributes: tuple[str, ...]
    """Those that count: no cell mixes their values."""
    cosine: np.ndarray
    """fp64 `[len(attributes) + 1]`, by number of shared attributes; NaN where there is no pair."""
    pairs: np.ndarray
    """fp64 `[len(attributes) + 1]`: number of ordered pairs."""


@dataclass(frozen=True)
class SitePicture:
    """The Gram of a site's cells, and how alike the rows of each attribute value are."""

    gram: np.ndarray
    """fp32 `[m, m]`: K, the mean cosine of two cells; with one row a cell, of two rows."""
    rows: np.ndarray
    """int64 `[m]`: n_c."""
    labels: np.ndarray
    """str `[m, A]`: the value that all rows of a cell have; "" not labelled; `MIXED` several."""
    attributes: np.ndarray
    """str `[A]`."""
    values: np.ndarray
    """str `[V, 2]`: attribute and value."""
    value_rows: np.ndarray
    """int64 `[V]`: number of rows with the value."""
    value_within: np.ndarray
    """fp64 `[V]`: mean cosine over pairs of different rows with the value."""

    def save(self, path: Path) -> None:
        """Write it as .npz.

        Raises:
            OSError: if the file cannot be written.
        """
        make_folder(path.parent)
        content = BytesIO()
        # A step waits for it: numbers, which hardly shrink, are not compressed.
        with ZipFile(content, "w") as arrays:
            for field in fields(self):
                array, file = getattr(self, field.name), BytesIO()
                np.lib.format.write_array(file, array, allow_pickle=False)
                how = ZIP_DEFLATED if array.dtype.kind == "U" else ZIP_STORED
                arrays.writestr(f"{field.name}.npy", file.getvalue(), how)
        write(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> SitePicture:
        """Read what `save` wrote."""
        with np.load(BytesIO(read(path))) as stored:
            return cls(**{f.name: stored[f.name] for f in fields(cls)})

    def bands(self, attribute: int = 0) -> list[tuple[str, int]]:
        """Runs of cells with one label: label and number of cells, in order."""
        return [(label, len([*run])) for label, run in groupby(self.labels[:, attribute].tolist())]

    def unmixed(self) -> tuple[str, ...]:
        """The attributes whose values no cell mixes."""
        return tuple(self.attributes[self._whole()].tolist())

    def _whole(self) -> list[int]:
        return [a for a in range(self.labels.shape[1]) if MIXED not in self.labels[:, a]]

    def shared(self) -> Shared:
        """How alike rows are by the number of attributes they share, over all pairs of rows."""
        whole = self._whole()
        number = np.zeros(self.gram.shape, dtype=np.int64)
        for a in whole:
            known, codes = np.unique(self.labels[:, a], return_inverse=True)
            codes[known[codes] == ""] = -1  # shares nothing, not even with itself
            number += (codes[:, None] == codes) & (codes >= 0)
        pairs = np.outer(self.rows, self.rows) - np.diag(self.rows)
        cosines = np.outer(self.rows, self.rows) * self.gram.astype(np.float64)
        cosines -= np.diag(self.rows)  # each row with itself
        found = np.outer(self.rows > 0, self.rows > 0)
        count, total = (
            np.bincount(number[found], of_pairs[found], len(whole) + 1).astype(np.float64)
            for of_pairs in (pairs, cosines)
        )
        mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return Shared(self.unmixed(), mean, count)

    def map(self) -> tuple[np.ndarray, np.ndarray]:
        """The two principal components of the unit vectors' cell means, rows as weights.

        They follow from K alone: the eigenvectors of its centred form (Gower, "Some distance
        properties of latent root and vector methods used in multivariate analysis", 1966).

        Returns:
            fp64 `[m, 2]` positions, NaN for a cell without a row, and fp64 `[2]` the share of the
            cells' spread that each axis shows, NaN without any spread.
        """
        positions, shares = np.full((len(self.rows), 2), np.nan), np.full(2, np.nan)
        known = self.rows > 0
        weight = self.rows[known] / max(self.rows.sum(), 1)
        gram = self.gram[np.ix_(known, known)].astype(np.float64)
        side = weight @ gram
        root = np.sqrt(weight)
        centred = (gram - side - side[:, None] + side @ weight) * np.outer(root, root)
        if len(weight) < 2:
            positions[known] = 0.0
            return positions, shares
        sizes, axes = np.linalg.eigh(centred)
        sizes, axes = np.maximum(sizes[:-3:-1], 0), axes[:, :-3:-1]
        # An axis has no direction of its own: the heavier side is shown to the right, and above.
        axes = axes * np.where((axes**3).sum(0) < 0, -1, 1)
        positions[known] = axes * np.sqrt(sizes) / root[:, None]
        spread = np.trace(centred)
        return positions, sizes / spread if spread > 1e-9 else shares


def turned_towards(positions: np.ndarray, before: np.ndarray) -> np.ndarray:
    """`positions` `[m, 2]` rotated and mirrored to lie as near to `before` as they can.

    Between two captures the principal axes may turn or change places; what one looks at should not
    (orthogonal Procrustes).
    """
    if positions.shape != before.shape:
        return positions
    known = np.isfinite(positions + before).all(1)
    left, _, right = np.linalg.svd(positions[known].T @ before[known])
    turned: np.ndarray = positions @ (left @ right)
    return turned


def labels_of(codes: Sequence[Sequence[int]], names: Sequence[Sequence[str]]) -> np.ndarray:
    """The labels str `[m, A]` of cells with `codes`: -1 not labelled, below that several values."""
    label = {-1: "", -2: MIXED}
    rows = [
        [
            values[code] if code >= 0 else label[code]
            for code, values in zip(row, names, strict=True)
        ]
        for row in codes
    ]
    return np.array(rows, dtype=np.str_).reshape(len(rows), len(names))
