"""The houses of a shard, and which of them wait or have begun anew: lists in the map of the shard."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import numpy as np

from jobs.core.state import Shard

HOUSES, WAITING, BEGUN, ANEW, OPEN_ALERTS = "houses", "waiting", "begun", "anew", "open_alerts"
"""Keys of the map: the three lists, the run (Run.anew) that the third one is of, and the number of open alerts."""

MOST_ON_PAGE = 512
_PAGES = struct.Struct("<QQ")


class HouseList:
    """Houses, each once, in the order in which they were added. A change writes one page, however many houses there are.

    The last page is the value of the list's name in the map, and page n that of name/n. So a list that was written as one value, as before
    December 2026, is a list with one long page. A house takes some 100 bytes of the worker's memory.
    """

    def __init__(self, of_shard: Shard, name: str):
        self._of_shard, self._name = of_shard, name
        self._first, last = _PAGES.unpack(of_shard.get(f"{name}/pages") or bytes(_PAGES.size))
        self._pages = [_ids(of_shard.get(key)) for key in (*(f"{name}/{number}" for number in range(self._first, last)), name)]
        self._houses = {house_id for page in self._pages for house_id in page}

    def __contains__(self, house_id: int) -> bool:
        """Whether a house is in the list."""
        return house_id in self._houses

    def __len__(self) -> int:
        """The number of houses."""
        return len(self._houses)

    def __iter__(self) -> Iterator[int]:
        """The houses, in their order."""
        for page in self._pages:
            yield from page

    def add(self, house_ids: Iterable[int]) -> list[int]:
        """Add the houses that are not in the list yet. Returns these, rising."""
        new = sorted(set(house_ids).difference(self._houses))
        if new:
            if len(self._pages[-1]) >= MOST_ON_PAGE:
                self._pages.append([])
                self._write(len(self._pages) - 2)
                self._count_pages()
            self._pages[-1] += new
            self._houses.update(new)
            self._write(len(self._pages) - 1)
        return new

    def remove(self, house_ids: Iterable[int]) -> None:
        """Remove the houses that are in the list."""
        gone = self._houses.intersection(house_ids)
        self._houses -= gone
        for at, page in enumerate(self._pages):
            if not gone:
                break
            if found := gone.intersection(page):
                page[:] = [house_id for house_id in page if house_id not in found]
                self._write(at)
                gone -= found
        while len(self._pages) > 1 and not self._pages[0]:
            self._of_shard.remove(f"{self._name}/{self._first}")
            del self._pages[0]
            self._first += 1
            self._count_pages()

    def _write(self, at: int) -> None:
        key = self._name if at == len(self._pages) - 1 else f"{self._name}/{self._first + at}"
        self._of_shard.put(key, np.array(self._pages[at], np.int64).tobytes())

    def _count_pages(self) -> None:
        self._of_shard.put(f"{self._name}/pages", _PAGES.pack(self._first, self._first + len(self._pages) - 1))


class ShardHouses:
    """What is known of a shard's houses. anew: the run in which houses begin anew (Run.anew); 0: none."""

    def __init__(self, of_shard: Shard, anew: int):
        self._of_shard = of_shard
        self.known, self.waiting, self.begun = (HouseList(of_shard, name) for name in (HOUSES, WAITING, BEGUN))
        self.open_alerts = int.from_bytes(of_shard.get(OPEN_ALERTS) or b"")
        if anew:
            self._go_on(anew)

    def count_alerts(self, opened: int, closed: int) -> None:
        """Add alerts that opened, and subtract those that closed."""
        if opened != closed:
            self.open_alerts += opened - closed
            self._of_shard.put(OPEN_ALERTS, self.open_alerts.to_bytes(8))

    def _go_on(self, anew: int) -> None:
        """Keep the houses that have begun anew in this run, and drop those of an earlier one. Before December 2026, they followed its number."""
        run, *begun = _ids(self._of_shard.get(ANEW)) or [0]
        if run == anew:
            self.begun.add(begun)
        else:
            self.begun.remove(list(self.begun))
        self._of_shard.put(ANEW, np.array([anew], np.int64).tobytes())


def _ids(page: bytes | None) -> list[int]:
    ids: list[int] = np.frombuffer(page or b"", np.int64).tolist()
    return ids
