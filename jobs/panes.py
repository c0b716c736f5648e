"""The sketches of a house's local days, kept so that a batch which adds to them costs little.

What a batch adds is kept as it comes, a *piece*, and merged into the day's sketches once there are MOST_PIECES: a merge
costs many times what writing a piece does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from jobs.readings import NEVER
from jobs.sketch import Sketches
from smartmeter.compiled import compiled

ENTRY = np.dtype([("meter_id", "<i4"), ("bin", "<u2"), ("count", "<u4")])
"""10 bytes: what a section adds to a bin of its meter's sketch."""

MOST_PIECES = 8
_DUE = struct.Struct("<q")
_DAY = np.dtype([("day", "<i4"), ("pieces", "<i4")])


class Panes:
    """The panes of a house, and when its window is due to move. state: bytes by name, with get, put and remove."""

    def __init__(self, state):
        self.state = state
        known = state.get("panes") or _DUE.pack(NEVER)
        [self.due_ms] = _DUE.unpack_from(known)
        self.pieces = dict(np.frombuffer(known, _DAY, offset=_DUE.size).tolist())

    def add(self, day: int, entries: np.ndarray) -> None:
        """Count in what a batch brings for a day (ENTRY)."""
        number = self.pieces.setdefault(day, 0)
        if number < MOST_PIECES:
            self.state.put(f"pane/{day}/{number}", entries.tobytes())
            self.pieces[day] += 1
        else:
            self.merge(day, _sketches(entries))

    def merge(self, day: int, *more: Sketches) -> Sketches:
        """The sketches of a local day and `more` of it, kept as one value from now on."""
        merged = self.get(day).merge(*more)
        if day in self.pieces:
            self._drop_pieces(day)
            self.state.put(f"pane/{day}", merged.to_bytes())
        return merged

    def get(self, day: int) -> Sketches:
        """The sketches of a local day; empty ones where there are none."""
        merged = self.state.get(f"pane/{day}")
        pieces = [np.frombuffer(self.state.get(f"pane/{day}/{n}"), ENTRY) for n in range(self.pieces.get(day, 0))]
        return (Sketches.from_bytes(merged) if merged else Sketches.empty()).merge(*map(_sketches, pieces))

    def remove_before(self, day: int) -> Sketches:
        """Drop the days before one. Returns their sketches, merged."""
        old = [d for d in self.pieces if d < day]
        merged = Sketches.empty().merge(*map(self.get, old))
        for d in old:
            self._drop_pieces(d)
            self.state.remove(f"pane/{d}")
            del self.pieces[d]
        return merged

    def keep(self) -> None:
        """Write which panes there are, and when the window is due."""
        self.state.put("panes", _DUE.pack(self.due_ms) + np.array(list(self.pieces.items()), _DAY).tobytes())

    def _drop_pieces(self, day: int) -> None:
        for number in range(self.pieces[day]):
            self.state.remove(f"pane/{day}/{number}")
        self.pieces[day] = 0


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


def _sketches(entries: np.ndarray) -> Sketches:
    return Sketches.from_bins(entries["meter_id"], entries["bin"], entries["count"])
