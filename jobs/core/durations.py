"""Alerts of duration: a meter that draws something for longer than it usually does.

Each kind has a condition on a minute, such as being over a level, and a time for which it may hold. A minute at which the condition has held
for longer is *conspicuous*. Conspicuous minutes of a meter and kind less than MERGED_MINUTES apart are a *spell*: one alert. It starts when
the rule is broken, not when the condition began. So it does not move while it goes on.

All follows from the house's cells and from the versions of thresholds in force in each minute. So the order of arrival does not matter.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

import numpy as np

from jobs.core.cells import DAY_MINUTES, FASTEST, Cells, code_of
from jobs.core.local_hours import HOUR_MS
from jobs.core.minutes import MINUTE_MS
from jobs.core.open_runs import (
    COLUMNS,
    LAST,
    LEVELS,
    LOW,
    NONE,
    OFF,
    SAME,
    SEEN,
    STEADY_CODES,
    advance,
    goes_on,
    lasted,
    level_code,
    seen_by,
    silence,
    since,
)
from jobs.core.shapes import HOURS
from jobs.core.state_version import require_version
from jobs.core.usual import USUAL
from smartmeter.arrays import Bytes, Int32s, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import day_of, midnights
from smartmeter.settings import Settings

KINDS = ("run", "band", "off", "hour", "standby", "dead", "frozen", "silent")
RUN, BAND, OFF_TOO_LONG, HOUR, STANDBY, DEAD, FROZEN, SILENT = range(len(KINDS))

AT_RARE, OVER_HOUR, OVER_STANDBY, UNDER_DEAD = range(COLUMNS, COLUMNS + 4)
"""Columns of a meter's open runs, after those of jobs.core.open_runs: the first minutes of runs whose condition depends on the version."""
ALL_COLUMNS = UNDER_DEAD + 1

MERGED_MINUTES = 15
RUN_MINUTES, BAND_MINUTES, OVER_HOUR_MINUTES, HOUR_MINUTES, STANDBY_MINUTES = 5, 8, 10, 60, 20 * 60
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

MOST_SPELLS = len(KINDS) * (DAY_MINUTES // (MERGED_MINUTES + 1) + 1)
"""Of a meter in a day: there are more than MERGED_MINUTES between two of a kind."""

STATE_VERSION = 1


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
        found: Int32s = of_meter[np.searchsorted(self.from_minutes, minutes, side="right") - 1]
        return found

    def to_bytes(self) -> bytes:
        """These in a stable form, as kept in checkpoints."""
        head = np.array([STATE_VERSION, len(self.from_minutes), len(self.rows)], np.int32)
        return zlib.compress(b"".join(array.tobytes() for array in (head, *self)), FASTEST)

    @classmethod
    def from_bytes(cls, state: bytes | None) -> Usuals:
        """Inverse of to_bytes; none for None."""
        if state is None:
            return cls(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, USUAL))
        body = zlib.decompress(state)
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


class Rule(NamedTuple):
    """How many minutes without readings lie within a run at most, and the highest code of an appliance that is off."""

    most_missing: int
    off_code: int

    @classmethod
    def of(cls, settings: Settings) -> Rule:
        """The rule in the settings."""
        return cls(int(settings.rules.max_gap_s // 60), int(code_of(np.array(settings.rules.on_watts))))


@dataclass(eq=False)
class Durations:
    """The spells of a house: state of the spikes job. What lies before end_minute cannot change any more."""

    end_minute: int = NONE
    meter_ids: Int32s = field(default_factory=lambda: np.empty(0, np.int32))
    runs: Int32s = field(default_factory=lambda: np.empty((0, ALL_COLUMNS), np.int32))  # open at end_minute
    spells: Rows = field(default_factory=lambda: np.empty((0, len(KINDS)), SPELL))  # (m, kinds): the last one of each by then
    sent: Rows = field(default_factory=lambda: np.empty(0, SPELL))  # as sent, those that may change

    def scan(self, cells: Cells, usuals: Usuals, timezone: str, until_minute: int, rule: Rule) -> tuple[Durations, Rows]:
        """(these advanced to a minute, the spells that ended before)."""
        ahead = self._with_meters(cells)
        found, size = np.empty(0, SPELL), 0
        for day in cells.days:
            block, first = cells.block(day).with_meters(ahead.meter_ids), day * DAY_MINUTES
            begin, end = max(self.end_minute - first, 0), min(until_minute - first, DAY_MINUTES)
            if begin >= end:
                continue
            minutes = np.arange(first, first + DAY_MINUTES, dtype=np.int32)
            usual_at, hour_at = usuals.at(ahead.meter_ids, minutes), hours_since_midnight(timezone, minutes)
            found = np.append(found[:size], np.empty(len(block.meter_ids) * MOST_SPELLS, SPELL))
            size = _scan(block.cells, first, begin, end, usuals.rows, usual_at, hour_at, ahead.runs, ahead.spells, found, size, *rule)
        return ahead, found[:size]

    def _with_meters(self, cells: Cells) -> Durations:
        """A copy with room for all meters of the cells."""
        meter_ids = reduce(np.union1d, (cells.block(day).meter_ids for day in cells.days), self.meter_ids).astype(np.int32)
        rows = np.searchsorted(meter_ids, self.meter_ids)
        runs, spells = np.full((len(meter_ids), ALL_COLUMNS), NONE, np.int32), np.zeros((len(meter_ids), len(KINDS)), SPELL)
        runs[:, SEEN] = 0
        spells["meter_id"], spells["kind"], spells["start"] = meter_ids[:, np.newaxis], np.arange(len(KINDS)), NONE
        runs[rows], spells[rows] = self.runs, self.spells
        return Durations(self.end_minute, meter_ids, runs, spells, self.sent)

    def spells_at(self, cells: Cells, usuals: Usuals, timezone: str, clock_minute: int, rule: Rule) -> Rows:
        """SPELL: all spells that may still change, as of a minute of the house's clock."""
        ahead, ended = self.scan(cells, usuals, timezone, clock_minute + 1, rule)
        last = ahead.spells[ahead.spells["start"] != NONE]
        spells = np.concatenate([ended, last])
        spells["open"] = spells["last"] + MERGED_MINUTES >= clock_minute
        rising: Rows = spells[np.lexsort((spells["start"], spells["kind"], spells["meter_id"]))]
        return rising

    def close(self, cells: Cells, usuals: Usuals, timezone: str, end_minute: int, rule: Rule) -> Durations:
        """These advanced to a minute before which nothing can change any more."""
        ahead, _ = self.scan(cells, usuals, timezone, end_minute, rule)
        over = ahead.spells["last"] + MERGED_MINUTES < end_minute
        ahead.spells["start"][over] = NONE
        return Durations(end_minute, ahead.meter_ids, ahead.runs, ahead.spells, self.sent[self.sent["last"] + MERGED_MINUTES >= end_minute])

    def to_bytes(self) -> bytes:
        """These in a stable form, as kept in checkpoints."""
        head = np.array([STATE_VERSION, self.end_minute, len(self.meter_ids)], np.int32)
        arrays = (head, self.meter_ids, self.runs, self.spells, self.sent)
        return zlib.compress(b"".join(array.tobytes() for array in arrays), FASTEST)

    @classmethod
    def from_bytes(cls, state: bytes | None) -> Durations:
        """Inverse of to_bytes; none for None."""
        if state is None:
            return cls()
        body = bytearray(zlib.decompress(state))
        version, end_minute, meters = np.frombuffer(body, np.int32, 3).tolist()
        require_version(version, STATE_VERSION)
        meter_ids, at = np.frombuffer(body, np.int32, meters, 12), 12 + 4 * meters
        runs = np.frombuffer(body, np.int32, meters * ALL_COLUMNS, at).reshape(meters, ALL_COLUMNS)
        at += runs.nbytes
        spells = np.frombuffer(body, SPELL, meters * len(KINDS), at).reshape(meters, len(KINDS))
        return cls(end_minute, meter_ids, runs, spells, np.frombuffer(body, SPELL, offset=at + spells.nbytes))


def hours_since_midnight(timezone: str, minutes: Int32s) -> Bytes:
    """uint8: the hours between the local midnight and each minute; 23 in the last hour of a day of 25."""
    time_ms = minutes.astype(np.int64) * MINUTE_MS
    hours: Bytes = np.minimum((time_ms - midnights(timezone)[day_of(timezone, time_ms)]) // HOUR_MS, HOURS - 1).astype(np.uint8)
    return hours


@compiled
def _scan(cells, first, begin, end, usual, usual_at, hour_at, runs, spells, found, size, most_missing, off_code):
    """Take in the cells of columns begin to end. Appends the spells that ended to found[:size]; returns the new size.

    usual: USUAL; usual_at: int32 (minutes, m), the index in it that holds for a minute and meter, or -1; hour_at: uint8 (minutes,).
    """
    seen_at = seen_by(cells[0, begin:end], runs[0, SEEN])
    for m in range(len(cells)):
        for i in range(begin, end):
            cell, minute, at, seen = cells[m, i], first + i, usual_at[i, m], seen_at[i - begin]
            if m > 0 and cell.low == 0 and cells[0, i].low and at >= 0:
                most = usual[at].gap
                if silence(runs[m], minute, seen + 1) > allowed_silence(most):
                    size = _go_on(spells[m, SILENT], minute, minute, runs[m, LAST] + 1, 0, most, 0, found, size)
            if cell.low == 0:
                continue
            together, silent_minutes = goes_on(runs[m], minute, most_missing), silence(runs[m], minute, -1)
            if m == 0 and at >= 0 and silent_minutes > allowed_silence(usual[at].gap):
                most = usual[at].gap
                begun = runs[m, LAST] + 1
                size = _go_on(spells[m, SILENT], begun + allowed_silence(most), minute - 1, begun, 0, most, 0, found, size)
            steady = together and abs(cell.low - runs[m, LOW]) <= STEADY_CODES
            advance(runs[m], cell, minute, seen, most_missing, off_code)
            if m == 0:
                continue
            if at < 0:
                runs[m, AT_RARE:] = NONE
                continue
            _advance_beside(runs[m], cell, minute, together, steady, usual[at], hour_at[i])
            for kind in range(SILENT):
                begun, limit, most = _broken(kind, runs[m], minute, usual[at], hour_at[i], off_code)
                if begun != NONE:
                    size = _go_on(spells[m, kind], minute, minute, begun, limit, most, cell.high, found, size)
    return size


@compiled
def allowed_silence(usual_minutes):
    """For how many minutes a meter may have no readings."""
    return SILENCE_FACTOR * usual_minutes + HOUR_MINUTES


@compiled
def _advance_beside(runs, cell, minute, together, steady, usual, hour):
    """Advance the runs whose condition depends on the version in force."""
    at_rare = not usual.mains and usual.rare[cell.low] and cell.high - cell.low <= STEADY_CODES
    runs[AT_RARE] = since(runs[AT_RARE], at_rare, steady, minute)
    runs[OVER_HOUR] = since(runs[OVER_HOUR], 0 < usual.hour[hour] < cell.low, together, minute)
    runs[OVER_STANDBY] = since(runs[OVER_STANDBY], 0 < usual.standby < cell.low, together, minute)
    runs[UNDER_DEAD] = since(runs[UNDER_DEAD], cell.high < usual.dead, together, minute)


@compiled
def _broken(kind, runs, minute, usual, hour, off_code):
    """(first minute of the run that breaks a kind's rule, or NONE; code of its limit; the longest that it usually lasts, in minutes)."""
    if kind == RUN:
        if not usual.mains:
            for level in range(LEVELS - 1, -1, -1):
                if lasted(runs[level], minute) > RUN_FACTOR * usual.longest[level] + RUN_MINUTES:
                    return runs[level], level_code(level), usual.longest[level]
    elif kind == BAND:
        if lasted(runs[AT_RARE], minute) > BAND_MINUTES:
            return runs[AT_RARE], 0, -1
    elif kind == OFF_TOO_LONG:
        pause = usual.longest[OFF]
        if not usual.mains and pause < LONG_PAUSE_MINUTES and lasted(runs[OFF], minute) > OFF_FACTOR * pause + HOUR_MINUTES:
            return runs[OFF], off_code, pause
    elif kind == HOUR:
        if lasted(runs[OVER_HOUR], minute) > OVER_HOUR_MINUTES:
            return runs[OVER_HOUR], usual.hour[hour], -1
    elif kind == STANDBY:
        if lasted(runs[OVER_STANDBY], minute) > STANDBY_MINUTES:
            return runs[OVER_STANDBY], usual.standby, -1
    elif kind == DEAD:
        if lasted(runs[UNDER_DEAD], minute) > HOUR_MINUTES:
            return runs[UNDER_DEAD], usual.dead, -1
    elif lasted(runs[SAME], minute) > SAME_FACTOR * usual.longest[SAME] + HOUR_MINUTES:
        return runs[SAME], 0, usual.longest[SAME]
    return NONE, 0, -1


@compiled
def _go_on(spell, start, last, begun, limit, usual_minutes, high, found, size):
    """Add conspicuous minutes to a spell, or let them begin another. Returns the number of spells found."""
    if spell.start != NONE and start - spell.last <= MERGED_MINUTES:
        spell.last, spell.peak = last, max(spell.peak, high)
        return size
    if spell.start != NONE:
        found[size] = spell
        size += 1
    spell.start, spell.last, spell.since = start, last, begun
    spell.limit, spell.usual, spell.peak = limit, usual_minutes, high
    return size
