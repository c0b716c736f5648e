"""The open days of one house. Readings may come in any order, repeatedly or late.

The sections of power and those of each register of a meter are apart: each has its own spans. What follows is said of power.

A reading holds until the meter's next one, but no longer than the period of its channel (without one, max_sample_period_ms) and not beyond
the house's newest reading. Its energy is its power times that time (left rectangle, clipped interval, as in NILMTK's totalenergy). Sections
that touch are joined, so a house needs one section a meter and day, however many readings it sends.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from jobs.core.energy import add, amounts, sums_of
from jobs.core.local_hours import start_of_hour
from jobs.core.rows import picked
from jobs.core.sections import ARRIVED, SECTION, SECTION_1, SECTION_2, period_of
from jobs.core.state_version import require_version, widened
from jobs.core.totals import combined, daily, following
from smartmeter.arrays import Bools, Bytes, Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import NEVER, midnights
from smartmeter.loops import append
from smartmeter.messages.codec import EXPORT, IMPORT, POWER
from smartmeter.settings import Settings

STATE_VERSION = 3
_HEAD, _SECTIONS = struct.Struct("<Bqiqii"), struct.Struct("<III")

NO_SECTIONS = np.empty(0, SECTION)

JOINED = np.dtype([("meter_id", "i4"), ("day", "i4"), ("last_ms", "i8"), ("held_ms", "i8"), ("last_watts", "f4")])
"""The last reading of a section that was joined to the next one, and how long it held."""

LINK = np.dtype([("meter_id", "i4"), ("last_ms", "i8"), ("next_ms", "i8")])
"""Two readings of a meter with none between them so far: the last of one section and the first of the next."""

FRESH, AGAIN, OVERLAPPING, LATE = range(4)
"""What becomes of an arriving section. FRESH: used. AGAIN: dropped and counted, because its span was received before. OVERLAPPING: refused,
because part of its span was, and its readings did not travel along to be cut (jobs.core.overlaps). LATE: refused, its day was closed."""


@dataclass(frozen=True)
class Rules:
    """How long a reading of a channel without a period holds, and how long after midnight (on the house's clock) a day stays open, in ms."""

    max_sample_period_ms: int
    allowed_lateness_ms: int

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules in the settings."""
        return cls(round(settings.rules.max_gap_s * 1000), round(settings.rules.allowed_lateness_s * 1000))


@dataclass(eq=False)
class HouseDays:
    """The open days of one house: the keyed state of the daily energy job."""

    timezone: str
    clock_ms: int  # the newest reading; NEVER before the first
    closed_day: int  # this local day and all before it are closed
    revision: int  # of the last result
    changed_from: int  # first local day whose results are not yet sent, or ALL_SENT
    sections: Rows  # SECTION of power, joined; of closed days, only the last with readings of each meter
    registers: dict[int, Rows] = field(default_factory=lambda: dict.fromkeys((IMPORT, EXPORT), NO_SECTIONS))
    """Quantity -> SECTION of its registers, joined, of open days."""

    ALL_SENT = 2**31 - 1

    @classmethod
    def known(cls, state: bytes | None, timezone: str) -> HouseDays:
        """A house restored from its state; without one, an unseen house in the given time zone."""
        return cls(timezone, NEVER, -1, 0, cls.ALL_SENT, NO_SECTIONS) if state is None else cls.from_bytes(state)

    def emptied(self) -> HouseDays:
        """The house as if it had sent nothing, except that its revisions go on rising."""
        return HouseDays(self.timezone, NEVER, -1, self.revision, self.ALL_SENT, np.empty(0, SECTION))

    def take(self, arrived: Rows, newest_ms: int, rules: Rules) -> tuple[Bytes, Rows, Rows]:
        """Add the sections (ARRIVED (s,)) of one or more bursts. newest_ms: their newest reading.

        Returns (verdict on each section, uint8 (s,): FRESH, AGAIN, OVERLAPPING or LATE; LINK of each fresh one with its neighbours;
        JOINED: the readings that hold from one section to the next, now that these are one).
        """
        of_power = arrived["quantity"] == POWER
        own = arrived if of_power.all() else arrived[of_power]
        self.sections, of_own, links, joined = self._take(self.sections, own, rules, rules.max_sample_period_ms)
        verdict = of_own
        if len(own) < len(arrived):
            verdict = np.empty(len(arrived), np.uint8)
            verdict[of_power] = of_own
            for quantity, sections in self.registers.items():
                own = arrived["quantity"] == quantity
                self.registers[quantity], verdict[own], _, _ = self._take(sections, arrived[own], rules, 0)
        self.clock_ms = max(self.clock_ms, newest_ms)
        return verdict, links, joined

    def _take(self, sections: Rows, arrived: Rows, rules: Rules, max_sample_period_ms: int) -> tuple[Rows, Bytes, Rows, Rows]:
        """(the sections with those that arrived, verdict on each of these, links, joined), all of one quantity."""
        sections, verdict, links, joined, self.changed_from = _take(
            sections,
            arrived,
            midnights(self.timezone),
            self.clock_ms,
            self.closed_day,
            self.changed_from,
            max_sample_period_ms,
            rules.allowed_lateness_ms,
        )
        return sections, verdict, links, joined

    def cuts(self, arrived: Rows, can_be_cut: Bools, rules: Rules) -> tuple[Ints, Ints]:
        """Where to cut the sections (ARRIVED (s,)) that overlap in part with earlier ones, so that no piece does.

        can_be_cut: bool (s,). Returns (section, start in ms) of each piece, int64 (p,), rising. Sections that stay whole have no pieces.
        """
        found = []
        for quantity, sections in ((POWER, self.sections), *self.registers.items()):
            own = np.flatnonzero(arrived["quantity"] == quantity)
            if len(own):
                of_own, start_ms = _cuts(
                    sections,
                    arrived[own],
                    can_be_cut[own],
                    midnights(self.timezone),
                    self.clock_ms,
                    self.closed_day,
                    rules.allowed_lateness_ms,
                )
                found.append((own[of_own], start_ms))
        of_section, start_ms = (np.concatenate(columns) for columns in zip(*found))
        order = np.argsort(of_section, kind="stable")
        return of_section[order], start_ms[order]

    def over_by_now(self, rules: Rules) -> int:
        """The last local day that is over by the house's own clock. If it is after closed_day, it is not closed yet."""
        return int(_day_at(midnights(self.timezone), self.clock_ms - rules.allowed_lateness_ms)) - 1

    @property
    def running_ms(self) -> int:
        """Start of the local hour of the newest reading; NEVER before the first."""
        return self.clock_ms if self.clock_ms == NEVER else start_of_hour(self.timezone, self.clock_ms)

    @property
    def all_sent(self) -> bool:
        """Whether nothing has changed since the last results."""
        return self.changed_from == self.ALL_SENT

    def results(self, rules: Rules, given: Rows | None = None, ended: bool = False) -> tuple[Rows, Bools]:
        """(RESULT rows of open days that changed since the last call or are over, whether each is final): energy is that of power.

        given: RESULT of days to which registers give energy, which may have no reading. A day in which a meter sent nothing has its row once
        it is over, or at the end of a bounded topic (ended): a reading of an earlier day may come that leaves nothing to it.
        """
        rows = daily(self.sections, self.timezone, self.clock_ms, rules.max_sample_period_ms)
        if given is not None:
            of_registers = [daily(sections, self.timezone, self.clock_ms, 0) for sections in self.registers.values()]
            for of_register in of_registers:
                of_register["gaps"] = 0  # a difference covers any gap
            rows = combined(rows, *of_registers, given)
            bounds = midnights(self.timezone)
            until_ms = np.minimum(bounds[rows["day"] + 1], self.clock_ms)
            rows["max_gap_ms"] = np.minimum(rows["max_gap_ms"], np.maximum(until_ms - bounds[rows["day"]], 0))
        over = self.over_by_now(rules)
        has_sent = (rows["readings"] > 0) | (rows["duplicates"] > 0) | (rows["refused"] > 0)
        due = np.where(has_sent, rows["day"] >= self.changed_from, ended) | (rows["day"] <= over)
        rows = picked(rows, due & (rows["day"] > self.closed_day))
        self.changed_from = self.ALL_SENT
        return rows, rows["day"] <= over

    def close(self, rules: Rules) -> None:
        """Close the days that are over: they accept no more readings and are dropped from state."""
        over = self.over_by_now(rules)
        if over > self.closed_day:
            self.closed_day = over
            self._forget_closed()

    def next_revision(self, now_ms: int) -> int:
        """A revision higher than all before: the present time if that is higher, else the last one plus 1."""
        self.revision = max(self.revision + 1, now_ms)
        return self.revision

    def _forget_closed(self) -> None:
        """Drop the sections of closed days, except each meter's last one with readings: its last reading may hold into the next day."""
        self.sections = picked(self.sections, _needed(self.sections, self.closed_day))
        for quantity, sections in self.registers.items():
            self.registers[quantity] = picked(sections, sections["day"] > self.closed_day)

    def to_bytes(self) -> bytes:
        """This state in a stable form, as kept in checkpoints."""
        zone = self.timezone.encode()
        head = _HEAD.pack(STATE_VERSION, self.clock_ms, self.closed_day, self.revision, self.changed_from, len(zone))
        every = self.sections, *self.registers.values()
        return head + zone + _SECTIONS.pack(*map(len, every)) + b"".join(sections.tobytes() for sections in every)

    @classmethod
    def from_bytes(cls, state: bytes) -> HouseDays:
        """Inverse of to_bytes; also reads versions 1 and 2."""
        version, clock_ms, closed_day, revision, changed_from, size = _HEAD.unpack_from(state)
        body = _HEAD.size + size
        house = cls(state[_HEAD.size : body].decode(), clock_ms, closed_day, revision, changed_from, NO_SECTIONS)
        if version <= 2:
            house.sections = widened(np.frombuffer(state, SECTION_1 if version == 1 else SECTION_2, offset=body), SECTION)
            return house
        require_version(version, STATE_VERSION)
        counts, at = _SECTIONS.unpack_from(state, body), body + _SECTIONS.size
        house.sections, *registers = (
            np.frombuffer(state, SECTION, count, at + SECTION.itemsize * before)
            for count, before in zip(counts, (0, counts[0], counts[0] + counts[1]))
        )
        house.registers = dict(zip(house.registers, registers))
        return house


@compiled
def by_verdict(verdict, sections):
    """int64 (2, 4): the readings, and those that were refused before, of the sections (ARRIVED (s,)) with each verdict."""
    counts = np.zeros((2, LATE + 1), np.int64)
    for s in range(len(sections)):
        counts[0, verdict[s]] += sections[s].readings
        counts[1, verdict[s]] += sections[s].refused
    return counts


@compiled
def _needed(sections, closed_day):
    """bool (n,): the sections of open days, and each meter's last one with readings before them."""
    needed, last = np.ones(len(sections), np.bool_), -1
    for s in range(len(sections)):
        if sections[s].day <= closed_day:
            needed[s] = sections[s].readings > 0
            if needed[s] and last >= 0 and sections[last].meter_id == sections[s].meter_id:
                needed[last] = False
            last = s if needed[s] else last
    return needed


@compiled
def _take(sections, arrived, midnight_ms, clock_ms, closed_day, changed_from, max_sample_period_ms, allowed_lateness_ms):
    """Add the arrived sections to those of a house. Returns (the new sections, verdict, links, joined, changed_from)."""
    held, reached_day = np.empty(len(sections) + len(arrived), SECTION), _day_at(midnight_ms, clock_ms)
    verdict, links, found = np.empty(len(arrived), np.uint8), np.empty(2 * len(arrived), LINK), 0
    joined, j = np.empty(2 * len(arrived), JOINED), 0
    size = append(held, 0, sections)
    for i in range(len(arrived)):
        section = arrived[i]
        if _is_late(section, midnight_ms, clock_ms, closed_day, allowed_lateness_ms):
            verdict[i] = LATE
            continue
        changed_from = min(changed_from, reached_day, section.day - 1)  # a reading of the day before may hold into it
        at = _place(held, size, section)
        verdict[i] = _compare(held, size, at, section)
        if verdict[i] == AGAIN:
            held[at - 1].duplicates += section.readings + section.refused
        if verdict[i] == FRESH:
            size = _insert(held, size, at, section)
            found = _link(held, size, at, links, found)
            size, j = _join(held, size, at, max_sample_period_ms, joined, j)
            size, j = _join(held, size, at - 1, max_sample_period_ms, joined, j)
    return held[:size], verdict, links[:found], joined[:j], changed_from


@compiled
def _cuts(sections, arrived, can_be_cut, midnight_ms, clock_ms, closed_day, allowed_lateness_ms):
    """See HouseDays.cuts. Spans are added as in _take, with pieces in place of their sections.

    A section permanently fills the holes that it covers, and makes at most one new hole. This bounds the number of new pieces.
    """
    held = np.empty(2 * len(sections) + 3 * len(arrived), SECTION)
    size = append(held, 0, sections)
    of_section, start_ms, pieces, piece = np.empty(64, np.int64), np.empty(64, np.int64), 0, np.empty(1, ARRIVED)
    for i in range(len(arrived)):
        section = arrived[i]
        if _is_late(section, midnight_ms, clock_ms, closed_day, allowed_lateness_ms):
            continue
        at = _place(held, size, section)
        verdict = _compare(held, size, at, section)
        if verdict == FRESH:
            size = _add_span(held, size, at, section)
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
                size = _add_span(held, size, at, rest)
            rest.start_ms = rest.end_ms
    return of_section[:pieces], start_ms[:pieces]


@compiled
def _add_span(held, size, at, section):
    """Add the span of a section, without its readings, before held[at]. Returns the new size."""
    size = _insert(held, size, at, section)
    held[at].readings = 0
    joined = np.empty(2, JOINED)
    size, j = _join(held, size, at, 0, joined, 0)
    size, _ = _join(held, size, at - 1, 0, joined, j)
    return size


@compiled
def _is_late(section, midnight_ms, clock_ms, closed_day, allowed_lateness_ms):
    """Whether the day of a section (ARRIVED) was closed when the section arrived."""
    time_ms = max(section.before_ms, clock_ms) - allowed_lateness_ms
    return section.day <= closed_day or time_ms >= midnight_ms[section.day + 1]


@compiled
def _day_at(midnight_ms, time_ms):
    """The local day that contains a time; see midnights."""
    return np.searchsorted(midnight_ms, time_ms, side="right") - 1


@compiled
def _place(held, size, section):
    """Index of the first section after this one: of a later meter, or of the same meter with a later start."""
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
    """FRESH, AGAIN or OVERLAPPING: whether the sections before and at `at` cover none, all or some of a section's span."""
    if at > 0 and held[at - 1].meter_id == section.meter_id and held[at - 1].end_ms > section.start_ms:
        return AGAIN if held[at - 1].end_ms >= section.end_ms else OVERLAPPING
    if at < size and held[at].meter_id == section.meter_id and held[at].start_ms < section.end_ms:
        return OVERLAPPING
    return FRESH


@compiled
def _insert(held, size, at, section):
    """Insert a section (ARRIVED) before held[at]. Returns the new size."""
    for other in range(size, at, -1):
        held[other] = held[other - 1]
    new = held[at]
    new.meter_id, new.day, new.start_ms, new.end_ms = section.meter_id, section.day, section.start_ms, section.end_ms
    new.readings, new.duplicates, new.first_ms, new.last_ms = section.readings, section.duplicates, section.first_ms, section.last_ms
    new.last_watts, new.energy_mj, new.energy_rest = section.last_watts, section.energy_mj, section.energy_rest
    new.covered_ms, new.max_gap_ms, new.refused = section.covered_ms, section.max_gap_ms, section.refused
    new.exported_mj, new.exported_rest, new.period_ms = section.exported_mj, section.exported_rest, section.period_ms
    new.gaps = section.gaps
    return size + 1


@compiled
def _link(held, size, at, links, found):
    """Add the links of held[at] to its meter's readings before and after it. Returns the new number of links."""
    if held[at].readings:
        before = at - 1
        while before >= 0 and held[before].meter_id == held[at].meter_id and held[before].readings == 0:
            before -= 1
        if before >= 0 and held[before].meter_id == held[at].meter_id:
            links[found].meter_id, links[found].last_ms, links[found].next_ms = held[at].meter_id, held[before].last_ms, held[at].first_ms
            found += 1
        behind = following(held[:size], at)
        if behind >= 0:
            links[found].meter_id, links[found].last_ms, links[found].next_ms = held[at].meter_id, held[at].last_ms, held[behind].first_ms
            found += 1
    return found


@compiled
def _join(held, size, at, max_sample_period_ms, joined, j):
    """Merge held[at] with the section after it if they touch on the same day. Returns the new size and that of `joined`."""
    if at < 0 or at + 1 >= size:
        return size, j
    here, there = held[at], held[at + 1]
    if here.meter_id != there.meter_id or here.day != there.day or here.end_ms != there.start_ms:
        return size, j
    if here.readings and there.readings:
        gap_ms = there.first_ms - here.last_ms
        held_ms = min(gap_ms, period_of(here, max_sample_period_ms))
        add(here, *amounts(here.last_watts, held_ms))
        here.max_gap_ms, here.gaps = max(here.max_gap_ms, gap_ms), here.gaps + (held_ms < gap_ms)
        joined[j].meter_id, joined[j].day, joined[j].last_ms = here.meter_id, here.day, here.last_ms
        joined[j].held_ms, joined[j].last_watts = held_ms, here.last_watts
        j += 1
    if there.readings:
        here.first_ms = here.first_ms if here.readings else there.first_ms
        here.last_ms, here.last_watts, here.period_ms = there.last_ms, there.last_watts, there.period_ms
    here.end_ms = there.end_ms
    here.readings += there.readings
    here.duplicates += there.duplicates
    here.refused += there.refused
    here.gaps += there.gaps
    add(here, *sums_of(there))
    here.max_gap_ms = max(here.max_gap_ms, there.max_gap_ms)
    for other in range(at + 1, size - 1):
        held[other] = held[other + 1]
    return size - 1, j
