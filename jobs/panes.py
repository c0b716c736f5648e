"""The sketches of a house's local days, kept so that a batch which adds to them costs little.

What a batch adds is kept as it comes, a *piece*, and merged into the day's sketches once there are MOST_PIECES: a merge
costs many times what writing a piece does.
"""

from __future__ import annotations

import struct

import numpy as np

from jobs.readings import NEVER
from jobs.sketch import Sketches

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


def _sketches(entries: np.ndarray) -> Sketches:
    return Sketches.from_bins(entries["meter_id"], entries["bin"], entries["count"])
