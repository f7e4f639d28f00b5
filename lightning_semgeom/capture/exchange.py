"""The hidden rows of all processes brought together on each of them, in one all-gather.

The rows of one label have to meet before they are averaged, and every process sees other labels:
sums over attribute values would not do. The rows of all sites travel as bytes in the dtype of the
model, in rooms of a fixed size, since nobody knows how many rows the others have.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_semgeom.capture.activations import HiddenRows
from lightning_semgeom.capture.ranks import Ranks

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_FAILED = -1

Found = dict[str, HiddenRows | Exception]


class HiddenExchange:
    """Brings the rows of all processes together.

    Args:
        sites: the hidden sites, the same on all processes.
        capacity: the most rows that a process has of a site.
        ranks: the processes.
    """

    def __init__(self, sites: tuple[str, ...], capacity: int, ranks: Ranks) -> None:
        self._ranks = ranks
        self._capacity = capacity
        self._widths = dict.fromkeys(sites, 0)
        self._dtypes = dict.fromkeys(sites, torch.float32)

    def all_rows(self, own: Mapping[str, HiddenRows | Exception]) -> Found:
        """For each site the rows of all processes; an exception on all where one of them failed."""
        if self._ranks.size == 1:
            return dict(own)
        self._learn_widths(own)
        own = {site: self._checked(site, found) for site, found in own.items()}
        shapes = {site: self._sizes(site) for site, width in self._widths.items() if width}
        gathered = self._ranks.gathered(self._packed(own, shapes))
        counts = gathered[:, : 8 * len(self._widths)].contiguous().view(torch.int64)
        answer: Found = {}
        start = 8 * len(self._widths)
        for index, site in enumerate(self._widths):
            rooms = gathered[:, start : start + sum(shapes.get(site, ()))]
            start += rooms.shape[1]
            found = counts[:, index].tolist()
            fault = self._ranks.agreed(own[site], found.count(_FAILED))
            answer[site] = fault or self._unpacked(site, rooms, found)
        return answer

    def _learn_widths(self, own: Mapping[str, HiddenRows | Exception]) -> None:
        """Agree on widths and dtypes, once: a process that fails has to know what others send."""
        unknown = [site for site, width in self._widths.items() if not width]
        if not unknown:
            return
        rows = {site: found.rows for site, found in own.items() if isinstance(found, HiddenRows)}
        widths = [rows[site].shape[1] if site in rows else 0 for site in unknown]
        kinds = [_DTYPES.index(rows[site].dtype) if site in rows else 0 for site in unknown]
        agreed = self._ranks.largest([*widths, *kinds])
        for site, width, kind in zip(
            unknown, agreed[: len(unknown)], agreed[len(unknown) :], strict=True
        ):
            self._widths[site], self._dtypes[site] = width, _DTYPES[kind]

    def _sizes(self, site: str) -> tuple[int, int]:
        """Bytes of labels and rows, in full words: each part begins where its dtype may."""
        row = self._widths[site] * self._dtypes[site].itemsize
        return 8 * self._capacity, -(-row * self._capacity // 8) * 8

    def _packed(
        self, own: Mapping[str, HiddenRows | Exception], shapes: Mapping[str, tuple[int, int]]
    ) -> Tensor:
        counts, parts = [], []
        device = self._ranks.device
        for site in self._widths:
            found = own[site]
            if isinstance(found, Exception):
                counts.append(_FAILED)
                size = sum(shapes.get(site, ()))
                parts.append(torch.zeros(size, dtype=torch.uint8, device=device))
                continue
            counts.append(found.rows.shape[0])
            values = (found.labels, found.rows.to(self._dtypes[site]))
            for value, size in zip(values, shapes[site], strict=True):
                data = value.to(device).contiguous().view(torch.uint8).flatten()
                parts.append(torch.nn.functional.pad(data, (0, size - data.numel())))
        header = torch.tensor(counts, dtype=torch.int64, device=device).view(torch.uint8)
        return torch.cat([header, *parts])

    def _checked(self, site: str, found: HiddenRows | Exception) -> HiddenRows | Exception:
        if isinstance(found, Exception) or found.rows.shape[1] == self._widths[site]:
            return found
        return ValueError(
            f"{site} is {found.rows.shape[1]} wide, but was {self._widths[site]} on some process."
        )

    def _unpacked(self, site: str, rooms: Tensor, counts: list[int]) -> HiddenRows:
        labels_size, _ = self._sizes(site)
        width, dtype = self._widths[site], self._dtypes[site]
        labels = rooms[:, :labels_size].contiguous().view(torch.int64)
        rows_size = self._capacity * width * dtype.itemsize
        rows = rooms[:, labels_size : labels_size + rows_size].contiguous().view(dtype)
        rows = rows.view(len(counts), self._capacity, width)
        return HiddenRows.joined(
            [HiddenRows(rows[r, :count], labels[r, :count]) for r, count in enumerate(counts)]
        )
