"""Channel files: one reading on a line, its time and its power. They are read in chunks, so memory does not grow with the file.

    1303132929 222.20

The loader accepts files of many makers: fields separated by blanks, commas or semicolons; header lines; times in s, ms, us or ns,
recognized by their magnitude; power in W or kW; missing values (nan, ?, an empty field); readings out of order. It counts what it changes
or leaves out, and logs one line for each file and kind with the place of the first. With `strict` it refuses such a line instead.
"""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from generator.houses import Readings
from generator.meter_file import NO_METER_FILE, MeterFile
from smartmeter.arrays import Bools, Float32s, Floats, Ints
from smartmeter.errors import UserError
from smartmeter.power import is_power, why_no_power
from smartmeter.reports import report
from smartmeter.terminal import printable

CHUNK_ROWS = 100_000
SAMPLE_ROWS = 10_000
BLANKS = r"\s+"
MOST_HEADER_LINES = 20
LATEST_S = 7_258_118_400  # the year 2200: a larger number is in a smaller unit
TIME_UNITS = {1: "seconds", 10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}
"""Ticks per second -> their name."""

WATTS_PER_UNIT = {"W": 1.0, "kW": 1000.0}
MISSING = (
    "",
    "?",
    "-",
    "--",
    "nan",
    "NaN",
    "NAN",
    "na",
    "NA",
    "n/a",
    "N/A",
    "#N/A",
    "<NA>",
    "null",
    "Null",
    "NULL",
    "none",
    "None",
    "NONE",
)
"""Texts that stand for a missing value."""

READ_ERRORS = (ValueError, OSError, EOFError, zlib.error)
"""What pandas raises for a file that it cannot read."""

NOTE = "note: "
"""Start of a log line about the data."""

log = logging.getLogger(__name__)

Rows = tuple[Ints, Float32s, Ints]
"""(times_ms int64, watts float32, row int64) of readings; row 0 is the file's first line after the header."""


class DatasetError(UserError):
    """A data set that cannot be read. The message states where (file:line) and what to do."""


@dataclass(frozen=True)
class ReadingOptions:
    """How channel files are read. unit: of power, W or kW. strict: refuse what would otherwise be changed or left out.

    meters: what the user states of them.
    """

    unit: str = "W"
    strict: bool = False
    meters: MeterFile = NO_METER_FILE


AS_WATTS = ReadingOptions()


class Channel:
    """A channel file. The constructor reads its beginning, and raises DatasetError if that does not hold readings."""

    def __init__(self, path: Path, options: ReadingOptions = AS_WATTS, factor: float = 1.0):
        """factor: from the file's power to what is drawn, besides the unit."""
        self.path = path
        self.strict = options.strict
        self.watts_per_unit = WATTS_PER_UNIT[options.unit] * factor
        self.header_lines, self.separator = self._form()
        self.ticks_per_s = 1
        self.sample = self._sample()
        self.ticks_per_s = next((ticks for ticks in TIME_UNITS if self.sample[0][0] < LATEST_S * ticks), 1)

    def _form(self) -> tuple[int, str]:
        """(lines before the first reading, separator of its fields)."""
        tried = 0
        for number, line in islice(lines_of(self.path), MOST_HEADER_LINES):
            separator = next((mark for mark in ",;" if mark in line), BLANKS)
            if _is_number(split(line, separator)[0]):
                return number - 1, separator
            tried += 1
        if not tried:
            raise DatasetError(f"{self.path}: no reading in it; remove the file, or the channel from labels.dat")
        raise DatasetError(f"{self.path}: its first {tried} lines are not two numbers, unix-seconds and watts; correct or remove the file")

    def _sample(self) -> tuple[Floats, Floats]:
        """(times in ticks, power) of the file's beginning."""
        try:
            ticks, power = self._table(nrows=SAMPLE_ROWS).to_numpy().T
        except READ_ERRORS as error:
            raise self.explained(error) from None
        return ticks, power

    def _table(self, **options: Any) -> Any:
        return pd.read_csv(
            self.path,
            sep=self.separator,
            header=None,
            dtype=np.float64,
            skiprows=self.header_lines,
            skipinitialspace=True,
            encoding_errors="replace",
            keep_default_na=False,
            na_values=list(MISSING),
            **options,
        )

    @property
    def time_unit(self) -> str:
        """Unit of the file's times, such as seconds."""
        return TIME_UNITS[self.ticks_per_s]

    @property
    def earliest_ticks(self) -> int:
        """The smallest valid time of a file in this unit; a smaller number would be in a larger unit."""
        return 0 if self.ticks_per_s == 1 else LATEST_S * self.ticks_per_s // 1000

    @property
    def period_s(self) -> float:
        """Median time between readings, in s, at the file's beginning; 0 if that has fewer than two."""
        ticks, _ = self.sample
        return float(np.median(np.diff(ticks))) / self.ticks_per_s if len(ticks) > 1 else 0.0

    def lines(self) -> Iterator[tuple[int, str]]:
        """(number, text) of the lines with readings."""
        return ((number, line) for number, line in lines_of(self.path) if number > self.header_lines)

    def chunks(self, changes: Changes) -> Iterator[Rows]:
        """The readings in the order of the file, without missing values. Raises ValueError for a line that is not a reading."""
        lines, first = enumerate(self.lines()), 0
        for frame in self._table(chunksize=CHUNK_ROWS):
            ticks, power = frame.to_numpy().T
            if not ((ticks >= self.earliest_ticks) & (ticks < LATEST_S * self.ticks_per_s)).all():
                raise ValueError("a time out of range")
            rows = np.arange(first, first + len(ticks))
            first += len(ticks)
            missing = np.isnan(power)
            if missing.any():
                for lost in rows[missing].tolist():
                    if self.fault(next(line for row, (_, line) in lines if row == lost))[0]:
                        raise ValueError("neither a reading nor a missing value")
                changes.add("missing values: left out", rows, missing)
                ticks, power, rows = ticks[~missing], power[~missing], rows[~missing]
            with np.errstate(over="ignore"):
                watts = (power * self.watts_per_unit).astype(np.float32)
            if len(rows):
                yield np.rint(ticks * (1000 / self.ticks_per_s)).astype(np.int64), watts, rows

    def fault(self, line: str, last_ticks: float = -math.inf) -> tuple[str, float]:
        """(what is wrong with a line, or empty; its time in ticks). last_ticks: the time of the previous line."""
        try:
            ticks, power = (math.nan if word in MISSING else float(word) for word in split(line, self.separator))
        except ValueError:
            return "not two numbers, unix-seconds and watts", math.nan
        if not self.earliest_ticks <= ticks < LATEST_S * self.ticks_per_s:
            return f"the time is not in Unix {self.time_unit}", ticks
        if not self.strict:
            return "", ticks
        if math.isnan(power):
            return "the power is missing", ticks
        if why := why_no_power(power * self.watts_per_unit):
            return why, ticks
        if ticks < last_ticks:
            return f"the time goes backwards, from {last_ticks:.15g}", ticks
        return ("a second reading at that time" if ticks == last_ticks else ""), ticks

    def explained(self, error: Exception) -> DatasetError:
        """What is wrong with a file that the fast reader rejected, found by checking it line by line."""
        last = -math.inf
        try:
            for number, line in self.lines():
                fault, ticks = self.fault(line, last)
                if fault:
                    return DatasetError(f"{self.path}:{number}: {line.strip()[:80]!r}: {fault}; correct or remove the line")
                last = ticks
        except DatasetError as unreadable:
            return unreadable
        return DatasetError(f"{self.path}: {error}")


class Changes:
    """What was changed or left out in a channel file: for each kind, the number of readings and the row of the first."""

    def __init__(self, channel: Channel):
        self._channel = channel
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, what: str, rows: Ints, which: Bools) -> None:
        """Count the rows selected by the mask `which`. Raises ValueError if the file is read strictly."""
        if not which.any():
            return
        if self._channel.strict:
            raise ValueError(what)
        count, first = self._found.get(what, (0, math.inf))
        self._found[what] = count + int(np.count_nonzero(which)), int(min(first, rows[which].min()))

    def report(self) -> None:
        """Log a line for each kind."""
        for what, (count, first) in self._found.items():
            number = next(number for row, (number, _) in enumerate(self._channel.lines()) if row == first)
            note(f"{self._channel.path}:{number}: {count:,} {what}" + (" (this is the first)" if count > 1 else ""))


def read_channel(channel: Channel) -> Iterator[Readings]:
    """The readings of a channel file in chunks, times rising. Of several readings at the same time, the first is kept.

    Readings of impossible power (smartmeter.power) are passed on: the job refuses each alone, and counts it. Raises DatasetError for a
    line that is not a time and a power, and with strict also for anything that would be changed or left out.
    """
    changes, last_ms = Changes(channel), -1
    try:
        for times, watts, rows in _by_time(_marked(channel.chunks(changes), changes)):
            steps = np.diff(times, prepend=last_ms)
            if steps[0] < 0:
                raise ValueError(f"the time goes back over more than {CHUNK_ROWS:,} readings; sort the lines by their time")
            changes.add("readings at the same time as the one before them: left out", rows, steps == 0)
            last_ms = times[-1]
            yield times[steps > 0], watts[steps > 0]
    except READ_ERRORS as error:
        changes = Changes(channel)
        raise channel.explained(error) from None
    finally:
        changes.report()


def _marked(chunks: Iterator[Rows], changes: Changes) -> Iterator[Rows]:
    """The same chunks. Counts the readings that the job will refuse, and those that are out of order in the file."""
    newest_ms = -1
    for times, watts, rows in chunks:
        changes.add("readings that are no number or over a gigawatt: the job refuses each of them", rows, ~is_power(watts))
        newest = np.maximum.accumulate(np.append(newest_ms, times))
        changes.add("readings earlier than one before them: sorted in", rows, times < newest[:-1])
        newest_ms = newest[-1]
        yield times, watts, rows


def _by_time(chunks: Iterator[Rows]) -> Iterator[Rows]:
    """The readings sorted by time, if none is more than CHUNK_ROWS readings too late; it holds back that many."""
    held: Rows | None = None
    for chunk in chunks:
        if held is None or chunk[0].min() >= held[0][-1]:
            if held is not None:
                yield held
            held = chunk if np.all(np.diff(chunk[0]) >= 0) else _sorted(chunk)
            continue
        times, watts, rows = _sorted((np.append(held[0], chunk[0]), np.append(held[1], chunk[1]), np.append(held[2], chunk[2])))
        cut = max(len(times) - CHUNK_ROWS, 0)
        if cut:
            yield times[:cut], watts[:cut], rows[:cut]
        held = times[cut:], watts[cut:], rows[cut:]
    if held is not None:
        yield held


def _sorted(rows: Rows) -> Rows:
    """Rows by time; those of the same time keep their order."""
    times, watts, row = rows
    order = np.argsort(times, kind="stable")
    return times[order], watts[order], row[order]


def note(text: str) -> None:
    """Log and report what the user should know about the data."""
    log.warning("%s%s", NOTE, printable(text))
    report(note=printable(text))


def split(line: str, separator: str) -> list[str]:
    """The fields of a line, without surrounding blanks and quotes."""
    words = line.split() if separator == BLANKS else line.strip().split(separator)
    return [word.strip().strip('"') for word in words]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are not blank, without a byte order mark. Raises DatasetError if the file cannot be read."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", errors="replace") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: it cannot be read ({error}); fetch the file again") from None
