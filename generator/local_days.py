"""Local days of a time zone: 23 or 25 hours when the clocks change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from zoneinfo import ZoneInfo

from smartmeter import timezones
from smartmeter.errors import UserError

_PROBE_MS = 900_000  # UTC offsets change at whole quarters of an hour


@lru_cache
def zone(timezone: str) -> ZoneInfo:
    """The zone of an IANA name. Raises UserError for an unknown one."""
    try:
        return timezones.zone(timezone)
    except ValueError:
        raise UserError(f"unknown time zone {timezone!r}: give an IANA name such as Europe/London") from None


def midnight_ms(day: date, timezone: str) -> int:
    """The instant, in ms since 1970-01-01T00:00Z, at which a local day begins."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone(timezone)).timestamp()) * 1000


def day_bounds_ms(day: date, timezone: str) -> tuple[int, int]:
    """[start, end) of a local day."""
    return midnight_ms(day, timezone), midnight_ms(day + timedelta(days=1), timezone)


def local_date(time_ms: int, timezone: str) -> date:
    """The local day that an instant belongs to."""
    return datetime.fromtimestamp(time_ms / 1000, zone(timezone)).date()


def now_ms() -> int:
    """The present instant."""
    return round(time.time() * 1000)


def dates(first: date, end: date) -> Iterator[date]:
    """The days of [first, end)."""
    return (first + timedelta(days=i) for i in range((end - first).days))


def wall_clock_parts(day: date, timezone: str) -> list[tuple[int, int, int]]:
    """(start_ms, end_ms, wall_ms) of each part of a local day with one UTC offset: one part, or two if clocks change.

    wall_ms is what the wall clock shows at start_ms, in ms since its 00:00.
    """
    start, end = day_bounds_ms(day, timezone)
    naive_midnight = int((day - date(1970, 1, 1)).total_seconds()) * 1000

    def offset_ms(time_ms: int) -> int:
        offset = datetime.fromtimestamp(time_ms / 1000, zone(timezone)).utcoffset()
        assert offset is not None
        return int(offset.total_seconds()) * 1000

    starts = [(next(probes), offset) for offset, probes in groupby(range(start, end, _PROBE_MS), offset_ms)]
    ends = [begin for begin, _ in starts[1:]] + [end]
    return [(begin, stop, begin + offset - naive_midnight) for (begin, offset), stop in zip(starts, ends)]
