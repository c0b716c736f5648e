"""Loaders of REDD (low_freq) and UK-DALE: a folder house_N a house, in it labels.dat and channel_M.dat.

    labels.dat      channel label               1 mains
    channel_1.dat   unix-seconds watts          1303132929 222.20

Each file may be gzipped (.dat.gz). REDD labels the whole house "mains", UK-DALE "aggregate". Files are read in
chunks, all channels of a house side by side, so that memory is bounded by a day of the house.
"""

from __future__ import annotations

import gzip
import logging
import math
import re
import zlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from generator.houses import House, HouseDay, Meter, Readings
from generator.local_days import day_bounds_ms, local_date
from smartmeter.errors import UserError

TIMEZONE_OF_MAINS_LABEL = {"mains": "America/New_York", "aggregate": "Europe/London"}
"""What a data set calls its mains -> where its houses stand: REDD, UK-DALE."""

CHUNK_ROWS = 100_000
LATEST_S = 7_258_118_400  # the year 2200: a larger time is not in seconds

log = logging.getLogger(__name__)


class DatasetError(UserError):
    """A data set that cannot be read; the message says where (file:line) and what to do."""


def measured_houses(folder: Path, timezone: str | None = None) -> list[MeasuredHouse]:
    """The houses of a data set, each in its data set's time zone unless another one is given.

    Raises DatasetError when there is none or one of them cannot be read.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder; give the folder that holds house_1, house_2, ...")
    numbered = [(int(match[1]), path) for path in folder.glob("house_*")
                if (match := re.fullmatch(r"house_(\d+)", path.name))]
    if not numbered:
        raise DatasetError(f"{folder}: no folder house_1, house_2, ... in it; give the folder that holds them")
    return [_load_house(number, path, timezone) for number, path in sorted(numbered)]


def _load_house(house_id: int, folder: Path, timezone: str | None) -> MeasuredHouse:
    labels_file = _data_file(folder, "labels")
    if labels_file is None:
        raise DatasetError(f"{folder}: no labels.dat in it; each house needs one with a line 'channel label' a channel")
    meters, paths, absent = [], [], []
    for channel, label in read_labels(labels_file).items():
        path = _data_file(folder, f"channel_{channel}")
        if path is None:
            absent.append(f"{channel} {label}")
            continue
        meters.append(Meter(channel, label, "mains" if label in TIMEZONE_OF_MAINS_LABEL else "appliance"))
        paths.append(path)
    if absent:
        log.warning("%s names %d channels without a file, left out: %s", labels_file, len(absent), ", ".join(absent))
    if not paths:
        raise DatasetError(f"{folder}: none of the channels in labels.dat has a file channel_M.dat")
    source = f"{folder.resolve().parent.name}/{folder.name}"
    return MeasuredHouse(house_id, source, timezone or _default_timezone(meters, folder), meters, paths)


def _data_file(folder: Path, stem: str) -> Path | None:
    candidates = (folder / f"{stem}{suffix}" for suffix in (".dat", ".dat.gz"))
    return next((path for path in candidates if path.exists()), None)


def _default_timezone(meters: list[Meter], folder: Path) -> str:
    for meter in meters:
        if meter.kind == "mains":
            return TIMEZONE_OF_MAINS_LABEL[meter.label]
    raise DatasetError(f"{folder}: no channel is labelled mains (REDD) or aggregate (UK-DALE), so that the time zone "
                       "is unknown; give it with --timezone")


def read_labels(path: Path) -> dict[int, str]:
    """Channel -> label. Raises DatasetError for a line that is not 'channel label', or a channel named twice."""
    labels: dict[int, str] = {}
    for number, line in _lines(path):
        channel, _, label = line.strip().partition(" ")
        if not (channel.isascii() and channel.isdigit() and 0 < int(channel) < 2**31 and label.strip()):
            raise DatasetError(f"{path}:{number}: {line.strip()!r} is not a channel number and a label, such as "
                               "'3 refrigerator'; mend the line")
        if int(channel) in labels:
            raise DatasetError(f"{path}:{number}: channel {channel} is named a second time; remove one of the lines")
        labels[int(channel)] = label.strip()
    if not labels:
        raise DatasetError(f"{path}: it is empty; it needs a line 'channel label' for each channel")
    return labels


def read_channel(path: Path) -> Iterator[Readings]:
    """The readings of a channel file in chunks. A reading at the time of the one before it is left out, with a warning.

    Raises DatasetError for anything but numbers, times that go backwards or are not Unix seconds, negative watts, and
    a file without readings.
    """
    last_ms, repeated = -1, 0
    try:
        for frame in pd.read_csv(path, sep=r"\s+", header=None, dtype=np.float64, chunksize=CHUNK_ROWS):
            seconds, watts = frame.to_numpy().T
            if not ((seconds >= 0) & (seconds < LATEST_S) & (watts >= 0) & (watts < np.inf)).all():
                raise ValueError("a number out of range")
            times = np.rint(seconds * 1000).astype(np.int64)
            steps = np.diff(times, prepend=last_ms)
            if (steps < 0).any():
                raise ValueError("time goes backwards")
            last_ms = times[-1]
            repeated += np.count_nonzero(steps == 0)
            yield times[steps > 0], watts[steps > 0].astype(np.float32)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise _explained(path, error) from None
    if repeated:
        log.warning("%s: %d readings at the same time as the one before them: left out", path, repeated)


def _explained(path: Path, error: Exception) -> DatasetError:
    """What is wrong with a channel file that the quick reader refused, found by going through its lines."""
    last = -math.inf
    try:
        for number, line in _lines(path):
            fault, seconds = _fault(line.split(), last)
            if fault:
                return DatasetError(f"{path}:{number}: {line.strip()[:80]!r}: {fault}; mend or remove the line")
            last = seconds
    except DatasetError as unreadable:
        return unreadable
    if last == -math.inf:
        return DatasetError(f"{path}: no reading in it; remove the file, or the channel from labels.dat")
    return DatasetError(f"{path}: {error}")


def _fault(words: list[str], last_s: float) -> tuple[str, float]:
    """(what is wrong with a line, empty if nothing is; its time in s)."""
    try:
        seconds, watts = map(float, words)
    except ValueError:
        return "not two numbers, unix-seconds and watts", math.nan
    if not 0 <= seconds < LATEST_S:
        return "the time is not in Unix seconds", seconds
    if not 0 <= watts < math.inf:
        return "the watts are not a number of 0 or more", seconds
    if seconds < last_s:
        return f"the time goes backwards, from {last_s:.15g}", seconds
    return "", seconds


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are not blank."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: it cannot be read ({error}); fetch the file again") from None


class MeasuredHouse(House):
    """A house as it was measured: paths[i] is the channel file of meters[i]."""

    def __init__(self, house_id: int, source: str, timezone: str, meters: list[Meter], paths: list[Path]):
        super().__init__(house_id, source, timezone, meters)
        self.paths = paths

    def days(self, first: date = date.min, end: date = date.max) -> Iterator[HouseDay]:
        channels = [_Channel(path) for path in self.paths]
        while times := [channel.next_ms for channel in channels if channel.next_ms is not None]:
            day = local_date(min(times), self.timezone)
            if day >= end:
                return
            start_ms, end_ms = day_bounds_ms(day, self.timezone)
            readings = [channel.take_until(end_ms) for channel in channels]
            if day >= first:
                yield HouseDay(day, start_ms, end_ms, readings)


class _Channel:
    """A channel file that is read forwards."""

    def __init__(self, path: Path):
        self._chunks = read_channel(path)
        self._times, self._watts = np.empty(0, np.int64), np.empty(0, np.float32)
        self._refill()

    def _refill(self) -> None:
        while not self._times.size and (chunk := next(self._chunks, None)) is not None:
            self._times, self._watts = chunk

    @property
    def next_ms(self) -> int | None:
        """Time of the next reading; None at the end of the file."""
        return int(self._times[0]) if self._times.size else None

    def take_until(self, end_ms: int) -> Readings:
        """The readings before end_ms that were not taken yet."""
        times, watts = [self._times[:0]], [self._watts[:0]]
        while self._times.size and self._times[0] < end_ms:
            cut = np.searchsorted(self._times, end_ms)
            times.append(self._times[:cut])
            watts.append(self._watts[:cut])
            self._times, self._watts = self._times[cut:], self._watts[cut:]
            self._refill()
        return np.concatenate(times), np.concatenate(watts)
