"""The totals of a day, from the sections of a house.

The last reading of a section holds until the meter's next reading, but no longer than its channel's period (without one,
max_sample_period_ms) and not beyond the house's newest reading. This energy may change until the day is closed, so it is added only here, when a result is due.
"""

from __future__ import annotations

import numpy as np

from jobs.core.energy import HOUR, add, amounts, hold, sums_of
from jobs.core.local_hours import HOUR_MS, edges_of
from jobs.core.rows import stacked
from jobs.core.runs import begins
from jobs.core.sections import period_of
from smartmeter.arrays import Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import midnights

RESULT = np.dtype(
    [
        ("meter_id", "i4"),
        ("day", "i4"),
        ("readings", "i8"),
        ("duplicates", "i8"),
        ("refused", "i8"),
        ("energy_mj", "i8"),
        ("energy_rest", "i8"),
        ("covered_ms", "i8"),
        ("max_gap_ms", "i8"),
        ("exported_mj", "i8"),
        ("exported_rest", "i8"),
        ("gaps", "i8"),  # readings that hold neither until the next one nor to the day's end
    ]
)


MOST_DAYS = 4
"""Most local days that a reading holds in, the one in which it was taken included: one or two, but for a day that a zone leaves out."""


def daily(sections: Rows, timezone: str, clock_ms: int, max_sample_period_ms: int) -> Rows:
    """The totals (RESULT) of each meter and day, sorted by meter, then day.

    A day counts if it has readings (also if all were duplicates or refused), or if one holds into it. sections: of one house, joined;
    clock_ms: its newest reading.
    """
    results = np.zeros((MOST_DAYS + 1) * len(sections), RESULT)
    measured = _add_up(results, sections, midnights(timezone), clock_ms, max_sample_period_ms)
    every = _add_unused(results, measured, sections, midnights(timezone), clock_ms)
    return results[:every] if every == measured else np.sort(results[:every], order=("meter_id", "day"))


ADDED = [name for name in RESULT.names or () if name not in ("meter_id", "day")]


def combined(*some: Rows) -> Rows:
    """RESULT of meters' quantities as one row a meter and day, sorted so. Of their longest gaps, the shortest holds."""
    rows = stacked(*some)
    rows = rows[np.lexsort((rows["day"], rows["meter_id"]))]
    first = begins(rows["meter_id"], rows["day"])
    sums: Rows = rows[first]
    for name in ADDED if len(first) else ():
        of_rows = np.minimum if name == "max_gap_ms" else np.add
        sums[name] = of_rows.reduceat(rows[name], first)
    return sums


@compiled
def _add_up(results, sections, midnight_ms, clock_ms, max_sample_period_ms):
    """Fill in the results. Returns their number. The max_gap_ms of an unfinished result does not include the time after last_ms."""
    size = last_ms = 0
    for s in range(len(sections)):
        section = sections[s]
        if section.readings == 0:
            continue
        size, last_ms = _result_of(results, size, last_ms, section.meter_id, section.day, midnight_ms, clock_ms)
        result = results[size - 1]
        result.readings += section.readings
        result.gaps += section.gaps + _ends_in_a_gap(sections, s, min(clock_ms, midnight_ms[section.day + 1]), max_sample_period_ms)
        add(result, *sums_of(section))
        result.max_gap_ms = max(result.max_gap_ms, section.max_gap_ms, section.first_ms - last_ms)
        last_ms = section.last_ms
        until_ms = _held_until(sections, s, clock_ms, max_sample_period_ms)
        for day in range(section.day, section.day + MOST_DAYS):
            held_ms = min(until_ms, midnight_ms[day + 1]) - max(section.last_ms, midnight_ms[day])
            if held_ms > 0:
                size, last_ms = _result_of(results, size, last_ms, section.meter_id, day, midnight_ms, clock_ms)
                add(results[size - 1], *amounts(section.last_watts, held_ms))
    _end_result(results, size, last_ms, midnight_ms, clock_ms)
    return size


@compiled
def _add_unused(results, size, sections, midnight_ms, clock_ms):
    """Add duplicates and refused readings to the results, or to new ones after results[:size]. Returns the new number of results."""
    at, measured = 0, size
    for s in range(len(sections)):
        section = sections[s]
        if section.duplicates == 0 and section.refused == 0:
            continue
        while at < measured and (results[at].meter_id, results[at].day) < (section.meter_id, section.day):
            at += 1
        found = at
        if at == measured or results[at].meter_id != section.meter_id or results[at].day != section.day:
            found = size - 1
            if size == measured or results[found].meter_id != section.meter_id or results[found].day != section.day:
                found, size = size, size + 1
                results[found].meter_id, results[found].day = section.meter_id, section.day
                results[found].max_gap_ms = max(0, min(midnight_ms[section.day + 1], clock_ms) - midnight_ms[section.day])
        results[found].duplicates += section.duplicates
        results[found].refused += section.refused
    return size


@compiled
def _ends_in_a_gap(sections, s, end_ms, max_sample_period_ms):
    """Whether the last reading of a section holds neither until the next one nor until end_ms."""
    return _held_until(sections, s, end_ms, max_sample_period_ms) < min(end_ms, _next_ms(sections, s, end_ms))


@compiled
def _next_ms(sections, s, otherwise_ms):
    """Time of the reading after a section."""
    behind = following(sections, s)
    return otherwise_ms if behind < 0 else sections[behind].first_ms


@compiled
def _held_until(sections, s, clock_ms, max_sample_period_ms):
    """Time until which the last reading of a section holds, if the section is not joined to the next."""
    return min(_next_ms(sections, s, clock_ms), sections[s].last_ms + period_of(sections[s], max_sample_period_ms))


def held_by_hour(sections: Rows, timezone: str, clock_ms: int, max_sample_period_ms: int) -> Rows:
    """HOUR: what the last readings of sections add, as in `daily`. An hour may occur several times."""
    days = sections["day"]
    edges = edges_of(timezone, np.concatenate([days + day for day in range(MOST_DAYS)]))
    longest_ms = max(max_sample_period_ms, int(sections["period_ms"].max(initial=0)))
    hours = np.zeros(len(sections) * (longest_ms // HOUR_MS + 2 + MOST_DAYS + len(edges)), HOUR)
    return hours[: _hold_all(hours, sections, midnights(timezone), edges, clock_ms, max_sample_period_ms)]


@compiled
def _hold_all(hours, sections, midnight_ms, edges, clock_ms, max_sample_period_ms):
    """Fill in the hours. Returns their number."""
    h = 0
    for s in range(len(sections)):
        section = sections[s]
        until_ms = _held_until(sections, s, clock_ms, max_sample_period_ms) if section.readings else section.last_ms
        for day in range(section.day, section.day + MOST_DAYS):
            from_ms = max(section.last_ms, midnight_ms[day])
            held_ms = min(until_ms, midnight_ms[day + 1]) - from_ms
            if held_ms > 0:
                h = hold(
                    hours, h, section.meter_id, day, section.last_watts, from_ms, held_ms, (midnight_ms[day], midnight_ms[day + 1], edges)
                )
    return h


@compiled
def _result_of(results, size, last_ms, meter_id, day, midnight_ms, clock_ms):
    """(size, last_ms) such that results[size - 1] is the result of this meter and day: the last one, or a new one appended."""
    if size > 0 and results[size - 1].meter_id == meter_id and results[size - 1].day == day:
        return size, last_ms
    _end_result(results, size, last_ms, midnight_ms, clock_ms)
    results[size].meter_id, results[size].day = meter_id, day
    return size + 1, midnight_ms[day]


@compiled
def _end_result(results, size, last_ms, midnight_ms, clock_ms):
    """Extend max_gap_ms of the last result by the time from last_ms to the end of its day, or to the house's newest reading."""
    if size > 0:
        results[size - 1].max_gap_ms = max(results[size - 1].max_gap_ms, min(midnight_ms[results[size - 1].day + 1], clock_ms) - last_ms)


@compiled
def following(sections, s):
    """Index of the next section of the same meter that has readings, or -1."""
    for other in range(s + 1, len(sections)):
        if sections[other].meter_id != sections[s].meter_id:
            break
        if sections[other].readings:
            return other
    return -1
