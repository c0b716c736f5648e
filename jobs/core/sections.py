"""Sections: the readings of one meter on one local day in one burst, reduced to a row.

A section covers an unbroken span of a local day. It holds the energy drawn and fed in between its first and its last reading, split by local hour.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jobs.core.energy import HOUR, add, amounts, gain, hold
from jobs.core.local_hours import HOUR_MS, NO_EDGES, edges_of, hour_of
from jobs.core.readings import Readings
from smartmeter.arrays import Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import NEVER, days_of, midnights_of
from smartmeter.settings import DAY_MS

SECTION = np.dtype(
    [
        ("meter_id", "i4"),
        ("day", "i4"),  # local day, days since 1970-01-01
        ("start_ms", "i8"),  # span that its burst covers, within the day
        ("end_ms", "i8"),
        ("readings", "i8"),
        ("duplicates", "i8"),  # readings received again for this span
        ("first_ms", "i8"),  # first and last reading; undefined without readings
        ("last_ms", "i8"),
        ("last_watts", "f4"),
        ("energy_mj", "i8"),  # between first and last reading
        ("energy_rest", "i8"),
        ("covered_ms", "i8"),
        ("max_gap_ms", "i8"),
        ("refused", "i8"),  # readings of this span that were refused
        ("exported_mj", "i8"),  # between first and last reading: of negative powers
        ("exported_rest", "i8"),
        ("period_ms", "i4"),  # how long the last reading holds at most; 0: SMW_MAX_GAP_S
        ("gaps", "i4"),  # readings that do not hold until the next one
    ]
)
"""124 bytes. A house of 20 meters with 2 days open holds 40 of them: 5 kB."""

SECTION_1, SECTION_2 = np.dtype(SECTION.descr[:-5]), np.dtype(SECTION.descr[:-4])
"""A section as stored in state of versions 1 and 2."""

_OF_BURST = [
    ("burst", "i4"),  # number of its burst, rising in order of arrival
    ("partition", "i4"),  # of the message
    ("offset", "i8"),
    ("before_ms", "i8"),  # newest reading of the house's earlier bursts in this batch
    ("peak_watts", "f4"),  # highest reading
    ("bins", "i4"),  # how many entries of the batch's histograms are this section's
    ("carried", "i4"),  # how many of the batch's readings are this section's
    ("minutes", "i4"),  # how many of the batch's minutes are this section's
    ("hours", "i4"),  # how many of the batch's hours are this section's; 0 if it lies within one hour
    ("quantity", "i4"),  # see jobs.core.quantities; what is said of power is 0 for a register
    ("energies", "i4"),  # how many of the batch's readings of registers are this section's
]

ARRIVED = np.dtype([*SECTION.descr, *_OF_BURST])
"""A section of one burst, with what is needed to judge whether it is late, and with the sizes of its shares of the batch."""

ARRIVED_1, ARRIVED_2 = np.dtype([*SECTION_1.descr, *_OF_BURST[:-3]]), np.dtype([*SECTION_2.descr, *_OF_BURST[:-2]])
"""Its forms in state of versions 1 and 2."""


def arrivals(readings: Readings, partition: Ints, offset: Ints, max_sample_period_ms: int) -> tuple[Rows, Rows]:
    """(ARRIVED: the sections of many bursts, one for each meter and local day that a burst touches, in order of arrival; HOUR of the
    sections that span several hours, section by section).

    partition, offset: (b,), place of each burst's message. The column `burst` holds the index of the burst, and before_ms the newest
    reading of the same house in the bursts before it.
    """
    days = local_days(readings)
    sections = np.zeros(int(np.sum(days.count * readings.bursts["channels"])), ARRIVED)
    hours = np.zeros(_most_hours(readings.columns, days), HOUR)
    return sections, hours[: _fill(sections, hours, readings.columns, partition, offset, days, max_sample_period_ms)]


def sections_in(readings: Readings) -> int:
    """The most sections that many bursts can give, assuming that each touches one local day more than its length, rounded up to days."""
    bursts = readings.bursts
    channels = bursts["channels"] + np.bincount(readings.registers.channels["burst"], minlength=len(bursts))
    return int(np.sum(((bursts["end_ms"] - bursts["start_ms"] - 1) // DAY_MS + 2) * channels))


class LocalDays(NamedTuple):
    """The local days that b bursts touch, those of the first burst first."""

    first: Ints  # int64 (b,), the first day of each burst
    count: Ints  # type: ignore[assignment]  # in place of the tuple's method; int64 (b,), how many days it touches
    midnight_ms: Ints  # int64, starts of the days of each burst, followed by the end of its last day
    edges: Ints  # int64, see jobs.core.local_hours: starts of the hours of days that are not 24 h long
    edges_at: Ints  # int64 (b, 2), begin and end of each burst's edges


def local_days(readings: Readings) -> LocalDays:
    """The local days of many bursts."""
    bursts, zones = readings.bursts, readings.zones
    first = days_of(zones, bursts["zone"], bursts["start_ms"])
    last = days_of(zones, bursts["zone"], bursts["end_ms"] - 1)
    count = last - first + 1
    begins = np.cumsum(count + 1) - count - 1
    burst = np.repeat(np.arange(len(bursts)), count + 1)
    midnight_ms = midnights_of(zones, bursts["zone"][burst], first[burst] + np.arange(len(burst)) - begins[burst])
    edges, edges_at, size = [NO_EDGES], np.zeros((len(bursts), 2), np.int64), 0
    odd = np.diff(midnight_ms) != DAY_MS
    odd[begins[1:] - 1] = False  # from the end of one burst's last day to the next burst
    for b in dict.fromkeys(burst[:-1][odd].tolist()):
        edges.append(edges_of(zones[bursts["zone"][b]], np.arange(first[b], last[b] + 1)))
        edges_at[b] = size, size + len(edges[-1])
        size += len(edges[-1])
    return LocalDays(first, count, midnight_ms, np.concatenate(edges), edges_at)


@compiled
def _most_hours(columns, days):
    """The most hours (HOUR) that the sections of all bursts can need; none for a burst within one hour of a day of 24 h."""
    most = channel = midnight = 0
    for b in range(len(columns.bursts)):
        burst, begin_ms = columns.bursts[b], days.midnight_ms[midnight]
        in_one = (
            days.midnight_ms[midnight + 1] - begin_ms == DAY_MS
            and days.count[b] == 1
            and (burst.start_ms - begin_ms) // HOUR_MS == (burst.end_ms - 1 - begin_ms) // HOUR_MS
        )
        for count in columns.count[channel : channel + burst.channels]:
            if count > 1 and not in_one:
                most += (burst.end_ms - burst.start_ms) // HOUR_MS + 2 + days.edges_at[b, 1] - days.edges_at[b, 0]
        channel += burst.channels
        midnight += days.count[b] + 1
    return most


@compiled
def _fill(sections, hours, columns, partition, offset, days, max_sample_period_ms):
    """Fill in the sections of all bursts, and their hours. Returns the number of hours."""
    s = n = channel = midnight = h = r = 0
    house_id, newest_ms = 0, NEVER
    for b in range(len(columns.bursts)):
        burst, edges = columns.bursts[b], days.edges[days.edges_at[b, 0] : days.edges_at[b, 1]]
        if burst.house_id != house_id:
            house_id, newest_ms = burst.house_id, NEVER
        for _ in range(burst.channels):
            time_ms, begin_ms, end = burst.start_ms, burst.start_ms, n + columns.count[channel]
            for d in range(days.count[b]):
                section = sections[s]
                section.burst, section.partition, section.offset, section.before_ms = b, partition[b], offset[b], newest_ms
                section.meter_id, section.day, section.start_ms = columns.meter_id[channel], days.first[b] + d, begin_ms
                section.end_ms = begin_ms = days.midnight_ms[midnight + d + 1] if d < days.count[b] - 1 else burst.end_ms
                day = days.midnight_ms[midnight + d], days.midnight_ms[midnight + d + 1], edges
                section.period_ms = columns.period_ms[channel]
                n, time_ms, section.hours = _integrate(
                    section, hours[h:], day, columns.gap_ms, columns.watts, n, end, time_ms, period_of(section, max_sample_period_ms)
                )
                h += section.hours
                s += 1
            r = _count_refused(sections[s - days.count[b] : s], columns.refused, r, channel)
            channel += 1
        midnight += days.count[b] + 1
        newest_ms = max(newest_ms, burst.newest_ms)
    return h


@compiled
def _count_refused(sections, refused, r, channel):
    """Add the refused readings of a channel, from index r on, to the sections of their days. Returns the index of the next refusal."""
    d = 0
    while r < len(refused) and refused[r].channel == channel:
        while refused[r].time_ms >= sections[d].end_ms:
            d += 1
        sections[d].refused += refused[r].readings
        r += 1
    return r


@compiled
def period_of(section, max_sample_period_ms):
    """How long a reading of a section holds at most, in ms."""
    return section.period_ms or max_sample_period_ms


@compiled
def _integrate(section, hours, day, gap_ms, watts, at, end, time_ms, period_ms):
    """Fill in a section from its channel's readings: those from index `at` on that lie before the section's end.

    hours: filled in if these readings span more than one hour of their day. day: the arguments of hour_of after the time. time_ms: time of
    the reading before `at`. Returns (index after the section's last reading, time of that reading, number of hours filled in).
    """
    begin, h, longest_ms, gaps = at, 0, np.int64(0), 0
    if at < end and time_ms + gap_ms[at] < section.end_ms:
        time_ms += gap_ms[at]
        section.first_ms, at = time_ms, at + 1
    goes_on = at > begin
    while goes_on:
        hour_ms, until_ms = hour_of(time_ms, *day)
        until_ms, sums = min(until_ms, section.end_ms), amounts(watts[at - 1], np.int64(0))
        while at < end and time_ms + gap_ms[at] < until_ms:
            time_ms += gap_ms[at]
            sums = _plus(sums, amounts(watts[at - 1], min(gap_ms[at], period_ms)))
            longest_ms, gaps, at = max(longest_ms, gap_ms[at]), gaps + (gap_ms[at] > period_ms), at + 1
        add(section, *sums)
        goes_on = at < end and time_ms + gap_ms[at] < section.end_ms
        if h or goes_on:
            h = gain(hours, h, section.meter_id, section.day, hour_ms, sums)
        if goes_on:  # the next reading is in a later hour
            held_ms = min(gap_ms[at], period_ms)
            add(section, *amounts(watts[at - 1], held_ms))
            h = hold(hours, h, section.meter_id, section.day, watts[at - 1], time_ms, held_ms, day)
            longest_ms, gaps = max(longest_ms, gap_ms[at]), gaps + (gap_ms[at] > period_ms)
            time_ms, at = time_ms + gap_ms[at], at + 1
    if at > begin:
        section.readings, section.last_ms, section.last_watts = at - begin, time_ms, watts[at - 1]
        section.max_gap_ms, section.gaps = longest_ms, gaps
    return at, time_ms, h


@compiled
def _plus(some, others):
    """The sum of two SUMS."""
    return some[0] + others[0], some[1] + others[1], some[2] + others[2], some[3] + others[3], some[4] + others[4]
