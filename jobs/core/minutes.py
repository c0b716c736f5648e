"""The power of each meter in each minute (UTC): lowest, mean and highest reading. Readings may come in any order.

What a section adds to a minute is a *piece*. When the house's clock is SETTLED_AFTER_MS past the end of a minute, the minute is *settled*:
it is emitted and dropped from state. Pieces that arrive earlier are merged into its main part. A piece that arrives later is emitted
immediately, as a *part* of its own that is named by the start of its section. Used sections of a meter never overlap, so these names are
unique, and nothing that was emitted needs to be kept. The house's newest reading before a piece's burst decides which of the two applies,
so the result does not depend on how bursts were batched.

A mean is computed from whole mW. Integer sums do not depend on their order, so results are the same to the last bit however the readings
were cut. A minute has at most 60,000 readings of a meter, as each has a ms of its own, and each is at most a gigawatt
(smartmeter.power.MOST_WATTS), so a sum does not overflow.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from jobs.core.readings import Readings
from jobs.core.state_version import require_version
from smartmeter.arrays import Bools, Rows
from smartmeter.compiled import compiled
from smartmeter.loops import append
from smartmeter.settings import MINUTE_MS

SETTLED_AFTER_MS = 10_000
PLUS_ZERO = np.float32(0)
"""Added to turn -0.0 into 0.0: otherwise the order of readings would decide which of the two is the lowest, or the highest."""

STATE_VERSION = 1
_HEAD = struct.Struct("<B")

PIECE = np.dtype(
    [
        ("minute", "i4"),  # minutes since 1970-01-01T00:00Z
        ("readings", "i4"),
        ("min_watts", "f4"),
        ("max_watts", "f4"),
        ("sum_mw", "i8"),
    ]
)
"""24 bytes."""

PART = np.dtype(
    [
        ("part", "i8"),  # 0: the main part; else the start in ms of the late section
        ("meter_id", "i4"),
        *PIECE.descr,
    ]
)
"""36 bytes."""


def pieces(sections: Rows, readings: Readings) -> Rows:
    """PIECE of each minute with readings, by section and then rising; fills in sections["minutes"]."""
    found = np.empty(len(readings.columns.watts), PIECE)
    return found[: _fill(found, sections, readings.columns.gap_ms, readings.columns.watts)].copy()


@compiled
def _fill(pieces, sections, gap_ms, watts):
    """Fill in the pieces of all sections. Returns their number."""
    n = p = 0
    for s in range(len(sections)):
        begin, time_ms, end = p, sections[s].first_ms, n + sections[s].readings
        while n < end:
            minute = time_ms // MINUTE_MS
            until_ms, first = (minute + 1) * MINUTE_MS, n
            low, high, sum_mw = np.float32(np.inf), np.float32(-np.inf), np.int64(0)
            while n < end and time_ms < until_ms:
                low, high, sum_mw = min(low, watts[n]), max(high, watts[n]), sum_mw + whole_mw(watts[n])
                n += 1
                if n < end:
                    time_ms += gap_ms[n]
            piece = pieces[p]
            piece.minute, piece.readings, piece.min_watts, piece.max_watts, piece.sum_mw = (
                minute,
                n - first,
                low + PLUS_ZERO,
                high + PLUS_ZERO,
                sum_mw,
            )
            p += 1
        sections[s].minutes = p - begin
    return p


@compiled
def whole_mw(watts):
    """A power in mW."""
    return np.int64(np.rint(np.float64(watts) * 1000))


@compiled
def mean_watts(minutes):
    """float32, the mean of each PART: exact to 0.5 mW and the precision of a float32."""
    means = np.empty(len(minutes), np.float32)
    for i in range(len(minutes)):
        mean = np.float32(minutes[i].sum_mw / (minutes[i].readings * 1000))
        means[i] = min(max(mean, minutes[i].min_watts), minutes[i].max_watts)
    return means


@dataclass(eq=False)
class Minutes:
    """The main parts (PART) of a house's minutes that are not settled: the keyed state of the power profile job."""

    open: Rows = field(default_factory=lambda: np.empty(0, PART))

    def to_bytes(self) -> bytes:
        """These minutes in a stable form, as kept in checkpoints."""
        return _HEAD.pack(STATE_VERSION) + self.open.tobytes()

    @classmethod
    def from_bytes(cls, state: bytes | None) -> Minutes:
        """Inverse of to_bytes; no minutes for None."""
        if state is None:
            return cls()
        require_version(state[0], STATE_VERSION)
        return cls(np.frombuffer(state, PART, offset=_HEAD.size))

    def take(self, sections: Rows, pieces: Rows, used: Bools, before_ms: int, clock_ms: int) -> Rows:
        """Add the pieces (PIECE) of the sections (ARRIVED (s,)) that are used (bool (s,)).

        before_ms, clock_ms: the house's newest reading before these sections, and now. Returns what to emit (PART, by part, meter and
        minute): minutes that are settled now, and pieces that arrived later.
        """
        emitted: Rows
        self.open, emitted = _take(self.open, sections, pieces, used, before_ms, clock_ms)
        return emitted[np.argsort(emitted["part"], kind="stable")] if len(emitted) and emitted["part"].any() else emitted


@compiled
def _take(open_minutes, sections, pieces, used, before_ms, clock_ms):
    """(minutes that stay open, those to emit), both PART by meter and minute."""
    every = np.empty(len(open_minutes) + len(pieces), PART)
    size = _add_pieces(every, append(every, 0, open_minutes), sections, pieces, used, before_ms)
    place = np.empty(size, np.int64)
    for i in range(size):
        place[i] = np.int64(every[i].meter_id) << 32 | every[i].minute
    return _settle(every, np.argsort(place, kind="mergesort"), clock_ms)


@compiled
def _add_pieces(every, size, sections, pieces, used, clock_ms):
    """Fill in every[size:] with a PART for each piece of the used sections. Returns the new number of parts."""
    p = 0
    for s in range(len(sections)):
        section = sections[s]
        for piece in pieces[p : p + section.minutes]:
            if used[s]:
                came_late = settled_ms(piece.minute) <= max(section.before_ms, clock_ms)
                part = every[size]
                part.part, part.meter_id = section.start_ms if came_late else 0, section.meter_id
                part.minute, part.readings, part.sum_mw = piece.minute, piece.readings, piece.sum_mw
                part.min_watts, part.max_watts = piece.min_watts, piece.max_watts
                size += 1
        p += section.minutes
    return size


@compiled
def settled_ms(minute):
    """Time on the house's clock at which a minute is settled."""
    return (np.int64(minute) + 1) * MINUTE_MS + SETTLED_AFTER_MS


@compiled
def _settle(every, order, clock_ms):
    """(parts that stay open, parts to emit), in the given order; main parts of the same meter and minute are merged."""
    kept, emitted, kept_size, emitted_size = np.empty_like(every), np.empty_like(every), 0, 0
    for i in order:
        part = every[i]
        if part.part:
            emitted[emitted_size] = part
            emitted_size += 1
        elif settled_ms(part.minute) <= clock_ms:
            emitted_size = _count_in(emitted, emitted_size, part)
        else:
            kept_size = _count_in(kept, kept_size, part)
    return kept[:kept_size], emitted[:emitted_size]


@compiled
def _count_in(parts, size, part):
    """Merge a main part into the last of parts[:size] if that has the same meter and minute, else append it. Returns the new number."""
    last = parts[size - 1]
    if size > 0 and last.part == 0 and last.minute == part.minute and last.meter_id == part.meter_id:
        last.readings += part.readings
        last.sum_mw += part.sum_mw
        last.min_watts, last.max_watts = min(last.min_watts, part.min_watts), max(last.max_watts, part.max_watts)
        return size
    parts[size] = part
    return size + 1


@compiled
def columns(minutes):
    """(meters, number of minutes of each, delta of each minute), int32, of PARTs sorted by meter and minute.

    A delta counts from the meter's previous minute; for the meter's first, from the first minute of all.
    """
    meter_ids, counts, deltas = np.empty(len(minutes), np.int32), np.empty(len(minutes), np.int32), np.empty(len(minutes), np.int32)
    meters, start = 0, minutes["minute"].min()
    for i in range(len(minutes)):
        if i == 0 or minutes[i].meter_id != minutes[i - 1].meter_id:
            meter_ids[meters], counts[meters], deltas[i] = minutes[i].meter_id, 1, minutes[i].minute - start
            meters += 1
        else:
            counts[meters - 1] += 1
            deltas[i] = minutes[i].minute - minutes[i - 1].minute
    return meter_ids[:meters], counts[:meters], deltas
