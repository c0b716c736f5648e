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
from itertools import pairwise

import numpy as np

from jobs.compiled import compiled
from jobs.readings import NEVER, Readings, day_of, days_of, midnights
from smartmeter.settings import Settings

REST_PER_MJ = 2.0**40
MJ_PER_KWH = 3.6e9
STATE_VERSION = 1
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
])
"""92 bytes. A house of 20 meters with 2 days open holds 40 of them: 3.7 kB."""

ARRIVED = np.dtype(SECTION.descr + [
    ("burst", "i4"),  # bursts of the house in this batch, numbered in the order they arrived
    ("partition", "i4"),  # of the message
    ("offset", "i8"),
    ("before_ms", "i8"),  # newest reading of the house's earlier bursts in this batch
    ("peak_watts", "f4"),  # highest reading
    ("bins", "i4"),  # how many entries of the batch's histograms are this section's
    ("carried", "i4"),  # how many of the batch's readings are this section's
    ("minutes", "i4"),  # how many of the batch's minutes are this section's
])
"""A section of one burst, with what is needed to judge whether it came too late, and what a batch holds of it."""

LINK = np.dtype([("meter_id", "i4"), ("last_ms", "i8"), ("next_ms", "i8")])
"""Two readings of a meter that follow each other, as far as is known: the last of a section, the first of the next."""

FRESH, AGAIN, OVERLAPPING, LATE = range(4)
"""What becomes of a section that arrives: used; dropped and counted, as its span was received before; refused, as
part of it was; refused, as its day was closed."""

RESULT = np.dtype([
    ("meter_id", "i4"), ("day", "i4"), ("readings", "i8"), ("duplicates", "i8"),
    ("energy_mj", "i8"), ("energy_rest", "i8"), ("covered_ms", "i8"), ("max_gap_ms", "i8"),
])


def require_version(version: int, understood: int) -> None:
    """Raise ValueError when state was written by a release that this one does not understand."""
    if version != understood:
        raise ValueError(f"a checkpoint of state version {version}, where {understood} is understood: "
                         "restore it with the release that wrote it, or replay")


@dataclass(frozen=True)
class Rules:
    """How long a reading holds, and how long after midnight (on the house's own clock) a day stays open, in ms."""

    max_gap_ms: int
    allowed_lateness_ms: int

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """The rules that the settings give."""
        return cls(round(settings.max_gap_s * 1000), round(settings.allowed_lateness_s * 1000))


def energy(watts, held_ms) -> tuple[np.ndarray, np.ndarray]:
    """(whole mJ, 2**-40 mJ), int64, of powers (W) that hold for some time (ms)."""
    product = np.multiply(watts, held_ms, dtype=np.float64)
    whole = product.astype(np.int64)
    return whole, ((product - whole) * REST_PER_MJ).astype(np.int64)


def kwh(energy_mj, energy_rest):
    """Energy in kWh, as float64."""
    return (energy_mj + energy_rest / REST_PER_MJ) / MJ_PER_KWH


def arrivals(readings: Readings, partition: np.ndarray, offset: np.ndarray, max_gap_ms: int) -> np.ndarray:
    """The sections (ARRIVED) in many bursts: one a meter and local day that a burst touches, in order of arrival.

    partition, offset: (b,), of the message of each burst. The `burst` column holds the index of the burst, and
    before_ms the newest reading of the same house in the bursts before it.
    """
    first_day, days, midnight_ms = _local_days(readings)
    sections = np.zeros(int(np.sum(days * readings.bursts["channels"])), ARRIVED)
    _fill(sections, readings.columns, partition, offset, first_day, days, midnight_ms, max_gap_ms)
    return sections


def _local_days(readings: Readings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first local day that each burst touches, how many; the midnights between the days of each burst, one burst after the other)."""
    bursts = readings.bursts
    first_day = days_of(readings.zones, bursts["zone"], bursts["start_ms"])
    days = days_of(readings.zones, bursts["zone"], bursts["end_ms"] - 1) - first_day + 1
    within = [midnights(readings.zones[bursts["zone"][b]])[first_day[b] + 1:first_day[b] + days[b]] for b in np.flatnonzero(days > 1)]
    return first_day, days, np.concatenate(within) if within else np.empty(0, np.int64)


@compiled
def _fill(sections, columns, partition, offset, first_day, days, midnight_ms, max_gap_ms):
    """Fill in the sections of all bursts."""
    s = n = channel = m = 0
    house_id, newest_ms = 0, NEVER
    for b in range(len(columns.bursts)):
        burst = columns.bursts[b]
        if burst.house_id != house_id:
            house_id, newest_ms = burst.house_id, NEVER
        for _ in range(burst.channels):
            time_ms, begin_ms, end = burst.start_ms, burst.start_ms, n + columns.count[channel]
            for d in range(days[b]):
                section = sections[s]
                section.burst, section.partition, section.offset, section.before_ms = b, partition[b], offset[b], newest_ms
                section.meter_id, section.day, section.start_ms = columns.meter_id[channel], first_day[b] + d, begin_ms
                section.end_ms = begin_ms = midnight_ms[m + d] if d < days[b] - 1 else burst.end_ms
                n, time_ms = _integrate(section, columns.gap_ms, columns.watts, n, end, time_ms, max_gap_ms)
                s += 1
            channel += 1
        m += days[b] - 1
        newest_ms = max(newest_ms, burst.newest_ms)


@compiled
def _integrate(section, gap_ms, watts, at, end, time_ms, max_gap_ms):
    """Let a section take in its channel's readings from index `at` on, those before the section's end.

    time_ms: of the reading before. Returns the index after the section's last reading, and the time of that.
    """
    begin, whole, rest, covered_ms, longest_ms = at, np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    while at < end and time_ms + gap_ms[at] < section.end_ms:
        time_ms += gap_ms[at]
        if at == begin:
            section.first_ms = time_ms
        else:
            held_ms = min(gap_ms[at], max_gap_ms)
            mj, mj_rest = _energy(watts[at - 1], held_ms)
            whole, rest, covered_ms, longest_ms = whole + mj, rest + mj_rest, covered_ms + held_ms, max(longest_ms, gap_ms[at])
        at += 1
    if at > begin:
        section.readings, section.last_ms, section.last_watts = at - begin, time_ms, watts[at - 1]
        section.energy_mj, section.energy_rest, section.covered_ms, section.max_gap_ms = whole, rest, covered_ms, longest_ms
    return at, time_ms


@compiled
def _energy(watts, held_ms):
    """(whole mJ, 2**-40 mJ) of a power (W) that holds for some time (ms)."""
    product = np.float64(watts) * held_ms
    whole = np.int64(product)
    return whole, np.int64((product - whole) * REST_PER_MJ)


def channels(house, sections: np.ndarray) -> np.ndarray:
    """int64 (b,): one number for the house (an index: int, or int (b,)) and the meter of each section; by house, then meter."""
    return np.asarray(house, np.int64) << 32 | sections["meter_id"]


def in_order(channel: np.ndarray, sections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(channel, sections), sorted by channel and time."""
    order = np.lexsort((sections["start_ms"], channel))
    return channel[order], sections.take(order)


def crossing(channel: np.ndarray, sections: np.ndarray) -> np.ndarray:
    """bool (b - 1,): whether each section (in order) and the one behind it cover the same time of the same meter."""
    return (channel[1:] == channel[:-1]) & (sections["start_ms"][1:] < sections["end_ms"][:-1])


def join(channel: np.ndarray, sections: np.ndarray, max_gap_ms: int) -> tuple[np.ndarray, np.ndarray]:
    """(channel, sections), in order and none crossing, with those sections that touch made one."""
    touch = (
        (channel[1:] == channel[:-1])
        & (sections["day"][1:] == sections["day"][:-1])
        & (sections["start_ms"][1:] == sections["end_ms"][:-1])
    )
    if not touch.any():
        return channel, sections
    begins_group = np.concatenate([[True], ~touch])
    begins, group = np.flatnonzero(begins_group), np.cumsum(begins_group) - 1
    here, there = _neighbours(channel, sections)
    inside = group[here] == group[there]
    _add_between(sections, here[inside], there[inside], max_gap_ms)
    joined = sections[begins]
    for column, fold in (
        ("end_ms", np.maximum), ("readings", np.add), ("duplicates", np.add), ("energy_mj", np.add),
        ("energy_rest", np.add), ("covered_ms", np.add), ("max_gap_ms", np.maximum),
    ):
        joined[column] = fold.reduceat(sections[column], begins)
    some = np.flatnonzero(sections["readings"])
    joined["first_ms"][group[some[::-1]]] = sections["first_ms"][some[::-1]]
    joined["last_ms"][group[some]] = sections["last_ms"][some]
    joined["last_watts"][group[some]] = sections["last_watts"][some]
    return channel[begins], joined


def _neighbours(channel: np.ndarray, sections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices (i, j) of sections with readings that follow each other in the same channel, in sorted sections."""
    some = np.flatnonzero(sections["readings"])
    same = channel[some[1:]] == channel[some[:-1]]
    return some[:-1][same], some[1:][same]


def _links(channel: np.ndarray, sections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(channel, LINK) of readings that follow each other, in sorted sections."""
    here, there = _neighbours(channel, sections)
    links = np.empty(len(here), LINK)
    links["meter_id"] = sections["meter_id"][here]
    links["last_ms"], links["next_ms"] = sections["last_ms"][here], sections["first_ms"][there]
    return channel[here], links


def _add_between(sections, here, there, max_gap_ms) -> None:
    """Add the interval from the last reading of `here` to the first of `there` to the sections `there`."""
    gap_ms = sections["first_ms"][there] - sections["last_ms"][here]
    held_ms = np.minimum(gap_ms, max_gap_ms)
    whole, rest = energy(sections["last_watts"][here], held_ms)
    sections["energy_mj"][there] += whole
    sections["energy_rest"][there] += rest
    sections["covered_ms"][there] += held_ms
    sections["max_gap_ms"][there] = np.maximum(sections["max_gap_ms"][there], gap_ms)


def daily(sections: np.ndarray, timezone: str, clock_ms: int, max_gap_ms: int) -> np.ndarray:
    """The totals (RESULT) of each meter and day with readings, or with one that holds into it.

    sections: of one house, joined; clock_ms: its newest reading.
    """
    holds = _holds(sections, timezone, clock_ms, max_gap_ms)
    heard = sections[sections["readings"] > 0]
    keys = np.unique(np.concatenate([_meter_day(heard), _meter_day(holds)]))
    results = np.zeros(len(keys), RESULT)
    results["meter_id"], results["day"] = keys >> 32, keys & 0xFFFFFFFF
    for rows, columns in (
        (heard, ("readings", "duplicates", "energy_mj", "energy_rest", "covered_ms")),
        (holds, ("energy_mj", "energy_rest", "covered_ms")),
    ):
        at = np.searchsorted(keys, _meter_day(rows))
        for column in columns:
            np.add.at(results[column], at, rows[column])
    results["max_gap_ms"] = _longest_gap(heard, keys, results["day"], midnights(timezone), clock_ms)
    return results


def _meter_day(rows: np.ndarray) -> np.ndarray:
    """One sortable int64 for the meter and day of each row."""
    return (rows["meter_id"].astype(np.int64) << 32) | rows["day"]


def _holds(sections, timezone, clock_ms, max_gap_ms) -> np.ndarray:
    """What the last reading of each section adds until the next section's first, cut at midnight (RESULT)."""
    some = sections[sections["readings"] > 0]
    until_ms = np.full(len(some), clock_ms)
    here, there = _neighbours(some["meter_id"], some)
    until_ms[here] = some["first_ms"][there]
    until_ms = np.minimum(until_ms, some["last_ms"] + max_gap_ms)
    bounds = midnights(timezone)
    pieces = []
    for days_on in range(2):  # a reading holds for less than a day
        day = some["day"] + days_on
        held_ms = np.minimum(until_ms, bounds[day + 1]) - np.maximum(some["last_ms"], bounds[day])
        piece = np.zeros(len(some), RESULT)
        piece["meter_id"], piece["day"], piece["covered_ms"] = some["meter_id"], day, held_ms
        piece["energy_mj"], piece["energy_rest"] = energy(some["last_watts"], held_ms)
        pieces.append(piece[held_ms > 0])
    return np.concatenate(pieces)


def _longest_gap(heard, keys, day, bounds, clock_ms) -> np.ndarray:
    """Longest time without a reading of each (meter, day), the day's start and its end (or clock_ms) included."""
    begin_ms, end_ms = bounds[day], np.minimum(bounds[day + 1], clock_ms)
    at = np.searchsorted(keys, _meter_day(heard))
    first = np.diff(at, prepend=-1) != 0
    last = np.diff(at, append=len(keys)) != 0
    longest = end_ms - begin_ms
    longest[at] = 0
    np.maximum.at(longest, at, heard["max_gap_ms"])
    np.maximum.at(longest, at, heard["first_ms"] - np.where(first, begin_ms[at], np.roll(heard["last_ms"], 1)))
    np.maximum.at(longest, at[last], end_ms[at[last]] - heard["last_ms"][last])
    return longest


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
    def known(cls, state: bytes | None, timezone: str) -> "HouseDays":
        """A house as its state has it; without one, that of a house that was never heard of, in that time zone."""
        return cls(timezone, NEVER, -1, 0, cls.ALL_SENT, np.empty(0, SECTION)) if state is None else cls.from_bytes(state)

    def _merge(self, arrived: np.ndarray, max_gap_ms: int) -> tuple[np.ndarray, np.ndarray]:
        """Add sections (ARRIVED), of which some cross others, in the order they came.

        Returns (FRESH, AGAIN or OVERLAPPING for each; LINK).
        """
        plain, verdict, links = _plain(arrived), np.full(len(arrived), FRESH), []
        for rows in np.split(np.arange(len(arrived)), np.flatnonzero(np.diff(arrived["burst"])) + 1):
            fresh, covered_by = self._compare(plain[rows])
            again = covered_by >= 0
            self.sections["duplicates"][covered_by[again]] += plain["readings"][rows][again]
            verdict[rows] = np.select([fresh, again], [FRESH, AGAIN], OVERLAPPING)
            together = np.concatenate([self.sections, plain[rows][fresh]], dtype=SECTION)
            meter_id, together = in_order(together["meter_id"], together)
            links.append(_links(meter_id, together)[1])
            self.sections = join(meter_id, together, max_gap_ms)[1]
        return verdict, np.concatenate(links)

    def _compare(self, sections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each section: whether it overlaps none that is held; index of the one that covers it all, or -1."""
        mine, new = self.sections, sections[:, None]
        meets = (
            (new["meter_id"] == mine["meter_id"])
            & (new["start_ms"] < mine["end_ms"]) & (new["end_ms"] > mine["start_ms"])
        )
        inside = meets & (new["start_ms"] >= mine["start_ms"]) & (new["end_ms"] <= mine["end_ms"])
        covered_by = np.full(len(sections), -1)
        rows, holders = np.nonzero(inside)
        covered_by[rows] = holders
        return ~meets.any(axis=1), covered_by

    @property
    def all_sent(self) -> bool:
        """Whether nothing has changed since the last results."""
        return self.changed_from == self.ALL_SENT

    def results(self, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
        """(RESULT rows of open days that are new since the last call, whether each is final)."""
        rows = daily(self.sections, self.timezone, self.clock_ms, rules.max_gap_ms)
        [over] = over_by_now([self], rules)
        changed = (rows["day"] >= self.changed_from) | (rows["day"] <= over)
        rows = rows[changed & (rows["day"] > self.closed_day)]
        self.changed_from = self.ALL_SENT
        return rows, rows["day"] <= over

    def close(self, rules: Rules) -> None:
        """Close the days that are over: they take no more readings, and are forgotten."""
        [over] = over_by_now([self], rules)
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
    def from_bytes(cls, state: bytes) -> "HouseDays":
        """The state that to_bytes gave."""
        version, clock_ms, closed_day, revision, changed_from, size = _HEAD.unpack_from(state)
        require_version(version, STATE_VERSION)
        body = _HEAD.size + size
        sections = np.frombuffer(state, SECTION, offset=body).copy()
        return cls(state[_HEAD.size:body].decode(), clock_ms, closed_day, revision, changed_from, sections)


def add(
    houses: list[HouseDays], arrived: list[np.ndarray], newest_ms: list[int], rules: Rules
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Let houses take in the sections (ARRIVED) of one or more bursts each, newest_ms being their newest reading.

    Returns for each house (what becomes of each section: FRESH, AGAIN, OVERLAPPING or LATE; LINK of all that is held now).
    All houses are worked on at once: what NumPy takes for a call it takes for all of them.
    """
    numbers = np.arange(len(houses))
    house, sections = np.repeat(numbers, [len(a) for a in arrived]), np.concatenate(arrived, dtype=ARRIVED)
    late = _late(houses, house, sections, rules)
    verdict = np.where(late, LATE, FRESH)
    _mark_changed(houses, house[~late], sections["day"][~late])
    crossed, links = _merge_all(houses, house[~late], sections[~late], rules.max_gap_ms)
    bounds = np.searchsorted(house, [*numbers, len(houses)])
    taken = []
    for i, (begin, end) in enumerate(pairwise(bounds.tolist())):
        own, own_links = verdict[begin:end], links[i]
        if i in crossed:
            own[~late[begin:end]], own_links = houses[i]._merge(arrived[i][~late[begin:end]], rules.max_gap_ms)
        houses[i].clock_ms = max(houses[i].clock_ms, newest_ms[i])
        taken.append((own, own_links))
    return taken


def over_by_now(houses: list[HouseDays], rules: Rules) -> list[int]:
    """The last local day of each house that is over, on its own clock. It is still to be closed if it is after closed_day."""
    clock_ms = np.array([house.clock_ms for house in houses])
    return (days_of([house.timezone for house in houses], np.arange(len(houses)), clock_ms - rules.allowed_lateness_ms) - 1).tolist()


def _late(houses: list[HouseDays], house: np.ndarray, sections: np.ndarray, rules: Rules) -> np.ndarray:
    """bool (b,): whether the day of each section is closed for its burst."""
    clock_ms = np.maximum(sections["before_ms"], np.array([h.clock_ms for h in houses])[house])
    over = days_of([h.timezone for h in houses], house, clock_ms - rules.allowed_lateness_ms) - 1
    closed_day = np.array([h.closed_day for h in houses])[house]  # which is later once the house's time zone has changed
    return sections["day"] <= np.maximum(over, closed_day)


def _mark_changed(houses: list[HouseDays], house: np.ndarray, day: np.ndarray) -> None:
    """Have the results of the days told that sections of these houses and days change, and of those that they hold on into."""
    if not len(house):
        return
    begins = np.flatnonzero(np.diff(house, prepend=-1))
    changed = house[begins]
    clock_ms = np.array([houses[i].clock_ms for i in changed])
    reached_day = days_of([h.timezone for h in houses], changed, clock_ms)
    first_day = np.minimum(reached_day, np.minimum.reduceat(day, begins) - 1)
    for i, since in zip(changed.tolist(), first_day.tolist()):
        houses[i].changed_from = min(houses[i].changed_from, since)


def _merge_all(houses: list[HouseDays], house: np.ndarray, arrived: np.ndarray, max_gap_ms: int) -> tuple[set[int], list[np.ndarray]]:
    """Add sections that cross no others. Returns (the houses where some do, which are left as they are; LINK by house)."""
    held = np.concatenate([h.sections for h in houses], dtype=SECTION)
    held_by = np.repeat(np.arange(len(houses)), [len(h.sections) for h in houses])
    together = np.concatenate([held, _plain(arrived)], dtype=SECTION)
    channel, together = in_order(channels(np.concatenate([held_by, house]), together), together)
    crossed = set((channel[1:][crossing(channel, together)] >> 32).tolist())
    if crossed:
        kept = ~np.isin(channel >> 32, list(crossed))
        channel, together = channel[kept], together[kept]
    links_of, links = _links(channel, together)
    channel, joined = join(channel, together, max_gap_ms)
    starts = np.arange(len(houses) + 1) << 32
    found = []
    for i, (link, section) in enumerate(zip(pairwise(np.searchsorted(links_of, starts).tolist()),
                                            pairwise(np.searchsorted(channel, starts).tolist()))):
        found.append(links[slice(*link)])
        if i not in crossed:
            houses[i].sections = joined[slice(*section)]
    return crossed, found


def _plain(arrived: np.ndarray) -> np.ndarray:
    """Sections (ARRIVED) as they are held (SECTION)."""
    plain = np.empty(len(arrived), SECTION)
    for column in SECTION.names:
        plain[column] = arrived[column]
    return plain
