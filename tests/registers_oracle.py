"""What a register must give to each local hour, worked out from all of its readings in plain Python.

It shares nothing with the jobs: it keeps every reading, and begins anew each time that a day closes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

ONE_DAY = timedelta(days=1)
QUARTER_MS = 900_000
STEP_MWH = 1_000_000
EARLIER = -1
"""In place of the start of an hour: what belongs to days that were closed before."""


@dataclass
class Hour:
    """What a register gives to an hour."""

    mwh: int = 0
    covered_ms: int = 0
    faults: int = 0


Hours = dict[tuple[date, int], Hour]
"""Local day and start of the hour, in ms, or EARLIER -> what it gets."""


@dataclass
class Register:
    """One register. A reading is (time in ms, mWh)."""

    zone: ZoneInfo
    max_connection_kw: float = 100
    readings: list[tuple[int, int]] = field(default_factory=list)
    closed: Hours = field(default_factory=dict)
    last_closed: date = date.min

    def close(self, day: date) -> None:
        """Close a local day and all before it. A day that is closed is closed."""
        if day > self.last_closed:
            self.closed |= {hour: found for hour, found in self._open().items() if hour[0] <= day}
            self.last_closed = day

    def hours(self) -> Hours:
        """All hours to which it gives something: of the closed days, and of the open ones as they stand."""
        return {hour: found for hour, found in (self.closed | self._open()).items() if found != Hour()}

    def _open(self) -> Hours:
        """The hours of the open days, with what the closed ones got too little or too much."""
        open_hours, closed_now = defaultdict(Hour), Counter()
        for hour, mwh, covered_ms, faults in self._gains():
            if hour[0] > self.last_closed:
                open_hours[hour].mwh += mwh
                open_hours[hour].covered_ms += covered_ms
                open_hours[hour].faults += faults
            else:
                closed_now.update(mwh=mwh, faults=faults)
        for name in ("mwh", "faults"):
            owed = closed_now[name] - sum(getattr(hour, name) for hour in self.closed.values())
            if owed > 0:
                setattr(open_hours[self.last_closed + ONE_DAY, EARLIER], name, owed)
            for key in sorted(open_hours):
                if owed < 0:
                    back = min(-owed, getattr(open_hours[key], name))
                    setattr(open_hours[key], name, getattr(open_hours[key], name) - back)
                    owed += back
        return open_hours

    def _gains(self):
        """Yield (hour, mWh, ms covered, faults), over all readings in order of time."""
        readings = sorted(self.readings)
        base = readings.pop(0) if readings else None
        while readings:
            reading = readings.pop(0)
            if self.rises(base, reading):
                yield from self._pieces(base, reading)
                base = reading
            elif readings:
                yield self._hour_of(reading[0]), 0, 0, 1
                if not self.rises(base, readings[0]):
                    base = reading

    def rises(self, before: tuple[int, int], after: tuple[int, int]) -> bool:
        """Whether a connection can have delivered a difference: at so many kW for its time in whole s, and a step of a kWh."""
        seconds = (after[0] - before[0]) // 1000 + 1
        return before[1] <= after[1] and after[1] - before[1] - STEP_MWH <= self.max_connection_kw * 1e6 / 3600 * seconds

    def _pieces(self, before: tuple[int, int], after: tuple[int, int]):
        """Yield the pieces of a difference: until the end of an hour it has given its share of the time, in whole mWh."""
        (begin_ms, first), (end_ms, last) = before, after
        given, at_ms = 0, begin_ms
        while at_ms < end_ms:
            hour = self._hour_of(at_ms)
            until_ms = at_ms
            while until_ms < end_ms and self._hour_of(until_ms) == hour:
                until_ms = min(end_ms, (until_ms // QUARTER_MS + 1) * QUARTER_MS)
            by_then = (last - first) * (until_ms - begin_ms) // (end_ms - begin_ms)
            yield hour, by_then - given, until_ms - at_ms, 0
            given, at_ms = by_then, until_ms

    def _hour_of(self, time_ms: int) -> tuple[date, int]:
        """The local day and the start of the local hour: the first quarter of an hour whose clock shows the same hour and offset."""
        quarter = time_ms // QUARTER_MS
        own = _shown(self.zone, quarter)
        while _shown(self.zone, quarter - 1) == own:
            quarter -= 1
        return own[0], quarter * QUARTER_MS


@lru_cache(maxsize=100_000)
def _shown(zone: ZoneInfo, quarter: int) -> tuple[date, int, timedelta | None]:
    """The day, the hour and the offset to UTC of a local clock in a quarter of an hour since 1970."""
    local = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, UTC).astimezone(zone)
    return local.date(), local.hour, local.utcoffset()
