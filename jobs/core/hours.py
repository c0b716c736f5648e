"""Energy of each meter and local hour, from the same integers as the day's, so the hours of a day add up to the day to the last bit.

New sections, and the readings that hold from one joined section to the next, add to their hours (`gained`). The energy of a section's last
reading may still change, so it is added only when results are computed (jobs.core.totals.held_by_hour).

Most batches add to the present hour, which is stored with the values of state that change often. The hours of a day that are over are one
value of the state. What arrives for them later is gathered first, and merged into that value when there is enough of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np

from jobs.core.energy import HOUR, HOUR_1, add, hold, sums_of
from jobs.core.local_hours import HOUR_MS, edges_of, hour_of
from jobs.core.rows import picked, stacked
from jobs.core.state import HouseState
from jobs.core.state_version import require_version, widened
from jobs.core.totals import RESULT
from smartmeter.arrays import Bools, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import midnights
from smartmeter.loops import append

STATE_VERSION = 2
_HEAD = struct.Struct("<BH")

MOST_GATHERED = 64
"""Most entries (meter and hour) of hours that are over and not yet in their day's value: 3.3 kB."""


def gained(sections: Rows, used: Bools, hours: Rows, joined: Rows, timezone: str) -> Rows:
    """HOUR: what the used (bool (s,)) sections (ARRIVED (s,)) and the joins (JOINED) add to each hour. An hour may occur several times.

    hours: HOUR of the sections that span several hours.
    """
    edges = edges_of(timezone, sections["day"])
    most = len(sections) + len(hours) + sum(held_ms // HOUR_MS + 2 + len(edges) for held_ms in joined["held_ms"].tolist())
    found = np.zeros(most, HOUR)
    return found[: _gain(found, sections, used, hours, joined, midnights(timezone), edges)]


@compiled
def _gain(found, sections, used, hours, joined, midnight_ms, edges):
    """Fill in the gains. Returns their number."""
    size = h = 0
    for s in range(len(sections)):
        section = sections[s]
        if used[s] and section.hours:
            size = append(found, size, hours[h : h + section.hours])
        elif used[s] and section.covered_ms:
            hour, size = found[size], size + 1
            hour.meter_id, hour.day = section.meter_id, section.day
            hour.start_ms, _ = hour_of(section.first_ms, midnight_ms[section.day], midnight_ms[section.day + 1], edges)
            add(hour, section.energy_mj, section.energy_rest, section.exported_mj, section.exported_rest, section.covered_ms)
        h += section.hours
    for j in range(len(joined)):
        one = joined[j]
        day = midnight_ms[one.day], midnight_ms[one.day + 1], edges
        size = hold(found, size, one.meter_id, one.day, one.last_watts, one.last_ms, one.held_ms, day)
    return size


def summed(*some: Rows) -> Rows:
    """The sum of some arrays of HOUR: sorted by meter, day and start, each once."""
    hours = stacked(*some)
    sums = np.empty(len(hours), hours.dtype)
    return sums[: _sum_up(sums, hours, np.lexsort((hours["start_ms"], hours["day"], hours["meter_id"])))]


@compiled
def _sum_up(sums, hours, order):
    """Fill in the sums of the hours, which come in this order. Returns their number."""
    size = 0
    for i in order:
        hour, last = hours[i], sums[size - 1]
        if size and last.start_ms == hour.start_ms and last.day == hour.day and last.meter_id == hour.meter_id:
            add(last, *sums_of(hour))
        else:
            sums[size] = hour
            size += 1
    return size


@compiled
def places(rows, hours):
    """int64 (n, 2): from where to where the hours (HOUR) of each row (RESULT) are; nowhere if they do not add up to it. Both are sorted."""
    found, sums, begin = np.zeros((len(rows), 2), np.int64), np.zeros(len(rows), RESULT), 0
    for r in range(len(rows)):
        row = rows[r]
        while begin < len(hours) and (hours[begin].meter_id, hours[begin].day) < (row.meter_id, row.day):
            begin += 1
        end = begin
        while end < len(hours) and hours[end].meter_id == row.meter_id and hours[end].day == row.day:
            add(sums[r], *sums_of(hours[end]))
            end += 1
        if sums_of(sums[r]) == sums_of(row):
            found[r, 0], found[r, 1] = begin, end
        begin = end
    return found


class Hours:
    """The hours of the open days of a house: rows of a dtype that `summed` adds up."""

    dtype = HOUR
    summed = staticmethod(summed)

    def __init__(self, state: HouseState, name: str = "hours"):
        """name: of its values in state."""
        self.state, self.name = state, name
        known = state.get(f"present_{self.name}") or _HEAD.pack(STATE_VERSION, 0)
        version, days = _HEAD.unpack_from(known)
        if version != 1:
            require_version(version, STATE_VERSION)
        self.days = np.frombuffer(known, "<i4", days, _HEAD.size).tolist()  # those with a value of their own
        stored = HOUR_1 if version == 1 else self.dtype
        self.present = widened(np.frombuffer(known, stored, offset=_HEAD.size + 4 * days), self.dtype)
        if version == 1:
            for day in self.days:
                self.state.put(f"hours/{day}", widened(np.frombuffer(self.state.get(f"hours/{day}") or b"", HOUR_1), HOUR).tobytes())

    def add(self, hours: Rows, clock_ms: int) -> None:
        """Add gains (HOUR). clock_ms: the house's newest reading."""
        if len(hours):
            self.present = self.summed(self.present, hours)
            over = self.present["start_ms"] + HOUR_MS <= clock_ms
            if np.count_nonzero(over) > MOST_GATHERED:
                self._put(picked(self.present, over))
                self.present = picked(self.present, ~over)

    def _put(self, hours: Rows) -> None:
        """Add hours (HOUR) to the values of their days."""
        for day in set(hours["day"].tolist()):
            self.state.put(f"{self.name}/{day}", self.summed(self._of(day), picked(hours, hours["day"] == day)).tobytes())
            if day not in self.days:
                self.days.append(day)

    def of_days(self, days: Iterable[int]) -> Rows:
        """HOUR of some local days."""
        days = set(days)
        present = np.array([day in days for day in self.present["day"].tolist()], bool)
        return stacked(picked(self.present, present), *map(self._of, days.intersection(self.days)))

    @property
    def every_day(self) -> set[int]:
        """The local days of which any hour is known."""
        return {*self.days, *self.present["day"].tolist()}

    def remove_through(self, day: int) -> None:
        """Drop a local day and all days before it."""
        self.present = picked(self.present, self.present["day"] > day)
        for old in [d for d in self.days if d <= day]:
            self.state.remove(f"{self.name}/{old}")
            self.days.remove(old)

    def keep(self) -> None:
        """Write the present hours and the list of days that have a value."""
        self.state.put(
            f"present_{self.name}",
            _HEAD.pack(STATE_VERSION, len(self.days)) + np.array(self.days, "<i4").tobytes() + self.present.tobytes(),
        )

    def _of(self, day: int) -> Rows:
        return np.frombuffer(self.state.get(f"{self.name}/{day}") or b"", self.dtype)
