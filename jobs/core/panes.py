"""The sketches of a house's local days, stored so that adding a batch is cheap.

Additions to a day are gathered first. When there are many, they are merged into the day's sketches, which are many times larger.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from jobs.core.sketch import Sketches, key_of
from jobs.core.state import HouseState
from smartmeter.arrays import Bools, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import NEVER
from smartmeter.loops import append

ENTRY = np.dtype([("meter_id", "<i4"), ("bin", "<u2"), ("count", "<u4")])
"""10 bytes: the number of readings to add to a bin of a meter's sketch."""

MOST_GATHERED = 400
"""Most gathered entries of a day before they are merged: 4 kB."""
_DUE = struct.Struct("<q")


class Panes:
    """The panes of a house, and the time at which its window must move. state: maps names to bytes, with get, put and remove."""

    def __init__(self, state: HouseState):
        self.state = state
        known = state.get("panes") or _DUE.pack(NEVER)
        [self.due_ms] = _DUE.unpack_from(known)
        self.days = np.frombuffer(known, np.int32, offset=_DUE.size).tolist()

    def add(self, sections: Rows, used: Bools, bin_index: NDArray[np.uint16], count: NDArray[np.uint32]) -> None:
        """Add the histograms (bin, count) of the sections (ARRIVED (s,)) that are used (bool (s,))."""
        if len(bin_index):
            for day in set(sections["day"].tolist()):
                gathered = _gather(self._gathered(day), day, sections, used, bin_index, count)
                if len(gathered):
                    self._put(day, gathered)

    def _put(self, day: int, gathered: Rows) -> None:
        if day not in self.days:
            self.days.append(day)
        self.state.put(f"gathered/{day}", gathered.tobytes())
        if len(gathered) > MOST_GATHERED:
            self.merge(day)

    def merge(self, day: int) -> Sketches:
        """Merge what was gathered for a local day into its sketches. Returns these."""
        merged = self.get(day)
        if day in self.days:
            self.state.remove(f"gathered/{day}")
            self.state.put(f"pane/{day}", merged.to_bytes())
        return merged

    def get(self, day: int) -> Sketches:
        """The sketches of a local day; empty if it has none."""
        merged = self.state.get(f"pane/{day}")
        return (Sketches.from_bytes(merged) if merged else Sketches.empty()).merge(Sketches(*_counted(self._gathered(day))))

    def remove_before(self, day: int) -> Sketches:
        """Drop all days before `day`. Returns their merged sketches."""
        old = [d for d in self.days if d < day]
        merged = Sketches.empty().merge(*map(self.get, old))
        for d in old:
            self.state.remove(f"gathered/{d}")
            self.state.remove(f"pane/{d}")
            self.days.remove(d)
        return merged

    def keep(self) -> None:
        """Write the list of panes and when the window must move."""
        self.state.put("panes", _DUE.pack(self.due_ms) + np.array(self.days, np.int32).tobytes())

    def _gathered(self, day: int) -> Rows:
        return np.frombuffer(self.state.get(f"gathered/{day}") or b"", ENTRY)


@compiled
def _gather(gathered, day, sections, used, bin_index, count):
    """The gathered entries plus those of a day's used sections, sorted by meter and bin."""
    every, e = np.empty(len(gathered) + len(bin_index), ENTRY), 0
    size = append(every, 0, gathered)
    for s in range(len(sections)):
        for own in range(e, e + sections[s].bins):
            if used[s] and sections[s].day == day:
                size = _count_in(every, size, sections[s].meter_id, bin_index[own], count[own])
        e += sections[s].bins
    return every[:size]


@compiled
def _counted(gathered):
    """(keys, counts) of the gathered entries of a day; see Sketches."""
    keys, counts = np.empty(len(gathered), np.int64), np.empty(len(gathered), np.int64)
    for e in range(len(gathered)):
        keys[e], counts[e] = key_of(gathered[e].meter_id, gathered[e].bin), gathered[e].count
    return keys, counts


@compiled
def _count_in(entries, size, meter_id, bin_index, count):
    """Add to the entry of a meter and bin in entries[:size], or insert a new one there. Returns the new number of entries."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if entries[middle].meter_id < meter_id or (entries[middle].meter_id == meter_id and entries[middle].bin < bin_index):
            low = middle + 1
        else:
            high = middle
    if low < size and entries[low].meter_id == meter_id and entries[low].bin == bin_index:
        entries[low].count += count
        return size
    for other in range(size, low, -1):
        entries[other] = entries[other - 1]
    entries[low].meter_id, entries[low].bin, entries[low].count = meter_id, bin_index, count
    return size + 1
