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
        gathered = self._ranks.gathered(self._packed(own))
        words = 8 * len(self._widths) * (1 + self._capacity)
        # All that is asked of the device, for all sites at once.
        head = gathered[:, :words].contiguous().view(torch.int64).cpu()
        counts, labels = head[:, : len(self._widths)], head[:, len(self._widths) :]
        answer: Found = {}
        sizes = [self._size(site) for site in self._widths]
        rooms = torch.split(gathered[:, words:], sizes, dim=1)
        of_sites = torch.split(labels, self._capacity, dim=1)
        for site, found, of_site, room in zip(
            self._widths, counts.T.tolist(), of_sites, rooms, strict=True
        ):
            fault = self._ranks.agreed(own[site], found.count(_FAILED))
            answer[site] = fault or self._unpacked(site, room, of_site, found)
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

    def _size(self, site: str) -> int:
        """Bytes of the rows, in full words: each part begins where its dtype may."""
        return -(-self._widths[site] * self._dtypes[site].itemsize * self._capacity // 8) * 8

    def _packed(self, own: Mapping[str, HiddenRows | Exception]) -> Tensor:
        """Counts of rows, labels and rows, of all sites each."""
        head = torch.zeros(1 + self._capacity, len(self._widths), dtype=torch.int64)
        device, rooms = self._ranks.device, []
        for column, site in zip(head.T, self._widths, strict=True):
            found = own[site]
            if isinstance(found, Exception):
                column[0] = _FAILED
                rooms.append(torch.zeros(self._size(site), dtype=torch.uint8, device=device))
                continue
            column[0] = len(found.labels)
            column[1 : 1 + len(found.labels)] = found.labels
            rows = found.rows.to(device, self._dtypes[site]).contiguous()
            data = rows.view(torch.uint8).flatten()
            rooms.append(torch.nn.functional.pad(data, (0, self._size(site) - data.numel())))
        words = torch.cat([head[0], head[1:].T.flatten()])
        return torch.cat([words.view(torch.uint8).to(device, non_blocking=True), *rooms])

    def _checked(self, site: str, found: HiddenRows | Exception) -> HiddenRows | Exception:
        if isinstance(found, Exception) or found.rows.shape[1] == self._widths[site]:
            return found
        return ValueError(
            f"{site} is {found.rows.shape[1]} wide, but was {self._widths[site]} on some process."
        )

    def _unpacked(self, site: str, room: Tensor, labels: Tensor, counts: list[int]) -> HiddenRows:
        width, dtype = self._widths[site], self._dtypes[site]
        size = self._capacity * width * dtype.itemsize
        rows = room[:, :size].contiguous().view(dtype).view(len(counts), self._capacity, width)
        return HiddenRows.joined(
            [HiddenRows(rows[r, :count], labels[r, :count]) for r, count in enumerate(counts)]
        )
