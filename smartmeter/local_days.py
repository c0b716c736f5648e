"""Local days of a time zone: 23 or 25 hours long when the clocks change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from itertools import groupby
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from smartmeter.arrays import Ints
from smartmeter.settings import DAY_MS
from smartmeter.timezones import zone

EPOCH, LAST_DAY = datetime(1970, 1, 1), date(2200, 1, 1)
PROBE_MS = 900_000
"""UTC offsets change at whole quarters of an hour."""
NEVER = -(2**62)
"""A time before all others, in ms."""

MOST_MIDNIGHTS = 64
"""Time zones whose midnights stay in memory, 0.7 MB each. For any other zone they are computed from its changes, in about 1.5 ms."""


@lru_cache(maxsize=MOST_MIDNIGHTS)
def midnights(timezone: str) -> Ints:
    """int64 array: the local midnight that begins day d (days since 1970-01-01), in ms since 1970-01-01T00:00Z.

    Day d lasts from midnights[d] to midnights[d + 1]: 23 or 25 hours when the clocks change.
    """
    first_days, offsets_ms = _changes(timezone)
    days = (LAST_DAY - EPOCH.date()).days
    return np.arange(days) * DAY_MS - np.repeat(offsets_ms, np.diff(first_days, append=days))


@cache
def _changes(timezone: str) -> tuple[Ints, Ints]:
    """(first day, offset from UTC in ms as of its midnight), int64 each, of every stretch of days with one offset; some kB a zone."""
    local = zone(timezone)

    def offset(day: int) -> timedelta:
        return local.utcoffset((EPOCH + timedelta(days=day)).replace(tzinfo=local)) or timedelta()

    days = (LAST_DAY - EPOCH.date()).days
    found = [(0, before := offset(0))]
    for day in range(7, days + 7, 7):
        if (after := offset(day)) != before:  # the clocks change in this week
            for day_within in range(day - 6, day + 1):
                if (own := offset(day_within)) != found[-1][1]:
                    found.append((day_within, own))
            before = after
    found = [change for change in found if change[0] < days]
    return np.array([day for day, _ in found]), np.array([round(own.total_seconds() * 1000) for _, own in found])


@overload
def day_of(timezone: str, time_ms: int) -> np.intp: ...
@overload
def day_of(timezone: str, time_ms: Ints) -> NDArray[np.intp]: ...


def day_of(timezone: str, time_ms: Any) -> Any:
    """The local day (days since 1970-01-01) that contains a time, or each time of an array."""
    return midnights(timezone).searchsorted(time_ms, side="right") - 1


def days_of(timezones: list[str], zone_at: Ints, time_ms: Ints) -> Ints:
    """int64 (n,): the local day that contains each time, in the time zone timezones[zone_at]. zone_at, time_ms: int (n,)."""
    return _by_zone(timezones, zone_at, time_ms, day_of)


def midnights_of(timezones: list[str], zone_at: Ints, day: Ints) -> Ints:
    """int64 (n,): the local midnight (ms) that begins each day, in the time zone timezones[zone_at]. zone_at, day: int (n,)."""
    return _by_zone(timezones, zone_at, day, lambda name, days: midnights(name)[days])


def _by_zone(timezones: list[str], zone_at: Ints, values: Ints, function: Callable[[str, Ints], Ints]) -> Ints:
    """int64 (n,): function(time zone, values), evaluated once for each zone."""
    names = {name: number for number, name in enumerate(dict.fromkeys(timezones))}
    number, found = np.array([names[name] for name in timezones])[zone_at], np.empty(len(values), np.int64)
    for name, own in names.items():
        here = number == own
        found[here] = function(name, values[here])
    return found


def midnight_ms(day: date, timezone: str) -> int:
    """The instant, in ms since 1970-01-01T00:00Z, at which a local day begins."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone(timezone)).timestamp()) * 1000


def day_bounds_ms(day: date, timezone: str) -> tuple[int, int]:
    """[start, end) of a local day."""
    return midnight_ms(day, timezone), midnight_ms(day + timedelta(days=1), timezone)


def local_date(time_ms: int, timezone: str) -> date:
    """The local day that contains an instant."""
    return datetime.fromtimestamp(time_ms / 1000, zone(timezone)).date()


def now_ms() -> int:
    """The present instant."""
    return round(time.time() * 1000)


def dates(first: date, end: date) -> Iterator[date]:
    """The days of [first, end)."""
    return (first + timedelta(days=i) for i in range((end - first).days))


def wall_clock_pieces(day: date, timezone: str) -> list[tuple[int, int, int]]:
    """(start_ms, end_ms, wall_ms) of each piece of a local day with one UTC offset: one piece, or two if the clocks change.

    wall_ms: the wall-clock time at start_ms, in ms since 00:00.
    """
    start, end = day_bounds_ms(day, timezone)
    naive_midnight = int((day - date(1970, 1, 1)).total_seconds()) * 1000

    def offset_ms(time_ms: int) -> int:
        offset = datetime.fromtimestamp(time_ms / 1000, zone(timezone)).utcoffset()
        assert offset is not None
        return int(offset.total_seconds()) * 1000

    starts = [(next(probes), offset) for offset, probes in groupby(range(start, end, PROBE_MS), offset_ms)]
    ends = [begin for begin, _ in starts[1:]] + [end]
    return [(begin, stop, begin + offset - naive_midnight) for (begin, offset), stop in zip(starts, ends)]
