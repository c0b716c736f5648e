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

from jobs.compiled import compiled
from jobs.integral import ARRIVED, arrivals
from jobs.minutes import PIECE, begins, pieces
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
    readings_over_watts: float | None = None  # readings over it, and those that follow one; None: no readings
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
    gap_ms: np.ndarray  # uint32 (n,), time since the section's previous reading that is carried; of the first, since first_ms
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
    if not len(readings.bursts):
        return
    sections = arrivals(readings, partition, offset, max_gap_ms)
    bin, counts = _histograms(sections, readings.columns.watts) if wanted.histograms else _NO_HISTOGRAMS
    minutes = pieces(sections, readings) if wanted.minutes else _NO_MINUTES
    gap_ms, watts = _NO_READINGS if wanted.readings_over_watts is None else _carried(sections, readings, wanted.readings_over_watts)
    house_id, zone = readings.bursts["house_id"], readings.bursts["zone"]
    first = begins(house_id, zone)
    newest_ms = np.maximum.reduceat(readings.bursts["newest_ms"], first)
    section_at = np.searchsorted(sections["burst"], np.append(first, len(zone)))
    entry_at = np.append(0, np.cumsum(sections["bins"]))[section_at]
    minute_at = np.append(0, np.cumsum(sections["minutes"]))[section_at]
    reading_at = np.append(0, np.cumsum(sections["carried"]))[section_at]
    for i, burst in enumerate(first.tolist()):
        s, e, m, r = (slice(at[i], at[i + 1]) for at in (section_at, entry_at, minute_at, reading_at))
        yield Batch(int(house_id[burst]), readings.zones[zone[burst]], int(newest_ms[i]),
                    sections[s], bin[e], counts[e], minutes[m], gap_ms[r], watts[r])


_NO_HISTOGRAMS = np.empty(0, np.uint16), np.empty(0, np.uint32)
_NO_MINUTES = np.empty(0, PIECE)
_NO_READINGS = np.empty(0, np.uint32), np.empty(0, np.float32)


def _histograms(sections: np.ndarray, watts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bin, count) of all sections' histograms; fills in sections["bins"]."""
    sections["bins"], bin, count = histograms(sections["readings"].copy(), watts)
    return bin, count


def _carried(sections: np.ndarray, readings: Readings, over_watts: float) -> tuple[np.ndarray, np.ndarray]:
    """(gap_ms, watts) of the readings to be carried; fills in sections["peak_watts"] and ["carried"]."""
    gap_ms, watts = np.empty(len(readings.columns.watts), np.uint32), np.empty(len(readings.columns.watts), np.float32)
    carried = _carry(sections, readings.columns.gap_ms, readings.columns.watts, over_watts, gap_ms, watts)
    return gap_ms[:carried].copy(), watts[:carried].copy()


@compiled
def _carry(sections, gap_ms, watts, over_watts, carried_gap_ms, carried_watts):
    """Fill in the readings to be carried: each over over_watts, and the one that follows it. Returns how many there are."""
    n = c = 0
    for s in range(len(sections)):
        section = sections[s]
        begin, since_ms, was_over, peak_watts = c, np.int64(0), False, np.float32(0)
        for at in range(n, n + section.readings):
            since_ms += gap_ms[at] if at > n else 0
            is_over = watts[at] > over_watts
            if is_over or was_over:
                carried_gap_ms[c], carried_watts[c] = since_ms, watts[at]
                c, since_ms = c + 1, 0
            was_over, peak_watts = is_over, max(peak_watts, watts[at])
        n += section.readings
        section.carried, section.peak_watts = c - begin, peak_watts
    return c
