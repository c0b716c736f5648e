"""The alerts of duration of a house: a scan of its cells that goes on from where it was, and the spells found so far.

All follows from the cells, and from the versions of thresholds and the user's rules in force in each minute. So the order of arrival does not
matter.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

import lz4.block
import numpy as np

from jobs.core.cells import HOUSE, Cells
from jobs.core.local_hours import HOUR_MS, clock_minutes
from jobs.core.open_runs import COLUMNS, LAST, NONE, Rule, no_runs
from jobs.core.rows import picked, stacked
from jobs.core.shapes import HOURS
from jobs.core.spells import ALL_COLUMNS, HOUR_MINUTES, KINDS, MERGED_MINUTES, SILENCE_FACTOR, SILENT, SPELL, allowed, most_spells, take_in
from jobs.core.state_version import require_version
from jobs.core.user_rules import UserRules
from jobs.core.usual import Usuals
from smartmeter.arrays import Bytes, Int32s, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import midnights
from smartmeter.settings import MINUTE_MS

HOUSE_ALONE = np.array([HOUSE], np.int32)
DURATIONS_VERSION = 2
_HEAD = struct.Struct("<iii")


class Silence(NamedTuple):
    """For how many minutes a house is silent usually, and may be; and the first minute that is not muted."""

    usual: int
    allowed: int
    muted_until: int

    @classmethod
    def at(cls, minute: int, usuals: Usuals, user_rules: UserRules) -> Silence | None:
        """That of a minute; None while it is not known what is usual."""
        [[usual]], own = usuals.at(HOUSE_ALONE, np.array([minute], np.int32)), user_rules.at(HOUSE_ALONE, minute)
        if usual < 0:
            return None
        gap = int(usuals.rows["gap"][usual])
        return cls(gap, _allowed_silence(gap, own), int(own["muted_until"][0]))


@compiled
def _allowed_silence(gap, own):
    """For how many minutes a house may be silent under a user's rule (USER_RULE (1,)); gap: for how many it usually is."""
    return allowed(SILENT, SILENCE_FACTOR * gap + HOUR_MINUTES, own[0])


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
        meter_ids, stretches = cells.between(self.minute, until_minute, self.meter_ids)
        _, _, runs, spells, ended = self._with_meters(meter_ids)
        size = len(ended)
        for begin, of_stretch in stretches:
            for first, end in user_rules.spans(begin, begin + of_stretch.shape[1]):
                minutes, own = np.arange(first, end, dtype=np.int32), user_rules.at(meter_ids, first)
                clock_at = clock_minutes(timezone, minutes) if len(user_rules.rows) and (own["off_from"] >= 0).any() else minutes
                times = usuals.at(meter_ids, minutes), hours_since_midnight(timezone, minutes), clock_at
                ended = stacked(ended[:size], np.empty(len(meter_ids) * most_spells(end - first), SPELL))
                some = np.ascontiguousarray(of_stretch[:, first - begin : end - begin])  # one type for compiled loops
                size = take_in(some, first, usuals.rows, own, *times, runs, spells, ended, size, *rule)
        return Progress(max(self.minute, until_minute), meter_ids, runs, spells, ended[:size])

    def _with_meters(self, meter_ids: Int32s) -> Progress:
        """A copy with room for more meters."""
        if len(meter_ids) == len(self.meter_ids):
            return self._replace(runs=self.runs.copy(), spells=stacked(self.spells).reshape(self.spells.shape))
        rows = np.searchsorted(meter_ids, self.meter_ids)
        runs, spells = np.full((len(meter_ids), ALL_COLUMNS), NONE, np.int32), np.zeros((len(meter_ids), len(KINDS)), SPELL)
        runs[:, :COLUMNS] = no_runs(len(meter_ids))
        spells["meter_id"], spells["kind"], spells["start"] = meter_ids[:, np.newaxis], np.arange(len(KINDS)), NONE
        runs[rows], spells[rows] = self.runs, self.spells
        return Progress(self.minute, meter_ids, runs, spells, self.ended)

    def all_spells(self, clock_minute: int) -> Rows:
        """SPELL: all spells so far, by meter, kind and start, as of a minute of the house's clock."""
        spells = stacked(self.ended, picked(self.spells, self.spells["start"] != NONE))
        if not len(spells):
            return spells
        spells["open"] = spells["last"] + MERGED_MINUTES >= clock_minute
        return picked(spells, np.lexsort((spells["start"], spells["kind"], spells["meter_id"])))

    def forget_before(self, minute: int) -> Progress:
        """This progress without the spells that no reading from a minute on can change."""
        self.spells["start"][self.spells["last"] + MERGED_MINUTES < minute] = NONE
        return self._replace(ended=picked(self.ended, self.ended["last"] + MERGED_MINUTES >= minute))

    def to_bytes(self) -> bytes:
        """This progress in a stable form."""
        return _HEAD.pack(self.minute, len(self.meter_ids), len(self.ended)) + b"".join(array.tobytes() for array in self[1:])

    @classmethod
    def from_bytes(cls, body: bytearray, at: int) -> tuple[Progress, int]:
        """(the progress that to_bytes gave, the place of what follows it)."""
        minute, meters, ended = _HEAD.unpack_from(body, at)
        of_runs = at + _HEAD.size + 4 * meters
        of_spells = of_runs + 4 * meters * ALL_COLUMNS
        of_ended = of_spells + meters * len(KINDS) * SPELL.itemsize
        progress = cls(
            minute,
            np.frombuffer(body, np.int32, meters, at + _HEAD.size),
            np.frombuffer(body, np.int32, meters * ALL_COLUMNS, of_runs).reshape(meters, ALL_COLUMNS),
            np.frombuffer(body, SPELL, meters * len(KINDS), of_spells).reshape(meters, len(KINDS)),
            np.frombuffer(body, SPELL, ended, of_ended),
        )
        return progress, of_ended + ended * SPELL.itemsize


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
        return stacked(self.absent, progress.all_spells(clock_minute))

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
        self.sent = picked(self.sent, self.sent["last"] + MERGED_MINUTES >= end_minute)

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
    """uint8: the hours between the local midnight and each minute (int32, rising); 23 in the last hour of a day of 25."""
    hours: Bytes = _hours(minutes, midnights(timezone))
    return hours


@compiled
def _hours(minutes, midnight_ms):
    """See hours_since_midnight."""
    hours, day = np.empty(len(minutes), np.uint8), np.intp(0)
    for i in range(len(minutes)):
        time_ms = np.int64(minutes[i]) * MINUTE_MS
        if i == 0 or midnight_ms[day + 1] <= time_ms:
            day = np.searchsorted(midnight_ms, time_ms, side="right") - 1
        hours[i] = min((time_ms - midnight_ms[day]) // HOUR_MS, HOURS - 1)
    return hours
