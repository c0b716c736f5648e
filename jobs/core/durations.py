"""Alerts of duration: a meter that draws something for longer than it usually does.

Each kind has a condition on a minute, such as being over a level, and a time for which it may hold. A minute at which the condition has held
for longer is *conspicuous*. Conspicuous minutes of a meter and kind less than MERGED_MINUTES apart are a *spell*: one alert. It starts when
the rule is broken, not when the condition began. So it does not move while it goes on.

All follows from the house's cells, and from the versions of thresholds and the user's rules in force in each minute. So the order of arrival
does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from math import prod
from typing import Any, NamedTuple

import lz4.block
import numpy as np

from jobs.core.cells import DAY_MINUTES, HOUSE, Cells
from jobs.core.local_hours import HOUR_MS, clock_minutes
from jobs.core.open_runs import (
    COLUMNS,
    LAST,
    LEVELS,
    NONE,
    OFF,
    REST,
    SAME,
    SEEN,
    Rule,
    advance,
    goes_on,
    lasted,
    level_code,
    no_runs,
    rests,
    seen_by,
    silence,
    since,
)
from jobs.core.shapes import HOURS
from jobs.core.state_version import require_version
from jobs.core.user_rules import UserRules
from jobs.core.usual import USUAL
from smartmeter.arrays import Bytes, Int32s, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import day_of, midnights
from smartmeter.messages.rules import OF_DURATION
from smartmeter.settings import MINUTE_MS

KINDS = (*OF_DURATION, "limit", "overrun", "idle", "schedule")
RUN, BAND, OFF_TOO_LONG, HOUR, STANDBY, DEAD, FROZEN, SILENT, OWN_LIMIT, OVERRUN, IDLE, SCHEDULE = range(len(KINDS))
"""The last four are of a user's rule, which needs nothing usual."""

OVER_OWN, AT_RARE, OVER_HOUR, OVER_STANDBY, UNDER_DEAD = range(COLUMNS, COLUMNS + 5)
"""Columns of a meter's open runs, after those of jobs.core.open_runs: the first minutes of runs whose condition depends on a user's rule, or on
the version."""
ALL_COLUMNS = UNDER_DEAD + 1

MERGED_MINUTES = 15
RUN_MINUTES, BAND_MINUTES, OVER_HOUR_MINUTES, HOUR_MINUTES, STANDBY_MINUTES = 20, 8, 11, 60, 22 * 60
RUN_FACTOR, OFF_FACTOR, SAME_FACTOR, SILENCE_FACTOR = 2, 2, 2, 2
"""Something may last this many times as long as it usually does, and the minutes above longer."""

LONG_PAUSE_MINUTES = 12 * 60
"""An appliance that has paused for longer is used now and then, and may stay off."""

SPELL = np.dtype(
    [
        ("meter_id", "i4"),
        ("kind", "u1"),
        ("start", "i4"),  # its first conspicuous minute; NONE: there is none
        ("last", "i4"),  # its last one
        ("since", "i4"),  # when the condition of its first one began
        ("limit", "u1"),  # code of the power that it was over, or under
        ("usual", "i4"),  # the longest that the condition usually holds, in minutes; -1 where that does not count
        ("peak", "u1"),  # highest code of its conspicuous minutes
        ("open", "?"),
    ]
)
"""24 bytes."""

HOUSE_ALONE = np.array([HOUSE], np.int32)
STATE_VERSION = 1
DURATIONS_VERSION = 2


class Usuals(NamedTuple):
    """What is usual for the meters of a house, by version of its thresholds."""

    from_minutes: Int32s  # int32 (v,), rising: the first minute of each version
    of_version: Int32s  # int32 (n,): the index of the version of each row
    rows: Rows  # USUAL (n,)

    def at(self, meter_ids: Int32s, minutes: Int32s) -> Int32s:
        """int32 (minutes, m): the index of the row that holds for each minute and meter, or -1."""
        of_meter = np.full((len(self.from_minutes) + 1, len(meter_ids)), -1, np.int32)  # the last row: before all versions
        known = np.isin(self.rows["meter_id"], meter_ids)
        of_meter[self.of_version[known], np.searchsorted(meter_ids, self.rows["meter_id"][known])] = np.flatnonzero(known)
        at: Int32s = of_meter[np.searchsorted(self.from_minutes, minutes, side="right") - 1]
        return at

    def to_bytes(self) -> bytes:
        """These in a stable form, as kept in checkpoints."""
        head = np.array([STATE_VERSION, len(self.from_minutes), len(self.rows)], np.int32)
        packed: bytes = lz4.block.compress(b"".join(array.tobytes() for array in (head, *self)))
        return packed

    @classmethod
    def from_bytes(cls, state: bytes | None) -> Usuals:
        """Inverse of to_bytes; none for None."""
        if state is None:
            return cls(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, USUAL))
        body = lz4.block.decompress(state)
        version, versions, rows = np.frombuffer(body, np.int32, 3).tolist()
        require_version(version, STATE_VERSION)
        from_minutes, of_version = np.split(np.frombuffer(body, np.int32, versions + rows, 12), [versions])
        return cls(from_minutes, of_version, np.frombuffer(body, USUAL, offset=12 + 4 * (versions + rows)))

    def add(self, from_minute: int, rows: Rows) -> Usuals:
        """These with one more version, in place of one that begins with the same minute."""
        kept = self.from_minutes != from_minute
        of_version = self.from_minutes[self.of_version]
        others = of_version != from_minute
        begun = np.append(of_version[others], np.full(len(rows), from_minute, np.int32))
        from_minutes = np.sort(np.append(self.from_minutes[kept], np.int32(from_minute)))
        every = np.concatenate([self.rows[others], rows])
        return Usuals(from_minutes, np.searchsorted(from_minutes, begun).astype(np.int32), every)

    def forget_before(self, minute: int) -> Usuals:
        """These without the versions that are replaced by a minute."""
        first = max(int(np.searchsorted(self.from_minutes, minute, side="right")) - 1, 0)
        kept = self.of_version >= first
        return Usuals(self.from_minutes[first:], self.of_version[kept] - np.int32(first), self.rows[kept])


class Silence(NamedTuple):
    """For how many minutes a house is silent usually, and may be; and the first minute that is not muted."""

    usual: int
    allowed: int
    muted_until: int

    @classmethod
    def at(cls, minute: int, usuals: Usuals, user_rules: UserRules) -> Silence | None:
        """That of a minute; None while it is not known what is usual."""
        [[usual]], [own] = usuals.at(HOUSE_ALONE, np.array([minute], np.int32)), user_rules.at(HOUSE_ALONE, minute)
        if usual < 0:
            return None
        gap = int(usuals.rows[usual]["gap"])
        return cls(gap, int(allowed(SILENT, SILENCE_FACTOR * gap + HOUR_MINUTES, own)), int(own["muted_until"]))


class Scan(NamedTuple):
    """A house's cells, and what judges them."""

    cells: Cells
    usuals: Usuals
    user_rules: UserRules
    timezone: str
    rule: Rule


class Progress(NamedTuple):
    """What a scan of a house's cells knows at a minute: that minute, exclusive, and of each meter its open runs and last spells."""

    minute: int
    meter_ids: Int32s  # int32 (m,), rising
    runs: Int32s  # int32 (m, ALL_COLUMNS), open runs
    spells: Rows  # SPELL (m, kinds), the last one of each kind
    ended: Rows  # SPELL, those before them

    @classmethod
    def none(cls) -> Progress:
        """That of an unseen house."""
        return cls(NONE, np.empty(0, np.int32), np.empty((0, ALL_COLUMNS), np.int32), np.empty((0, len(KINDS)), SPELL), np.empty(0, SPELL))

    def go_on(self, scan: Scan, until_minute: int) -> Progress:
        """The progress at a later minute."""
        cells, usuals, user_rules, timezone, rule = scan
        _, meter_ids, runs, spells, ended = self._with_meters(cells)
        size = len(ended)
        for day in cells.days:
            first_of_day = day * DAY_MINUTES
            day_from, day_to = max(self.minute, first_of_day), min(until_minute, first_of_day + DAY_MINUTES)
            if day_from >= day_to:
                continue
            of_day = cells.block(day).with_meters(meter_ids).cells
            for first, end in user_rules.spans(day_from, day_to):
                minutes, own = np.arange(first, end, dtype=np.int32), user_rules.at(meter_ids, first)
                clock_at = clock_minutes(timezone, minutes) if (own["off_from"] >= 0).any() else minutes
                times = usuals.at(meter_ids, minutes), hours_since_midnight(timezone, minutes), clock_at
                ended = np.append(ended[:size], np.empty(len(meter_ids) * most_spells(end - first), SPELL))
                some = of_day[:, first - first_of_day : end - first_of_day]
                size = _scan(some, first, usuals.rows, own, *times, runs, spells, ended, size, *rule)
        return Progress(max(self.minute, until_minute), meter_ids, runs, spells, ended[:size])

    def _with_meters(self, cells: Cells) -> Progress:
        """A copy with room for all meters of the cells."""
        meter_ids = reduce(np.union1d, (cells.block(day).meter_ids for day in cells.days), self.meter_ids).astype(np.int32)
        rows = np.searchsorted(meter_ids, self.meter_ids)
        runs, spells = np.full((len(meter_ids), ALL_COLUMNS), NONE, np.int32), np.zeros((len(meter_ids), len(KINDS)), SPELL)
        runs[:, :COLUMNS] = no_runs(len(meter_ids))
        spells["meter_id"], spells["kind"], spells["start"] = meter_ids[:, np.newaxis], np.arange(len(KINDS)), NONE
        runs[rows], spells[rows] = self.runs, self.spells
        return Progress(self.minute, meter_ids, runs, spells, self.ended)

    def all_spells(self, clock_minute: int) -> Rows:
        """SPELL: all spells so far, by meter, kind and start, as of a minute of the house's clock."""
        spells = np.concatenate([self.ended, self.spells[self.spells["start"] != NONE]])
        spells["open"] = spells["last"] + MERGED_MINUTES >= clock_minute
        in_order: Rows = spells[np.lexsort((spells["start"], spells["kind"], spells["meter_id"]))]
        return in_order

    def forget_before(self, minute: int) -> Progress:
        """This progress without the spells that no reading from a minute on can change."""
        self.spells["start"][self.spells["last"] + MERGED_MINUTES < minute] = NONE
        return self._replace(ended=self.ended[self.ended["last"] + MERGED_MINUTES >= minute])

    def to_bytes(self) -> bytes:
        """This progress in a stable form."""
        head = np.array([self.minute, len(self.meter_ids), len(self.ended)], np.int32)
        return b"".join(array.tobytes() for array in (head, *self[1:]))

    @classmethod
    def from_bytes(cls, body: bytearray, at: int) -> tuple[Progress, int]:
        """(the progress that to_bytes gave, the place of what follows it)."""
        (minute, meters, ended), at = np.frombuffer(body, np.int32, 3, at).tolist(), at + 12
        arrays: list[Any] = []
        for dtype, shape in (
            (np.dtype(np.int32), (meters,)),
            (np.dtype(np.int32), (meters, ALL_COLUMNS)),
            (SPELL, (meters, len(KINDS))),
            (SPELL, (ended,)),
        ):
            arrays.append(np.frombuffer(body, dtype, prod(shape), at).reshape(shape))
            at += arrays[-1].nbytes
        return cls(minute, *arrays), at


def most_spells(minutes: int) -> int:
    """The most spells of a meter that may begin within some minutes: there are more than MERGED_MINUTES between two of a kind."""
    return len(KINDS) * (minutes // (MERGED_MINUTES + 1) + 1)


@dataclass(eq=False)
class Durations:
    """The spells of a house: state of the spikes job.

    What lies before closed.minute cannot change any more. The minutes between closed and ahead may still get late readings; only then are
    they scanned again. The midnight at which the first open day ends lies between the two for as long as its readings may be late.
    """

    closed: Progress = field(default_factory=Progress.none)
    midnight: Progress = field(default_factory=Progress.none)  # at that midnight, once the scan is past it
    ahead: Progress = field(default_factory=Progress.none)
    sent: Rows = field(default_factory=lambda: np.empty(0, SPELL))  # as sent, those that may change
    absent: Rows = field(default_factory=lambda: np.empty(0, SPELL))  # the silence of the house, by the wall clock, until it sends again

    def changed_from(self, minute: int) -> None:
        """Scan again from a minute on, if that has been scanned."""
        if minute < self.midnight.minute:
            self.midnight = Progress.none()
        if minute < self.ahead.minute:
            self.ahead = self.closed if self.midnight.minute == NONE else self.midnight

    def go_on(self, scan: Scan, until_minute: int, midnight: int) -> None:
        """Scan on to a minute. midnight: the minute at which the first open day ends, or the days end that are to be closed."""
        if self.ahead.minute < midnight <= until_minute:
            self.ahead = self.midnight = self.ahead.go_on(scan, midnight)
        self.ahead = self.ahead.go_on(scan, until_minute)

    def spells(self, progress: Progress, clock_minute: int) -> Rows:
        """SPELL: all spells of a progress (see Progress.all_spells), and the house's silence while its end is not scanned."""
        if len(self.absent) and len(progress.runs) and progress.runs[0, LAST] >= self.absent["since"][0]:
            self.absent = self.absent[:0]
        return np.concatenate([self.absent, progress.all_spells(clock_minute)])

    def is_silent(self, silence: Silence, last_minute: int, now_minute: int) -> bool:
        """Note the silence of a house that had its last reading in a minute, if by the wall clock it is longer than allowed."""
        first = max(last_minute + 1 + silence.allowed, silence.muted_until)
        if first >= now_minute or now_minute < silence.muted_until:
            return False
        self.absent = np.array([(HOUSE, SILENT, first, now_minute - 1, last_minute + 1, 0, silence.usual, 0, True)], SPELL)
        return True

    def close(self, scan: Scan, end_minute: int) -> None:
        """Close the days that end by a minute."""
        at_end = self.midnight if self.midnight.minute == end_minute else self.closed.go_on(scan, end_minute)
        self.closed, self.midnight = at_end.forget_before(end_minute), Progress.none()
        self.ahead = self.ahead.forget_before(end_minute) if self.ahead.minute > end_minute else self.closed
        self.sent = self.sent[self.sent["last"] + MERGED_MINUTES >= end_minute]

    def to_bytes(self) -> bytes:
        """These in a stable form, as kept in checkpoints."""
        kept = b"".join(progress.to_bytes() for progress in (self.closed, self.midnight, self.ahead))
        body = bytes([DURATIONS_VERSION, len(self.absent)]) + self.absent.tobytes() + kept + self.sent.tobytes()
        packed: bytes = lz4.block.compress(body)
        return packed

    @classmethod
    def from_bytes(cls, state: bytes | None) -> Durations:
        """Inverse of to_bytes; none for None."""
        if state is None:
            return cls()
        body = bytearray(lz4.block.decompress(state))
        require_version(body[0], DURATIONS_VERSION)
        absent = np.frombuffer(body, SPELL, body[1], 2)
        closed, at = Progress.from_bytes(body, 2 + absent.nbytes)
        midnight, at = Progress.from_bytes(body, at)
        ahead, at = Progress.from_bytes(body, at)
        return cls(closed, midnight, ahead, np.frombuffer(body, SPELL, offset=at), absent)


def hours_since_midnight(timezone: str, minutes: Int32s) -> Bytes:
    """uint8: the hours between the local midnight and each minute; 23 in the last hour of a day of 25."""
    time_ms = minutes.astype(np.int64) * MINUTE_MS
    hours: Bytes = np.minimum((time_ms - midnights(timezone)[day_of(timezone, time_ms)]) // HOUR_MS, HOURS - 1).astype(np.uint8)
    return hours


@compiled
def _scan(cells, first, usual, own, usual_at, hour_at, clock_at, runs, spells, ended, size, most_missing, off_code):
    """Take in the cells (m, minutes) from minute `first` on. Appends the spells that ended to ended[:size]; returns the new size.

    usual: USUAL; own: USER_RULE (m,); usual_at: int32 (minutes, m), the index in `usual` that holds for a minute and meter, or -1; hour_at:
    uint8 (minutes,); clock_at: int32 (minutes,), what the house's clock shows, in minutes.
    """
    seen_at, rest_at = seen_by(cells[0], runs[0, SEEN]), rests(cells, runs[:, LAST], first)
    for m in range(len(cells)):
        for i in range(len(cells[m])):
            minute, at = first + i, usual_at[i, m]
            muted = minute < own[m].muted_until
            if cells[m, i].low:
                if m == 0 and at >= 0 and not muted:
                    size = _house_returns(spells[0, SILENT], runs[0], minute, usual[at].gap, own[0], ended, size)
                together = goes_on(runs[m], minute, most_missing)
                advance(runs[m], cells[m, i], minute, seen_at[i], rest_at[m, i], most_missing, off_code)
                if m > 0:
                    runs[m, OVER_OWN] = since(runs[m, OVER_OWN], 0 < own[m].limit < cells[m, i].low, together, minute)
                    if not muted:
                        size = _judge_by_rule(spells[m], runs[m], cells[m, i], minute, own[m], clock_at[i], off_code, ended, size)
                if m > 0 and at < 0:
                    runs[m, AT_RARE:] = NONE
                elif m > 0:
                    _advance_beside(runs[m], cells[m, i], minute, together, usual[at], hour_at[i])
                    if not muted:
                        size = _judge(spells[m], runs[m], cells[m, i], minute, usual[at], own[m], hour_at[i], off_code, ended, size)
            elif m > 0 and at >= 0 and cells[0, i].low and not muted:
                most = usual[at].gap
                if silence(runs[m], minute, seen_at[i] + 1) > allowed(SILENT, SILENCE_FACTOR * most + HOUR_MINUTES, own[m]):
                    size = _extend(spells[m, SILENT], minute, minute, runs[m, LAST] + 1, 0, most, 0, ended, size)
    return size


@compiled
def _house_returns(spell, runs, minute, usual_minutes, own, ended, size):
    """Note the silence of a house that ends with a minute, if it was longer than allowed. Returns the number of spells that ended."""
    begun, most = runs[LAST] + 1, allowed(SILENT, SILENCE_FACTOR * usual_minutes + HOUR_MINUTES, own)
    first = max(begun + most, own.muted_until)
    if silence(runs, minute, -1) == 0 or first >= minute:
        return size
    return _extend(spell, first, minute - 1, begun, 0, usual_minutes, 0, ended, size)


@compiled
def allowed(kind, minutes, own):
    """For how many minutes a kind's condition may hold under a user's rule (a row of USER_RULE); minutes: without one."""
    return int(own.times * minutes) + own.extra[kind]


@compiled
def _advance_beside(runs, cell, minute, together, usual, hour):
    """Advance the runs whose condition depends on the version in force."""
    at_rare = not usual.mains and usual.rare[cell.low] + usual.rare[cell.high] == 2
    runs[AT_RARE] = since(runs[AT_RARE], at_rare, together, minute)
    runs[OVER_HOUR] = since(runs[OVER_HOUR], 0 < usual.hour[hour] < runs[REST], together, minute)
    runs[OVER_STANDBY] = since(runs[OVER_STANDBY], 0 < usual.standby < cell.low, together, minute)
    runs[UNDER_DEAD] = since(runs[UNDER_DEAD], cell.high < usual.dead, together, minute)


@compiled
def _judge_by_rule(spells, runs, cell, minute, own, clock, off_code, ended, size):
    """Add a minute to the spells of what a user's rule does not allow. Returns the number of spells that ended."""
    high = cell.high
    if own.limit and lasted(runs[OVER_OWN], minute) > own.limit_minutes:
        size = _extend(spells[OWN_LIMIT], minute, minute, runs[OVER_OWN], own.limit, own.limit_minutes, high, ended, size)
    if own.on_minutes >= 0 and lasted(runs[0], minute) > own.on_minutes:
        size = _extend(spells[OVERRUN], minute, minute, runs[0], level_code(0), own.on_minutes, high, ended, size)
    if own.off_minutes >= 0 and lasted(runs[OFF], minute) > own.off_minutes:
        size = _extend(spells[IDLE], minute, minute, runs[OFF], off_code, own.off_minutes, high, ended, size)
    if own.off_from >= 0 and cell.low > off_code and (clock - own.off_from) % DAY_MINUTES < hours_off(own):
        size = _extend(spells[SCHEDULE], minute, minute, minute, off_code, -1, high, ended, size)
    return size


@compiled
def hours_off(own):
    """For how many minutes of a day a meter must be off, by a user's rule that has off_from and off_to: a whole day if these are the same."""
    return (own.off_to - own.off_from - 1) % DAY_MINUTES + 1


@compiled
def _judge(spells, runs, cell, minute, usual, own, hour, off_code, ended, size):
    """Add a minute to the spells of the kinds for which it is conspicuous. Returns the number of spells that ended."""
    high = cell.high
    if lasted(runs[SAME], minute) > allowed(FROZEN, SAME_FACTOR * usual.longest[SAME] + HOUR_MINUTES, own):
        size = _extend(spells[FROZEN], minute, minute, runs[SAME], 0, usual.longest[SAME], high, ended, size)
    if usual.mains:
        if lasted(runs[OVER_HOUR], minute) > allowed(HOUR, OVER_HOUR_MINUTES, own):
            size = _extend(spells[HOUR], minute, minute, runs[OVER_HOUR], usual.hour[hour], -1, high, ended, size)
        if lasted(runs[OVER_STANDBY], minute) > STANDBY_MINUTES + own.extra[STANDBY]:  # a day, however sensitive
            size = _extend(spells[STANDBY], minute, minute, runs[OVER_STANDBY], usual.standby, -1, high, ended, size)
        if lasted(runs[UNDER_DEAD], minute) > allowed(DEAD, HOUR_MINUTES, own):
            size = _extend(spells[DEAD], minute, minute, runs[UNDER_DEAD], usual.dead, -1, high, ended, size)
        return size
    if lasted(runs[AT_RARE], minute) > allowed(BAND, BAND_MINUTES, own):
        size = _extend(spells[BAND], minute, minute, runs[AT_RARE], 0, -1, high, ended, size)
    pause = usual.longest[OFF]
    if pause < LONG_PAUSE_MINUTES and lasted(runs[OFF], minute) > allowed(OFF_TOO_LONG, OFF_FACTOR * pause + HOUR_MINUTES, own):
        size = _extend(spells[OFF_TOO_LONG], minute, minute, runs[OFF], off_code, pause, high, ended, size)
    for level in range(LEVELS - 1, -1, -1):
        if runs[level] != NONE and lasted(runs[level], minute) > allowed(RUN, RUN_FACTOR * usual.longest[level] + RUN_MINUTES, own):
            return _extend(spells[RUN], minute, minute, runs[level], level_code(level), usual.longest[level], high, ended, size)
    return size


@compiled
def _extend(spell, start, last, begun, limit, usual_minutes, high, ended, size):
    """Add conspicuous minutes to a spell, or let them begin another. Returns the number of spells that ended."""
    if spell.start != NONE and start - spell.last <= MERGED_MINUTES:
        spell.last, spell.peak = last, max(spell.peak, high)
        return size
    if spell.start != NONE:
        ended[size] = spell
        size += 1
    spell.start, spell.last, spell.since = start, last, begun
    spell.limit, spell.usual, spell.peak = limit, usual_minutes, high
    return size
