"""The sketches of a house's local days, kept so that a batch which adds to them costs little.

What batches add to a day is gathered first, and merged into the day's sketches when there is much of it: these are many times larger.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from jobs.readings import NEVER
from jobs.sketch import Sketches
from smartmeter.compiled import compiled

ENTRY = np.dtype([("meter_id", "<i4"), ("bin", "<u2"), ("count", "<u4")])
"""10 bytes: how many readings a bin of a meter's sketch has more."""

MOST_GATHERED = 400
"""Entries of a day: 4 kB."""
_DUE = struct.Struct("<q")


class Panes:
    """The panes of a house, and when its window is due to move. state: bytes by name, with get, put and remove."""

    def __init__(self, state):
        self.state = state
        known = state.get("panes") or _DUE.pack(NEVER)
        [self.due_ms] = _DUE.unpack_from(known)
        self.days = np.frombuffer(known, np.int32, offset=_DUE.size).tolist()

    def add(self, day: int, entries: np.ndarray) -> None:
        """Count in what a batch brings for a day (ENTRY, in any order)."""
        if day not in self.days:
            self.days.append(day)
        gathered = summed(np.concatenate([self._gathered(day), entries], dtype=ENTRY))
        if len(gathered) <= MOST_GATHERED:
            self.state.put(f"gathered/{day}", gathered.tobytes())
        else:
            self.merge(day, _sketches(entries))

    def merge(self, day: int, *more: Sketches) -> Sketches:
        """The sketches of a local day and `more` of it, kept as one value from now on."""
        merged = self.get(day).merge(*more)
        if day in self.days:
            self.state.remove(f"gathered/{day}")
            self.state.put(f"pane/{day}", merged.to_bytes())
        return merged

    def get(self, day: int) -> Sketches:
        """The sketches of a local day; empty ones where there are none."""
        merged = self.state.get(f"pane/{day}")
        return (Sketches.from_bytes(merged) if merged else Sketches.empty()).merge(_sketches(self._gathered(day)))

    def remove_before(self, day: int) -> Sketches:
        """Drop the days before one. Returns their sketches, merged."""
        old = [d for d in self.days if d < day]
        merged = Sketches.empty().merge(*map(self.get, old))
        for d in old:
            self.state.remove(f"gathered/{d}")
            self.state.remove(f"pane/{d}")
            self.days.remove(d)
        return merged

    def keep(self) -> None:
        """Write which panes there are, and when the window is due."""
        self.state.put("panes", _DUE.pack(self.due_ms) + np.array(self.days, np.int32).tobytes())

    def _gathered(self, day: int) -> np.ndarray:
        return np.frombuffer(self.state.get(f"gathered/{day}") or b"", ENTRY)


def by_day(sections: np.ndarray, used: np.ndarray, bin: np.ndarray, count: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (local day, ENTRYs) of the sections (ARRIVED (b,)) that are used (bool (b,)) and their histograms, rising by day."""
    entries, day = np.empty(len(bin), ENTRY), np.empty(len(bin), np.int32)
    filled = _fill(entries, day, sections, used, bin, count)
    entries, day = entries[:filled], day[:filled]
    if filled and day[0] == day.max() == day.min():
        yield int(day[0]), entries
    else:
        for own in np.unique(day).tolist():
            yield own, entries[day == own]


@compiled
def _fill(entries, day, sections, used, bin, count):
    """Fill in an entry and its day for each bin of the sections that are used. Returns how many there are."""
    filled = b = 0
    for s in range(len(sections)):
        if used[s]:
            for own in range(b, b + sections[s].bins):
                entries[filled].meter_id, entries[filled].bin, entries[filled].count = sections[s].meter_id, bin[own], count[own]
                day[filled] = sections[s].day
                filled += 1
        b += sections[s].bins
    return filled


def summed(entries: np.ndarray) -> np.ndarray:
    """The ENTRYs by meter and bin, those of the same made one."""
    return _sum(entries, np.argsort(entries["meter_id"].astype(np.int64) << 16 | entries["bin"], kind="stable"))


@compiled
def _sum(entries, order):
    """Sum up the entries, which `order` puts in order."""
    summed, n = np.empty_like(entries), 0
    for i in order:
        if n > 0 and summed[n - 1].meter_id == entries[i].meter_id and summed[n - 1].bin == entries[i].bin:
            summed[n - 1].count += entries[i].count
        else:
            summed[n] = entries[i]
            n += 1
    return summed[:n]


def _sketches(entries: np.ndarray) -> Sketches:
    return Sketches.from_bins(entries["meter_id"], entries["bin"], entries["count"])
