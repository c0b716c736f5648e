"""From many messages to one batch a house: its sections, and of their readings what the jobs need further on.

Sections are enough for energy. Thresholds need a histogram of each section's power, the power profile what it adds to
each minute; spikes need the readings themselves, of those sections that have one high enough to be a spike at all.

Batches travel together, those of a *shard* of houses in one body: a shard is what Flink's key is, so that a row, a state
request and a compression serve many houses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import count, groupby
from math import gcd
from dataclasses import dataclass

import lz4.block
import numpy as np

from jobs.integral import ARRIVED, arrivals
from jobs.minutes import PIECE, pieces
from jobs.readings import Readings
from jobs.sketch import histograms

_HEAD = struct.Struct("<qqBIIII")

GOLDEN = 0.6180339887498949
"""Multiples of the golden ratio, modulo 1, lie as far apart as can be, however many there are."""


@lru_cache
def _stride(shards: int) -> int:
    """How many shards further the next house is: about the golden part of them, and prime to their number."""
    return next(stride for stride in count(round(GOLDEN * shards)) if gcd(stride, shards) == 1)


def shard_of(house_id: int, shards: int) -> int:
    """The shard of a house, 0 to shards - 1. Houses whose ids follow each other fill all shards, and all parts of them, evenly."""
    return house_id * _stride(shards) % shards


@dataclass(frozen=True)
class Wanted:
    """What batches hold beside the sections."""

    histograms: bool = False
    readings_over_watts: float | None = None  # the readings of sections with one over it; None: no readings
    minutes: bool = False

    def __or__(self, other: "Wanted") -> "Wanted":
        """What both want."""
        over = [w.readings_over_watts for w in (self, other) if w.readings_over_watts is not None]
        return Wanted(self.histograms or other.histograms, min(over, default=None), self.minutes or other.minutes)


@dataclass(frozen=True, eq=False)
class Batch:
    """b sections of one house in order of arrival, with h entries of their histograms, p minutes and n of their readings.

    The entries of the first section come first, then those of the next, as many as its `bins`; its minutes likewise, as
    many as its `minutes`, and its readings, as many as its `carried`.
    """

    house_id: int
    timezone: str
    newest_ms: int  # the newest reading, or NEVER
    sections: np.ndarray  # ARRIVED (b,)
    bin: np.ndarray  # uint16 (h,), of jobs.sketch
    count: np.ndarray  # uint32 (h,), readings in the bin
    minutes: np.ndarray  # PIECE (p,), of jobs.minutes
    gap_ms: np.ndarray  # uint32 (n,), time since the section's previous reading; its first one's has no meaning
    watts: np.ndarray  # float32 (n,)

    def pieces(self) -> Iterator[bytes]:
        """Yield what pack joins: head, time zone, arrays."""
        zone = self.timezone.encode()
        yield _HEAD.pack(self.house_id, self.newest_ms, len(zone), len(self.sections), len(self.bin), len(self.minutes), len(self.watts))
        yield zone
        for array in (self.sections, self.bin, self.count, self.minutes, self.gap_ms, self.watts):
            yield array.tobytes()


def pack(batches: Iterable[Batch]) -> bytes:
    """Batches as bytes, on their way from one worker to another of the same release.

    They are compressed: that costs less than carrying them through the JVM.
    """
    return lz4.block.compress(b"".join(piece for batch in batches for piece in batch.pieces()))


def unpack(body: bytes) -> Iterator[Batch]:
    """Yield the batches that were packed."""
    body, at = lz4.block.decompress(body), 0
    while at < len(body):
        house_id, newest_ms, zone, sections, entries, minutes, readings = _HEAD.unpack_from(body, at)
        at += _HEAD.size + zone
        timezone, arrays = body[at - zone:at].decode(), []
        for dtype, size in ((ARRIVED, sections), (np.uint16, entries), (np.uint32, entries), (PIECE, minutes),
                            (np.uint32, readings), (np.float32, readings)):
            arrays.append(np.frombuffer(body, dtype, size, at))
            at += arrays[-1].nbytes
        yield Batch(house_id, timezone, newest_ms, *arrays)


def by_shard(batches: Iterable[Batch], shards: int) -> Iterator[tuple[int, bytes]]:
    """Yield (shard, its batches packed) for each of `shards` that has any; batches of a house stay in their order."""
    def shard(batch: Batch) -> int:
        return shard_of(batch.house_id, shards)

    for number, those in groupby(sorted(batches, key=shard), key=shard):
        yield number, pack(those)


def house_batches(
    readings: Readings, partition: np.ndarray, offset: np.ndarray, max_gap_ms: int, wanted: Wanted
) -> Iterator[Batch]:
    """Yield a batch for each house and time zone among many bursts.

    partition, offset: int (b,), of the message of each burst.
    """
    if not readings.bursts:
        return
    sections = arrivals(readings, partition, offset, max_gap_ms)
    of_reading = np.repeat(np.arange(len(sections)), sections["readings"])
    bin, counts = _histograms(sections, of_reading, readings.watts) if wanted.histograms else _NO_HISTOGRAMS
    minutes = pieces(sections, of_reading, readings) if wanted.minutes else _NO_MINUTES
    gap_ms, watts = _carried(sections, readings, of_reading, wanted.readings_over_watts)
    zones = np.array([burst.timezone for burst in readings.bursts], object)
    first = np.flatnonzero(np.concatenate(
        [[True], (np.diff(readings.house_id) != 0) | (zones[1:] != zones[:-1])]))
    newest_ms = np.maximum.reduceat(readings.newest_ms, first)
    section_at = np.searchsorted(sections["burst"], np.append(first, len(zones)))
    entry_at = np.append(0, np.cumsum(sections["bins"]))[section_at]
    minute_at = np.append(0, np.cumsum(sections["minutes"]))[section_at]
    reading_at = np.append(0, np.cumsum(sections["carried"]))[section_at]
    for i, burst in enumerate(first.tolist()):
        s, e, m, r = (slice(at[i], at[i + 1]) for at in (section_at, entry_at, minute_at, reading_at))
        yield Batch(int(readings.house_id[burst]), zones[burst], int(newest_ms[i]),
                    sections[s], bin[e], counts[e], minutes[m], gap_ms[r], watts[r])


_NO_HISTOGRAMS = np.empty(0, np.uint16), np.empty(0, np.uint32)
_NO_MINUTES = np.empty(0, PIECE)


def _histograms(sections, of_reading, watts) -> tuple[np.ndarray, np.ndarray]:
    """(bin, count) of all sections' histograms; fills in sections["bins"]."""
    section, bin, count = histograms(of_reading, watts)
    sections["bins"] = np.bincount(section, minlength=len(sections))
    return bin.astype(np.uint16), count.astype(np.uint32)


def _carried(sections, readings, of_reading, over_watts) -> tuple[np.ndarray, np.ndarray]:
    """(gap_ms, watts) of the readings to be carried; fills in sections["peak_watts"] and ["carried"]."""
    some = np.flatnonzero(sections["readings"])
    if over_watts is None or not len(some):
        return np.empty(0, np.uint32), np.empty(0, np.float32)
    begins = (np.cumsum(sections["readings"]) - sections["readings"])[some]
    sections["peak_watts"][some] = np.maximum.reduceat(readings.watts, begins)
    carried = sections["peak_watts"] > over_watts
    sections["carried"] = np.where(carried, sections["readings"], 0)
    picked = carried[of_reading]
    return readings.gap_ms[picked].astype(np.uint32), readings.watts[picked]
