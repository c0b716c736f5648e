"""Columns of tables as numbers and times. A fast conversion fails as a whole; then a slower one finds the values that do not fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from generator.channels import LATEST_S, MISSING, TIME_UNITS
from smartmeter.arrays import Bools, Floats, Ints
from smartmeter.local_days import EPOCH, PROBE_MS
from smartmeter.timezones import zone

Clock = Literal["local", "standard", "utc"]
"""What times without an offset are: local time, local time without daylight saving, or UTC."""

WITH_OFFSET = r":.*([Zz]|[+-]\d\d(:?\d\d)?)$"
"""A time with its offset from UTC. A date ends in the same way, so the offset is looked for after a colon."""
UNIX = re.compile(r"\d{9,19}(\.\d+)?")
HOUR_MS = 3_600_000
NO_TIME = -(2**63)
"""What NumPy's NaT is as an integer."""


def texts(column: pa.Array) -> pa.Array:
    """A column as text without surrounding blanks; absent values are empty."""
    return pc.utf8_trim_whitespace(pc.fill_null(column.cast(pa.string()), ""))


def numbers(column: pa.Array, decimal: str = ".") -> tuple[Floats, Bools, Bools]:
    """(values float64, which are missing, which are no numbers) of a column."""
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        values: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values, np.isnan(values), np.zeros(len(values), bool)
    words = texts(column)
    if decimal != ".":
        words = pc.replace_substring(words, decimal, ".")
    is_missing = pc.is_in(words, pa.array(MISSING))
    words = pc.if_else(is_missing, None, words)
    try:
        values = words.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        values = pd.to_numeric(words.to_pandas(), errors="coerce").to_numpy(np.float64)
    missing = is_missing.to_numpy(zero_copy_only=False)
    return np.where(missing, np.nan, values), missing, np.isnan(values) & ~missing


@dataclass
class TimeReader:
    """Reads the times of a file's blocks. The first time decides the form of all: Unix time and its unit, or with or without an offset."""

    time_format: str = ""
    """As strptime takes it; empty: ISO 8601 or Unix time."""
    _ticks_per_s: int = field(default=0, init=False)
    _has_offset: bool | None = field(default=None, init=False)

    def read(self, column: pa.Array) -> tuple[Ints, Bools, bool]:
        """(times in ms, which are no times of this form, whether they are UTC and not a wall clock's) of a column."""
        if pa.types.is_timestamp(column.type):
            times = column.cast(pa.timestamp("ms", tz=column.type.tz), safe=False).cast(pa.int64())
            return _filled(times), pc.is_null(times).to_numpy(zero_copy_only=False), column.type.tz is not None
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            return *self._unix(column), True
        words = texts(column)
        if not self.time_format and (self._ticks_per_s or (len(words) and UNIX.fullmatch(words[0].as_py()))):
            return *self._unix(words), True
        return self._dates(words)

    def _unix(self, column: pa.Array) -> tuple[Ints, Bools]:
        ticks, missing, bad = numbers(column)
        if not self._ticks_per_s and len(ticks):
            self._ticks_per_s = next((unit for unit in TIME_UNITS if ticks[0] < LATEST_S * unit), 1)
        bad |= missing | ~(ticks < LATEST_S * self._ticks_per_s)
        with np.errstate(invalid="ignore"):
            times = np.rint(ticks * (1000 / max(self._ticks_per_s, 1)))
        return np.where(bad, 0, times).astype(np.int64), bad

    def _dates(self, words: pa.Array) -> tuple[Ints, Bools, bool]:
        with_offset = pc.match_substring_regex(words, WITH_OFFSET).to_numpy(zero_copy_only=False)
        if self._has_offset is None and len(words):
            self._has_offset = bool(with_offset[0])
        found = pd.to_datetime(words.to_pandas(), format=self.time_format or "ISO8601", errors="coerce", utc=True)
        times = found.to_numpy("M8[ms]").astype(np.int64)
        return times, (times == NO_TIME) | (with_offset != self._has_offset), bool(self._has_offset)


def _filled(times: pa.Array) -> Ints:
    filled: Ints = pc.fill_null(times, 0).to_numpy(zero_copy_only=False)
    return filled


@dataclass
class LocalClock:
    """Turns what one wall clock shows into instants, in the order of the file: a repeated hour comes twice."""

    timezone: str
    clock: Clock
    _last_ms: int = field(default=NO_TIME, init=False)
    _again: bool = field(default=False, init=False)

    def instants(self, wall_ms: Ints) -> tuple[Ints, Bools]:
        """(instants in ms, which the clock never shows) of n times."""
        if self.clock == "utc":
            return wall_ms, np.zeros(len(wall_ms), bool)
        if self.clock == "standard":
            return wall_ms - self._standard_ms, np.zeros(len(wall_ms), bool)
        before_ms, after_ms = _offsets(self.timezone, wall_ms)
        times = wall_ms - before_ms
        for row in np.flatnonzero(before_ms > after_ms).tolist():
            last_ms, wall = int(wall_ms[row - 1]) if row else self._last_ms, int(wall_ms[row])
            self._again = wall <= last_ms or (self._again and wall - last_ms < HOUR_MS)
            if self._again:
                times[row] = wall - after_ms[row]
        self._last_ms = int(wall_ms[-1]) if len(wall_ms) else self._last_ms
        return times, before_ms < after_ms

    @property
    def _standard_ms(self) -> int:
        return min(_ms(datetime(2001, month, 1, tzinfo=zone(self.timezone)).utcoffset()) for month in (1, 7))


def _ms(offset: timedelta | None) -> int:
    return round((offset or timedelta()).total_seconds() * 1000)


def _offsets(timezone: str, wall_ms: Ints) -> tuple[Ints, Ints]:
    """(offset from UTC in ms before, and after a change of the clocks) at n times: equal except in a repeated or skipped hour."""
    local = zone(timezone)
    quarters, at = np.unique(wall_ms // PROBE_MS, return_inverse=True)
    times = [EPOCH + timedelta(milliseconds=quarter * PROBE_MS) for quarter in quarters.tolist()]
    before, after = ([_ms(time.replace(tzinfo=local, fold=fold).utcoffset()) for time in times] for fold in (0, 1))
    return np.array(before, np.int64)[at], np.array(after, np.int64)[at]


def skipped_by_clock(timezone: str, wall_ms: Ints) -> Bools:
    """Which of n local times the clocks skip."""
    before_ms, after_ms = _offsets(timezone, wall_ms)
    return before_ms < after_ms
