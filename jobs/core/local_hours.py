"""The local hours of a day: when each begins, in any time zone.

A local hour begins when the clock shows a full hour, and when the clocks change. So the hours cover a day without a gap. An hour that
occurs twice counts as two, and an hour cut by a change of clocks is shorter. Each is named by its start in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

from smartmeter.arrays import Int32s, Ints
from smartmeter.compiled import compiled
from smartmeter.local_days import MOST_MIDNIGHTS, day_of, midnights
from smartmeter.settings import DAY_MS, MINUTE_MS
from smartmeter.timezones import zone

HOUR_MS = 3_600_000
STEP_MS = 900_000
"""No clock changes and changes back within this time."""

NO_EDGES = np.empty(0, np.int64)


@compiled
def hour_of(time_ms, begin_ms, end_ms, edges):
    """(start, end) of the local hour that contains a time, in ms.

    begin_ms, end_ms: the local day that contains it. edges: int64, rising, the starts of the hours of all days that are not 24 h long (see
    `edges_of`).
    """
    if end_ms - begin_ms == DAY_MS:
        start_ms = begin_ms + (time_ms - begin_ms) // HOUR_MS * HOUR_MS
        return start_ms, start_ms + HOUR_MS
    after = np.searchsorted(edges, time_ms, side="right")
    return edges[after - 1], min(edges[after], end_ms) if after < len(edges) else end_ms


def edges_of(timezone: str, days: Ints) -> Ints:
    """int64, rising: the starts (ms) of all hours in those local days, out of some (int (n,)), that are not 24 h long."""
    odd = _odd_days(timezone).intersection(days.tolist())
    return np.concatenate([_starts(timezone, day) for day in sorted(odd)]) if odd else NO_EDGES


@lru_cache(maxsize=MOST_MIDNIGHTS)
def _odd_days(timezone: str) -> frozenset[int]:
    """The local days that are not 24 h long."""
    return frozenset(np.flatnonzero(np.diff(midnights(timezone)) != DAY_MS).tolist())


@lru_cache(maxsize=4096)
def _starts(timezone: str, day: int) -> Ints:
    """int64, rising: the starts (ms) of the hours of a local day, computed from its clock."""
    begin_ms, end_ms = midnights(timezone)[day : day + 2].tolist()
    starts, since_ms = [], begin_ms
    while since_ms < end_ms:
        offset_ms, until_ms = _offset_ms(timezone, since_ms), _change(timezone, since_ms, end_ms)
        first_ms = -(-(since_ms + offset_ms) // HOUR_MS) * HOUR_MS - offset_ms
        starts += [since_ms, *range(first_ms + HOUR_MS * (first_ms == since_ms), until_ms, HOUR_MS)]
        since_ms = until_ms
    return np.array(starts, np.int64)


def start_of_hour(timezone: str, time_ms: int) -> int:
    """The start (ms) of the local hour that contains a time."""
    starts = _starts(timezone, int(day_of(timezone, time_ms)))
    return int(starts[np.searchsorted(starts, time_ms, side="right") - 1])


def _change(timezone: str, since_ms: int, end_ms: int) -> int:
    """The first time after since_ms, in ms, at which the clocks change; end_ms if they do not change before it."""
    offset_ms = _offset_ms(timezone, since_ms)
    for at_ms in range(since_ms, end_ms, STEP_MS):
        same, other = at_ms, min(at_ms + STEP_MS, end_ms)
        if _offset_ms(timezone, other) != offset_ms:
            while other - same > 1:
                middle = (same + other) // 2
                same, other = (middle, other) if _offset_ms(timezone, middle) == offset_ms else (same, middle)
            return other
    return end_ms


def _offset_ms(timezone: str, time_ms: int) -> int:
    offset = _local(timezone, time_ms).utcoffset()
    assert offset is not None
    return offset // timedelta(milliseconds=1)


def _local(timezone: str, time_ms: int) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)).astimezone(zone(timezone))


@lru_cache(maxsize=4096)
def clock_hour(timezone: str, time_ms: int) -> int:
    """The hour, 0 to 23, on the local clock."""
    return _local(timezone, time_ms).hour


def clock_minutes(timezone: str, minutes: Int32s) -> Int32s:
    """int32 (n,): what the local clock shows at each minute since 1970, in minutes since 00:00."""
    times_ms, bounds = minutes.astype(np.int64) * MINUTE_MS, midnights(timezone)
    days = day_of(timezone, times_ms)
    shown = (times_ms - bounds[days]) // MINUTE_MS
    for i in np.flatnonzero(bounds[days + 1] - bounds[days] != DAY_MS).tolist():
        at = _local(timezone, int(times_ms[i]))
        shown[i] = 60 * at.hour + at.minute
    return shown.astype(np.int32)
