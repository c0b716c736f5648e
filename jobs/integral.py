"""Energy of each meter and local day, from readings that come in any order, some of them twice or late.

A reading holds until the meter's next one, but no longer than max_gap_ms and not beyond the house's newest
reading; its energy is its power times that time (left rectangle, the interval clipped, as in NILMTK's
totalenergy). A *section* is what is known of one meter over an unbroken span of one local day. Sections that touch
are joined, so that a house needs one a meter and day, however many readings it takes. What lies between two
sections, and after the last, is added up only when a result is asked for: it may change until the day is closed.

Energy is kept in two integers, whole mJ (W ms) and 2**-40 mJ, in which a float32 power times whole ms is exact down
to 1e-5 W. Integer sums do not depend on their order, so results are the same to the last bit however the readings
were cut into messages, batches and workers. 2**-40 mJ overflow beyond 2**23 readings of a meter a day.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jobs.local_hours import HOUR_MS, NO_EDGES, edges_of, hour_of
from jobs.readings import NEVER, Readings, days_of, midnights, midnights_of
from smartmeter.compiled import compiled
from smartmeter.settings import DAY_MS, Settings

REST_PER_MJ = 2.0**40
MJ_PER_KWH = 3.6e9
STATE_VERSION = 2
_HEAD = struct.Struct("<Bqiqii")

SECTION = np.dtype([
    ("meter_id", "i4"),
    ("day", "i4"),  # local day, days since 1970-01-01
    ("start_ms", "i8"),  # span that is spoken for, within the day
    ("end_ms", "i8"),
    ("readings", "i8"),
    ("duplicates", "i8"),  # readings that came again for this span
    ("first_ms", "i8"),  # first and last reading; without readings they have no meaning
    ("last_ms", "i8"),
    ("last_watts", "f4"),
    ("energy_mj", "i8"),  # between first and last reading
    ("energy_rest", "i8"),
    ("covered_ms", "i8"),
    ("max_gap_ms", "i8"),
    ("refused", "i8"),  # readings of this span that are no power
])
"""100 bytes. A house of 20 meters with 2 days open holds 40 of them: 4 kB."""

SECTION_1 = np.dtype(SECTION.descr[:-1])
"""As state of version 1 has it."""

_OF_BURST = [
    ("burst", "i4"),  # bursts of the house in this batch, numbered in the order they arrived
    ("partition", "i4"),  # of the message
    ("offset", "i8"),
    ("before_ms", "i8"),  # newest reading of the house's earlier bursts in this batch
    ("peak_watts", "f4"),  # highest reading
    ("bins", "i4"),  # how many entries of the batch's histograms are this section's
    ("carried", "i4"),  # how many of the batch's readings are this section's
    ("minutes", "i4"),  # how many of the batch's minutes are this section's
    ("hours", "i4"),  # how many of the batch's hours are this section's; 0 when all of it lies in one
]
ARRIVED, ARRIVED_1 = np.dtype([*SECTION.descr, *_OF_BURST]), np.dtype([*SECTION_1.descr, *_OF_BURST[:-1]])
"""A section of one burst, with what is needed to judge whether it came too late, and what a batch holds of it; and as state of version 1 has it."""

HOUR = np.dtype([
    ("meter_id", "i4"),
    ("day", "i4"),
    ("start_ms", "i8"),  # of the local hour
    ("energy_mj", "i8"),
    ("energy_rest", "i8"),
    ("covered_ms", "i4"),
])
"""36 bytes: what a meter's readings held within one local hour, or what that gains."""

JOINED = np.dtype([("meter_id", "i4"), ("day", "i4"), ("last_ms", "i8"), ("held_ms", "i8"), ("last_watts", "f4")])
"""The last reading of a section that was joined to the one behind it, and how long it held."""

LINK = np.dtype([("meter_id", "i4"), ("last_ms", "i8"), ("next_ms", "i8")])
"""Two readings of a meter that follow each other, as far as is known: the last of a section, the first of the next."""

FRESH, AGAIN, OVERLAPPING, LATE = range(4)
"""What becomes of a section that arrives: used; dropped and counted, as its span was received before; refused, as
part of it was and its readings are not there to be cut (jobs.overlaps); refused, as its day was closed."""

RESULT = np.dtype([
    ("meter_id", "i4"), ("day", "i4"), ("readings", "i8"), ("duplicates", "i8"), ("refused", "i8"),
    ("energy_mj", "i8"), ("energy_rest", "i8"), ("covered_ms", "i8"), ("max_gap_ms", "i8"),
])


class StateFault(ValueError):
    """State that cannot be read or written; the message says what to do. It is no message's fault."""


def require_version(version: int, understood: int) -> None:
    """Raise StateFault when state was written by a release that this one does not understand."""
    if version != understood:
        raise StateFault(f"a checkpoint of state version {version}, where {understood} is understood: "
                         "restore it with the release that wrote it, or replay")


def widened(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Rows of an earlier version of a dtype as that dtype has them: fields that they lack are 0."""
    if rows.dtype == dtype:
        return rows
    wide = np.zeros(len(rows), dtype)
    for name in rows.dtype.names or ():
        wide[name] = rows[name]
    return wide


@dataclass(frozen=True)
class Rules:
    """How long a reading holds, and how long after midnight (on the house's own clock) a day stays open, in ms."""

    max_gap_ms: int
    allowed_lateness_ms: int

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules that the settings give."""
        return cls(round(settings.max_gap_s * 1000), round(settings.allowed_lateness_s * 1000))


@compiled
def energy(watts, held_ms):
    """(whole mJ, 2**-40 mJ) of a power (W) that holds for some time (ms)."""
    product = np.float64(watts) * held_ms
    whole = np.int64(product)
    return whole, np.int64((product - whole) * REST_PER_MJ)


@compiled
def energies(watts, held_ms):
    """(whole mJ, 2**-40 mJ), int64 (n,), of powers that each hold for some time."""
    whole, rest = np.empty(len(watts), np.int64), np.empty(len(watts), np.int64)
    for i in range(len(watts)):
        whole[i], rest[i] = energy(watts[i], held_ms[i])
    return whole, rest


def kwh(energy_mj, energy_rest):
    """Energy in kWh, as float64."""
    return (energy_mj + energy_rest / REST_PER_MJ) / MJ_PER_KWH


def arrivals(readings: Readings, partition: np.ndarray, offset: np.ndarray, max_gap_ms: int) -> tuple[np.ndarray, np.ndarray]:
    """(ARRIVED: the sections in many bursts, one a meter and local day that a burst touches, in order of arrival; HOUR of those
    that lie in several hours, section by section).

    partition, offset: (b,), of the message of each burst. The `burst` column holds the index of the burst, and
    before_ms the newest reading of the same house in the bursts before it.
    """
    days = _local_days(readings)
    sections = np.zeros(int(np.sum(days.count * readings.bursts["channels"])), ARRIVED)
    hours = np.zeros(_most_hours(readings.columns, days), HOUR)
    return sections, hours[:_fill(sections, hours, readings.columns, partition, offset, days, max_gap_ms)]


def sections_in(readings: Readings) -> int:
    """How many sections many bursts give, at most: each is taken to touch a day more than it is long."""
    bursts = readings.bursts
    return int(np.sum(((bursts["end_ms"] - bursts["start_ms"] - 1) // DAY_MS + 2) * bursts["channels"]))


class LocalDays(NamedTuple):
    """The local days that b bursts touch, those of the first burst first."""

    first: np.ndarray  # int64 (b,), the first day of each burst
    count: np.ndarray  # type: ignore[assignment]  # in place of the tuple's method; int64 (b,), how many days it touches
    midnight_ms: np.ndarray  # int64, begins of the days of each burst and, behind them, the end of its last one
    edges: np.ndarray  # int64, of jobs.local_hours: of the days that have not 24 hours
    edges_at: np.ndarray  # int64 (b, 2), where those of each burst begin and end


def _local_days(readings: Readings) -> LocalDays:
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
    """How many hours (HOUR) the sections of all bursts may need; none for a burst that lies in one hour of a day of 24."""
    most = channel = m = 0
    for b in range(len(columns.bursts)):
        burst, begin_ms = columns.bursts[b], days.midnight_ms[m]
        in_one = (days.midnight_ms[m + 1] - begin_ms == DAY_MS and days.count[b] == 1
                  and (burst.start_ms - begin_ms) // HOUR_MS == (burst.end_ms - 1 - begin_ms) // HOUR_MS)
        for count in columns.count[channel:channel + burst.channels]:
            if count > 1 and not in_one:
                most += (burst.end_ms - burst.start_ms) // HOUR_MS + 2 + days.edges_at[b, 1] - days.edges_at[b, 0]
        channel += burst.channels
        m += days.count[b] + 1
    return most


@compiled
def _fill(sections, hours, columns, partition, offset, days, max_gap_ms):
    """Fill in the sections of all bursts, and their hours. Returns how many hours there are."""
    s = n = channel = m = h = r = 0
    house_id, newest_ms = 0, NEVER
    for b in range(len(columns.bursts)):
        burst, edges = columns.bursts[b], days.edges[days.edges_at[b, 0]:days.edges_at[b, 1]]
        if burst.house_id != house_id:
            house_id, newest_ms = burst.house_id, NEVER
        for _ in range(burst.channels):
            time_ms, begin_ms, end = burst.start_ms, burst.start_ms, n + columns.count[channel]
            for d in range(days.count[b]):
                section = sections[s]
                section.burst, section.partition, section.offset, section.before_ms = b, partition[b], offset[b], newest_ms
                section.meter_id, section.day, section.start_ms = columns.meter_id[channel], days.first[b] + d, begin_ms
                section.end_ms = begin_ms = days.midnight_ms[m + d + 1] if d < days.count[b] - 1 else burst.end_ms
                day = days.midnight_ms[m + d], days.midnight_ms[m + d + 1], edges
                n, time_ms, section.hours = _integrate(section, hours[h:], day, columns.gap_ms, columns.watts, n, end, time_ms, max_gap_ms)
                h += section.hours
                s += 1
            r = _count_refused(sections[s - days.count[b]:s], columns.refused, r, channel)
            channel += 1
        m += days.count[b] + 1
        newest_ms = max(newest_ms, burst.newest_ms)
    return h


@compiled
def _count_refused(sections, refused, r, channel):
    """Count the refused readings of a channel, from index r on, in the sections of their days. Returns the index of the next channel's."""
    d = 0
    while r < len(refused) and refused[r].channel == channel:
        while refused[r].time_ms >= sections[d].end_ms:
            d += 1
        sections[d].refused += refused[r].readings
        r += 1
    return r


@compiled
def _integrate(section, hours, day, gap_ms, watts, at, end, time_ms, max_gap_ms):
    """Let a section take in its channel's readings from index `at` on, those before the section's end.

    hours: to be filled in, when these readings lie in more than one hour of their day. day: as hour_of takes it. time_ms: of the
    reading before. Returns the index after the section's last reading, the time of that, and how many hours were filled in.
    """
    begin, h, longest_ms = at, 0, np.int64(0)
    if at < end and time_ms + gap_ms[at] < section.end_ms:
        time_ms += gap_ms[at]
        section.first_ms, at = time_ms, at + 1
    goes_on = at > begin
    while goes_on:
        hour_ms, until_ms = hour_of(time_ms, *day)
        whole, rest, covered_ms, until_ms = np.int64(0), np.int64(0), np.int64(0), min(until_ms, section.end_ms)
        while at < end and time_ms + gap_ms[at] < until_ms:
            time_ms += gap_ms[at]
            held_ms = min(gap_ms[at], max_gap_ms)
            mj, mj_rest = energy(watts[at - 1], held_ms)
            whole, rest, covered_ms, longest_ms = whole + mj, rest + mj_rest, covered_ms + held_ms, max(longest_ms, gap_ms[at])
            at += 1
        _add(section, whole, rest, covered_ms)
        goes_on = at < end and time_ms + gap_ms[at] < section.end_ms
        if h or goes_on:
            h = _gain(hours, h, section.meter_id, section.day, hour_ms, whole, rest, covered_ms)
        if goes_on:  # the next reading is of a later hour
            held_ms = min(gap_ms[at], max_gap_ms)
            _add(section, *energy(watts[at - 1], held_ms), held_ms)
            h = hold(hours, h, section.meter_id, section.day, watts[at - 1], time_ms, held_ms, day)
            time_ms, longest_ms, at = time_ms + gap_ms[at], max(longest_ms, gap_ms[at]), at + 1
    if at > begin:
        section.readings, section.last_ms, section.last_watts, section.max_gap_ms = at - begin, time_ms, watts[at - 1], longest_ms
    return at, time_ms, h


@compiled
def _add(total, energy_mj, energy_rest, covered_ms):
    """Add to the energy of a section, a result or an hour."""
    total.energy_mj += energy_mj
    total.energy_rest += energy_rest
    total.covered_ms += covered_ms


@compiled
def hold(hours, h, meter_id, day_number, watts, from_ms, held_ms, day):
    """Add to hours[:h] what a reading holds within a local day, split where hours end; the last hour gains what is left of its integers.

    day: as hour_of takes it. Returns how many hours there are then.
    """
    left_mj, left_rest = energy(watts, held_ms)
    until_ms = from_ms + held_ms
    hour_ms, end_ms = hour_of(from_ms, *day)
    while end_ms < until_ms:
        mj, rest = energy(watts, end_ms - from_ms)
        h = _gain(hours, h, meter_id, day_number, hour_ms, mj, rest, end_ms - from_ms)
        left_mj, left_rest, from_ms = left_mj - mj, left_rest - rest, end_ms
        hour_ms, end_ms = hour_of(from_ms, *day)
    return _gain(hours, h, meter_id, day_number, hour_ms, left_mj, left_rest, until_ms - from_ms)


@compiled
def _gain(hours, h, meter_id, day, start_ms, energy_mj, energy_rest, covered_ms):
    """Add to the last of hours[:h], if it is this one, or else behind it. Returns how many there are then."""
    last = hours[h - 1]
    if h == 0 or last.start_ms != start_ms or last.meter_id != meter_id or last.day != day:
        hours[h].meter_id, hours[h].day, hours[h].start_ms = meter_id, day, start_ms
        h += 1
    _add(hours[h - 1], energy_mj, energy_rest, covered_ms)
    return h


def daily(sections: np.ndarray, timezone: str, clock_ms: int, max_gap_ms: int) -> np.ndarray:
    """The totals (RESULT) of each meter and day with readings, be they refused, or with one that holds into it; by meter, then day.

    sections: of one house, joined; clock_ms: its newest reading.
    """
    results = np.zeros(3 * len(sections), RESULT)
    measured = _add_up(results, sections, midnights(timezone), clock_ms, max_gap_ms)
    every = _add_unused(results, measured, sections, midnights(timezone), clock_ms)
    return results[:every] if every == measured else np.sort(results[:every], order=("meter_id", "day"))


@compiled
def _add_up(results, sections, midnight_ms, clock_ms, max_gap_ms):
    """Fill in the results. Returns how many there are. While a result is worked on, its max_gap_ms leaves out what follows last_ms."""
    r = last_ms = 0
    for s in range(len(sections)):
        section = sections[s]
        if section.readings == 0:
            continue
        r, last_ms = _result_of(results, r, last_ms, section.meter_id, section.day, midnight_ms, clock_ms)
        result = results[r - 1]
        result.readings += section.readings
        _add(result, section.energy_mj, section.energy_rest, section.covered_ms)
        result.max_gap_ms = max(result.max_gap_ms, section.max_gap_ms, section.first_ms - last_ms)
        last_ms = section.last_ms
        until_ms = _held_until(sections, s, clock_ms, max_gap_ms)
        for day in range(section.day, section.day + 2):  # a reading holds for less than a day
            held_ms = min(until_ms, midnight_ms[day + 1]) - max(section.last_ms, midnight_ms[day])
            if held_ms > 0:
                r, last_ms = _result_of(results, r, last_ms, section.meter_id, day, midnight_ms, clock_ms)
                _add(results[r - 1], *energy(section.last_watts, held_ms), held_ms)
    _end_result(results, r, last_ms, midnight_ms, clock_ms)
    return r


@compiled
def _add_unused(results, r, sections, midnight_ms, clock_ms):
    """Count duplicates and refused readings in the results, or in new ones behind the r that are there. Returns how many there are then."""
    at, measured = 0, r
    for s in range(len(sections)):
        section = sections[s]
        if section.duplicates == 0 and section.refused == 0:
            continue
        while at < measured and (results[at].meter_id, results[at].day) < (section.meter_id, section.day):
            at += 1
        found = at
        if at == measured or results[at].meter_id != section.meter_id or results[at].day != section.day:
            found = r - 1
            if r == measured or results[found].meter_id != section.meter_id or results[found].day != section.day:
                found, r = r, r + 1
                results[found].meter_id, results[found].day = section.meter_id, section.day
                results[found].max_gap_ms = max(0, min(midnight_ms[section.day + 1], clock_ms) - midnight_ms[section.day])
        results[found].duplicates += section.duplicates
        results[found].refused += section.refused
    return r


@compiled
def _held_until(sections, s, clock_ms, max_gap_ms):
    """Until when the last reading of a section holds that is not joined to the next."""
    following = _following(sections, s)
    return min(clock_ms if following < 0 else sections[following].first_ms, sections[s].last_ms + max_gap_ms)


def held_by_hour(sections: np.ndarray, timezone: str, clock_ms: int, max_gap_ms: int) -> np.ndarray:
    """HOUR: what `daily` adds to the sections, of their last readings; an hour may come several times."""
    days = sections["day"]
    edges = edges_of(timezone, np.concatenate((days, days + 1)))
    hours = np.zeros(len(sections) * (max_gap_ms // HOUR_MS + 4 + len(edges)), HOUR)
    return hours[:_hold_all(hours, sections, midnights(timezone), edges, clock_ms, max_gap_ms)]


@compiled
def _hold_all(hours, sections, midnight_ms, edges, clock_ms, max_gap_ms):
    """Fill in the hours. Returns how many there are."""
    h = 0
    for s in range(len(sections)):
        section = sections[s]
        until_ms = _held_until(sections, s, clock_ms, max_gap_ms) if section.readings else section.last_ms
        for day in range(section.day, section.day + 2):
            from_ms = max(section.last_ms, midnight_ms[day])
            held_ms = min(until_ms, midnight_ms[day + 1]) - from_ms
            if held_ms > 0:
                h = hold(hours, h, section.meter_id, day, section.last_watts, from_ms, held_ms, (midnight_ms[day], midnight_ms[day + 1], edges))
    return h


@compiled
def _result_of(results, r, last_ms, meter_id, day, midnight_ms, clock_ms):
    """(r, last_ms) with the result of a meter and day as results[r - 1]: the last one, or a new one behind it."""
    if r > 0 and results[r - 1].meter_id == meter_id and results[r - 1].day == day:
        return r, last_ms
    _end_result(results, r, last_ms, midnight_ms, clock_ms)
    results[r].meter_id, results[r].day = meter_id, day
    return r + 1, midnight_ms[day]


@compiled
def _end_result(results, r, last_ms, midnight_ms, clock_ms):
    """Let the longest gap of the last result take in what lies between its last reading and its end, or the newest reading."""
    if r > 0:
        results[r - 1].max_gap_ms = max(results[r - 1].max_gap_ms, min(midnight_ms[results[r - 1].day + 1], clock_ms) - last_ms)


@compiled
def _following(sections, s):
    """Index of the next section of the same meter that has readings, or -1."""
    for other in range(s + 1, len(sections)):
        if sections[other].meter_id != sections[s].meter_id:
            break
        if sections[other].readings:
            return other
    return -1


@dataclass(eq=False)
class HouseDays:
    """The open days of one house: the keyed state of the daily energy job."""

    timezone: str
    clock_ms: int  # the newest reading; NEVER before the first
    closed_day: int  # this local day and all before it are closed
    revision: int  # of the last result
    changed_from: int  # first local day whose results are not yet sent; ALL_SENT when there is none
    sections: np.ndarray  # SECTION, joined; of closed days only each meter's last with readings is kept

    ALL_SENT = 2**31 - 1

    @classmethod
    def known(cls, state: bytes | None, timezone: str) -> HouseDays:
        """A house as its state has it; without one, that of a house that was never heard of, in that time zone."""
        return cls(timezone, NEVER, -1, 0, cls.ALL_SENT, np.empty(0, SECTION)) if state is None else cls.from_bytes(state)

    def take(self, arrived: np.ndarray, newest_ms: int, rules: Rules) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take in the sections (ARRIVED (b,)) of one or more bursts, newest_ms being their newest reading.

        Returns (what becomes of each section: FRESH, AGAIN, OVERLAPPING or LATE, uint8 (b,); LINK of each that is fresh to its neighbours;
        JOINED: the readings that hold from one section to the next, now that the two are one).
        """
        self.sections, verdict, links, joined, self.changed_from = _take(
            self.sections, arrived, midnights(self.timezone), self.clock_ms, self.closed_day, self.changed_from,
            rules.max_gap_ms, rules.allowed_lateness_ms)
        self.clock_ms = max(self.clock_ms, newest_ms)
        return verdict, links, joined

    def cuts(self, arrived: np.ndarray, can_be_cut: np.ndarray, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
        """Where to cut those sections (ARRIVED (b,)) that overlap in part with what was received before them, so that no piece does.

        can_be_cut: bool (b,). Returns (section, start in ms) of each piece, int64 (p,), rising; sections that stay whole have none.
        """
        return _cuts(self.sections, arrived, can_be_cut, midnights(self.timezone), self.clock_ms, self.closed_day, rules.allowed_lateness_ms)

    def over_by_now(self, rules: Rules) -> int:
        """The last local day that is over, on the house's own clock. It is still to be closed if it is after closed_day."""
        return int(_day_at(midnights(self.timezone), self.clock_ms - rules.allowed_lateness_ms)) - 1

    @property
    def all_sent(self) -> bool:
        """Whether nothing has changed since the last results."""
        return self.changed_from == self.ALL_SENT

    def results(self, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
        """(RESULT rows of open days that are new since the last call, whether each is final)."""
        rows = daily(self.sections, self.timezone, self.clock_ms, rules.max_gap_ms)
        over = self.over_by_now(rules)
        changed = (rows["day"] >= self.changed_from) | (rows["day"] <= over)
        rows = rows[changed & (rows["day"] > self.closed_day)]
        self.changed_from = self.ALL_SENT
        return rows, rows["day"] <= over

    def close(self, rules: Rules) -> None:
        """Close the days that are over: they take no more readings, and are forgotten."""
        over = self.over_by_now(rules)
        if over > self.closed_day:
            self.closed_day = over
            self._forget_closed()

    def next_revision(self, now_ms: int) -> int:
        """A revision higher than all before it: the present time, where that is."""
        self.revision = max(self.revision + 1, now_ms)
        return self.revision

    def _forget_closed(self) -> None:
        """Drop the sections of closed days, but for each meter's last reading, which may hold into the next day."""
        closed = self.sections["day"] <= self.closed_day
        heard = np.flatnonzero(closed & (self.sections["readings"] > 0))
        keep = ~closed
        keep[heard[np.diff(self.sections["meter_id"][heard], append=-1) != 0]] = True
        self.sections = self.sections[keep]

    def to_bytes(self) -> bytes:
        """This state in a stable form, as kept in checkpoints."""
        zone = self.timezone.encode()
        head = _HEAD.pack(STATE_VERSION, self.clock_ms, self.closed_day, self.revision, self.changed_from, len(zone))
        return head + zone + self.sections.tobytes()

    @classmethod
    def from_bytes(cls, state: bytes) -> HouseDays:
        """The state that to_bytes gave."""
        version, clock_ms, closed_day, revision, changed_from, size = _HEAD.unpack_from(state)
        if version != 1:
            require_version(version, STATE_VERSION)
        body = _HEAD.size + size
        sections = widened(np.frombuffer(state, SECTION_1 if version == 1 else SECTION, offset=body), SECTION)
        return cls(state[_HEAD.size:body].decode(), clock_ms, closed_day, revision, changed_from, sections)


@compiled
def _take(sections, arrived, midnight_ms, clock_ms, closed_day, changed_from, max_gap_ms, allowed_lateness_ms):
    """Let the sections of a house take in those that arrived. Returns (the sections then, verdict, links, joined, changed_from)."""
    held, size, reached_day = np.empty(len(sections) + len(arrived), SECTION), len(sections), _day_at(midnight_ms, clock_ms)
    verdict, links, found = np.empty(len(arrived), np.uint8), np.empty(2 * len(arrived), LINK), 0
    joined, j = np.empty(2 * len(arrived), JOINED), 0
    held[:size] = sections
    for i in range(len(arrived)):
        section = arrived[i]
        if _is_late(section, midnight_ms, clock_ms, closed_day, allowed_lateness_ms):
            verdict[i] = LATE
            continue
        changed_from = min(changed_from, reached_day, section.day - 1)  # a reading of the day before may hold on into it
        at = _place(held, size, section)
        verdict[i] = _compare(held, size, at, section)
        if verdict[i] == AGAIN:
            held[at - 1].duplicates += section.readings + section.refused
        if verdict[i] == FRESH:
            size = _insert(held, size, at, section)
            found = _link(held, size, at, links, found)
            size, j = _join(held, size, at, max_gap_ms, joined, j)
            size, j = _join(held, size, at - 1, max_gap_ms, joined, j)
    return held[:size], verdict, links[:found], joined[:j], changed_from


@compiled
def _cuts(sections, arrived, can_be_cut, midnight_ms, clock_ms, closed_day, allowed_lateness_ms):
    """See HouseDays.cuts. The spans are taken as by _take, the pieces in place of their sections.

    A section fills the holes that it covers for good, and makes one new hole at most: so many pieces are new, and no more.
    """
    held, size = np.empty(2 * len(sections) + 3 * len(arrived), SECTION), len(sections)
    held[:size] = sections
    of_section, start_ms, pieces, piece = np.empty(64, np.int64), np.empty(64, np.int64), 0, np.empty(1, ARRIVED)
    for i in range(len(arrived)):
        section = arrived[i]
        if _is_late(section, midnight_ms, clock_ms, closed_day, allowed_lateness_ms):
            continue
        at = _place(held, size, section)
        verdict = _compare(held, size, at, section)
        if verdict == FRESH:
            size = _speak_for(held, size, at, section)
        if verdict != OVERLAPPING or not can_be_cut[i]:
            continue
        piece[0], rest = section, piece[0]
        while rest.start_ms < section.end_ms:
            if pieces == len(of_section):
                of_section, start_ms = np.append(of_section, of_section), np.append(start_ms, start_ms)
            of_section[pieces], start_ms[pieces] = i, rest.start_ms
            pieces += 1
            at, rest.end_ms = _place(held, size, rest), section.end_ms
            if at > 0 and held[at - 1].meter_id == rest.meter_id and held[at - 1].end_ms > rest.start_ms:
                rest.end_ms = min(held[at - 1].end_ms, section.end_ms)
            else:
                if at < size and held[at].meter_id == rest.meter_id:
                    rest.end_ms = min(held[at].start_ms, section.end_ms)
                size = _speak_for(held, size, at, rest)
            rest.start_ms = rest.end_ms
    return of_section[:pieces], start_ms[:pieces]


@compiled
def _speak_for(held, size, at, section):
    """Let held take in the span of a section before held[at]. Returns the new size."""
    size = _insert(held, size, at, section)
    held[at].readings = 0
    joined = np.empty(2, JOINED)
    size, j = _join(held, size, at, 0, joined, 0)
    size, _ = _join(held, size, at - 1, 0, joined, j)
    return size


@compiled
def _is_late(section, midnight_ms, clock_ms, closed_day, allowed_lateness_ms):
    """Whether the day of a section (ARRIVED) was closed when it came."""
    time_ms = max(section.before_ms, clock_ms) - allowed_lateness_ms
    return section.day <= closed_day or time_ms >= midnight_ms[section.day + 1]


@compiled
def _day_at(midnight_ms, time_ms):
    """The local day that holds a time; see midnights."""
    return np.searchsorted(midnight_ms, time_ms, side="right") - 1


@compiled
def _place(held, size, section):
    """Index of the first section that is behind this one: of a later meter, or of the same one and beginning later."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if (held[middle].meter_id, held[middle].start_ms) <= (section.meter_id, section.start_ms):
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _compare(held, size, at, section):
    """FRESH, AGAIN or OVERLAPPING: whether the sections before and behind `at` cover none, all or some of a section's time."""
    if at > 0 and held[at - 1].meter_id == section.meter_id and held[at - 1].end_ms > section.start_ms:
        return AGAIN if held[at - 1].end_ms >= section.end_ms else OVERLAPPING
    if at < size and held[at].meter_id == section.meter_id and held[at].start_ms < section.end_ms:
        return OVERLAPPING
    return FRESH


@compiled
def _insert(held, size, at, section):
    """Put a section (ARRIVED) before held[at]. Returns the new size."""
    for other in range(size, at, -1):
        held[other] = held[other - 1]
    new = held[at]
    new.meter_id, new.day, new.start_ms, new.end_ms = section.meter_id, section.day, section.start_ms, section.end_ms
    new.readings, new.duplicates, new.first_ms, new.last_ms = section.readings, section.duplicates, section.first_ms, section.last_ms
    new.last_watts, new.energy_mj, new.energy_rest = section.last_watts, section.energy_mj, section.energy_rest
    new.covered_ms, new.max_gap_ms, new.refused = section.covered_ms, section.max_gap_ms, section.refused
    return size + 1


@compiled
def _link(held, size, at, links, found):
    """Add the links of a section to its meter's readings before and behind it. Returns how many there are now."""
    if held[at].readings:
        before = at - 1
        while before >= 0 and held[before].meter_id == held[at].meter_id and held[before].readings == 0:
            before -= 1
        if before >= 0 and held[before].meter_id == held[at].meter_id:
            links[found].meter_id, links[found].last_ms, links[found].next_ms = held[at].meter_id, held[before].last_ms, held[at].first_ms
            found += 1
        following = _following(held[:size], at)
        if following >= 0:
            links[found].meter_id, links[found].last_ms, links[found].next_ms = held[at].meter_id, held[at].last_ms, held[following].first_ms
            found += 1
    return found


@compiled
def _join(held, size, at, max_gap_ms, joined, j):
    """Make one of held[at] and the section behind it, where they touch on the same day. Returns the new size, and that of `joined`."""
    if at < 0 or at + 1 >= size:
        return size, j
    here, there = held[at], held[at + 1]
    if here.meter_id != there.meter_id or here.day != there.day or here.end_ms != there.start_ms:
        return size, j
    if here.readings and there.readings:
        gap_ms = there.first_ms - here.last_ms
        held_ms = min(gap_ms, max_gap_ms)
        _add(here, *energy(here.last_watts, held_ms), held_ms)
        here.max_gap_ms = max(here.max_gap_ms, gap_ms)
        joined[j].meter_id, joined[j].day, joined[j].last_ms = here.meter_id, here.day, here.last_ms
        joined[j].held_ms, joined[j].last_watts = held_ms, here.last_watts
        j += 1
    if there.readings:
        here.first_ms = here.first_ms if here.readings else there.first_ms
        here.last_ms, here.last_watts = there.last_ms, there.last_watts
    here.end_ms = there.end_ms
    here.readings += there.readings
    here.duplicates += there.duplicates
    here.refused += there.refused
    _add(here, there.energy_mj, there.energy_rest, there.covered_ms)
    here.max_gap_ms = max(here.max_gap_ms, there.max_gap_ms)
    for other in range(at + 1, size - 1):
        held[other] = held[other + 1]
    return size - 1, j
