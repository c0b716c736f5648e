"""From many messages to one batch a house: its sections, and of their readings what the jobs need further on.

Sections are enough for energy. Thresholds need a histogram of each section's power, the power profile what it adds to
each minute; spikes need those readings that are high enough to be a spike at all.

Batches travel together, those of a shard of houses in one body.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import lz4.block
import numpy as np

from jobs.core.energy import HOUR
from jobs.core.minutes import PIECE, pieces
from jobs.core.readings import BURST, REFUSED, Columns, Readings
from jobs.core.runs import begins
from jobs.core.sections import ARRIVED, ARRIVED_1, arrivals
from jobs.core.shards import shard_of
from jobs.core.sketch import histograms
from jobs.core.state_version import require_version, widened
from smartmeter.compiled import compiled

HOUSE = np.dtype([
    ("house_id", "i8"),
    ("zone", "i4"),  # index of its time zone
    ("newest_ms", "i8"),  # the newest reading, or NEVER
    ("sections", "i4"),  # how many of the batches' sections are this house's
    ("bins", "i4"),  # likewise
    ("minutes", "i4"),
    ("hours", "i4"),
    ("carried", "i4"),
])
NUMBERED = ("sections", "bins", "minutes", "hours", "carried")
HOUSE_1 = np.dtype([field for field in HOUSE.descr if field[0] != "hours"])
"""A house as state of version 1 has it."""
_HEAD = struct.Struct("<IIIIIIIII")
_HEAD_1 = struct.Struct("<IHIIIII")
_WHOLE_HEAD = struct.Struct("<IIII")
STATE_VERSION = 2
_NO_SIZE = 0xFFFFFF00
"""Added to the version at the beginning. What version 1 begins with, a size, is less."""


@dataclass(frozen=True)
class Wanted:
    """What batches hold beside the sections."""

    histograms: bool = False
    readings_over_watts: float | None = None  # readings over it, and those that follow one; None: no readings
    minutes: bool = False

    def __or__(self, other: Wanted) -> Wanted:
        """What both want."""
        over = [w.readings_over_watts for w in (self, other) if w.readings_over_watts is not None]
        return Wanted(self.histograms or other.histograms, min(over, default=None), self.minutes or other.minutes)


class Whole(NamedTuple):
    """w bursts that travel with all their readings: a part of what they speak for may have been received before (jobs.core.overlaps)."""

    number: np.ndarray  # int64 (w,), rising; their sections have it in the column burst
    columns: Columns

    @classmethod
    def among(cls, columns: Columns, wanted: np.ndarray) -> Whole:
        """Those bursts that are `wanted` (bool (b,)); their numbers are their places."""
        if not wanted.any():
            return NO_WHOLE
        of_channel = np.repeat(wanted, columns.bursts["channels"])
        of_reading = np.repeat(of_channel, columns.count)
        refused = columns.refused[of_channel[columns.refused["channel"]]]
        refused["channel"] = (np.cumsum(of_channel) - 1)[refused["channel"]]
        return cls(np.flatnonzero(wanted), Columns(
            columns.bursts[wanted], columns.meter_id[of_channel], columns.count[of_channel], columns.gap_ms[of_reading], columns.watts[of_reading],
            refused))

    def of(self, sections: np.ndarray) -> Whole:
        """The bursts of some sections (ARRIVED (b,)), which follow each other."""
        if not len(self.number) or not len(sections):
            return NO_WHOLE
        begin, end = np.searchsorted(self.number, [sections["burst"][0], sections["burst"][-1] + 1]).tolist()
        channels = _between(self.columns.bursts["channels"], begin, end)
        readings = _between(self.columns.count, channels.start, channels.stop)
        bursts, meter_id, count, gap_ms, watts, refused = self.columns
        refused = refused[(refused["channel"] >= channels.start) & (refused["channel"] < channels.stop)]
        refused["channel"] -= channels.start
        return Whole(self.number[begin:end],
                     Columns(bursts[begin:end], meter_id[channels], count[channels], gap_ms[readings], watts[readings], refused))

    def pack(self) -> bytes:
        """These bursts as bytes; none without any."""
        if not len(self.number):
            return b""
        columns = self.columns._replace(gap_ms=self.columns.gap_ms.astype(np.uint32))
        sizes = map(len, (self.number, columns.meter_id, columns.watts, columns.refused))
        return _WHOLE_HEAD.pack(*sizes) + lz4.block.compress(b"".join(array.tobytes() for array in (self.number, *columns)))


def _between(lengths: np.ndarray, begin: int, end: int) -> slice:
    """Where the entries from begin to before end lie, that have these lengths."""
    first = int(lengths[:begin].sum())
    return slice(first, first + int(lengths[begin:end].sum()))


def _unpack_whole(body: memoryview) -> Whole:
    """The bursts that Whole.pack gave."""
    if not len(body):
        return NO_WHOLE
    bursts, channels, readings, refused = _WHOLE_HEAD.unpack_from(body)
    packed, at, arrays = lz4.block.decompress(body[_WHOLE_HEAD.size:]), 0, []
    for dtype, length in ((np.int64, bursts), (BURST, bursts), (np.int64, channels), (np.int64, channels), (np.uint32, readings), (np.float32, readings),
                          (REFUSED, refused)):
        arrays.append(np.frombuffer(packed, dtype, length, at))
        at += arrays[-1].nbytes
    number, *columns = arrays
    return Whole(number, Columns(*columns)._replace(gap_ms=columns[3].astype(np.int64)))


NO_WHOLE = Whole(np.empty(0, np.int64), Columns(
    np.empty(0, BURST), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, REFUSED)))


@dataclass(frozen=True, eq=False)
class Batch:
    """b sections of one house in order of arrival, with h entries of their histograms, p minutes, q hours and n of their readings.

    The entries of the first section come first, then those of the next, as many as its `bins`; its minutes likewise, as
    many as its `minutes`, its hours, as many as its `hours`, and its readings, as many as its `carried`.
    """

    house_id: int
    timezone: str
    newest_ms: int  # the newest reading, or NEVER
    sections: np.ndarray  # ARRIVED (b,)
    bin: np.ndarray  # uint16 (h,), of jobs.core.sketch
    count: np.ndarray  # uint32 (h,), readings in the bin
    minutes: np.ndarray  # PIECE (p,), of jobs.core.minutes
    hours: np.ndarray  # HOUR (q,), of jobs.core.energy
    gap_ms: np.ndarray  # uint32 (n,), time since the section's previous reading that is carried; of the first, since first_ms
    watts: np.ndarray  # float32 (n,)
    whole: Whole = NO_WHOLE

    def halves(self) -> tuple[Batch, Batch] | None:
        """The batch of the first half of its bursts, and that of the others; None for those of a single message."""
        cuts = begins(self.sections["burst"])[1:].tolist()
        if not cuts:
            return None
        cut = cuts[len(cuts) // 2]
        h, p, q, n = (int(self.sections[name][:cut].sum()) for name in NUMBERED[1:])
        until_ms = int(self.sections["before_ms"][cut])  # the newest reading of the first half
        first = Batch(self.house_id, self.timezone, until_ms, self.sections[:cut], self.bin[:h], self.count[:h], self.minutes[:p],
                      self.hours[:q], self.gap_ms[:n], self.watts[:n], self.whole.of(self.sections[:cut]))
        return first, Batch(self.house_id, self.timezone, self.newest_ms, self.sections[cut:], self.bin[h:], self.count[h:], self.minutes[p:],
                            self.hours[q:], self.gap_ms[n:], self.watts[n:], self.whole.of(self.sections[cut:]))


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of many houses, their arrays in one: those of the first house come first, then those of the next."""

    zones: list[str]
    houses: np.ndarray  # HOUSE (k,); a house has several where its time zone changes
    sections: np.ndarray
    bin: np.ndarray
    count: np.ndarray
    minutes: np.ndarray
    hours: np.ndarray
    gap_ms: np.ndarray
    watts: np.ndarray
    whole: Whole = NO_WHOLE

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        s = h = p = q = n = 0
        for house_id, zone, newest_ms, sections, bins, minutes, hours, carried in self.houses.tolist():
            own = self.sections[s:s + sections]
            yield Batch(house_id, self.zones[zone], newest_ms, own, self.bin[h:h + bins], self.count[h:h + bins], self.minutes[p:p + minutes],
                        self.hours[q:q + hours], self.gap_ms[n:n + carried], self.watts[n:n + carried], self.whole.of(own))
            s, h, p, q, n = s + sections, h + bins, p + minutes, q + hours, n + carried

    def by_shard(self, shards: int) -> Iterator[tuple[int, bytes]]:
        """Yield (shard, its batches packed) for each of `shards` that has any. The houses must be in the order of shards."""
        shard = shard_of(self.houses["house_id"], shards)
        for begin, end in pairwise([*begins(shard).tolist(), len(shard)] if len(shard) else []):
            yield int(shard[begin]), self.part(begin, end).pack()

    def part(self, begin: int, end: int) -> Batches:
        """The batches of the houses from begin to before end."""
        s, h, p, q, n = (slice(*self._places[name][[begin, end]].tolist()) for name in NUMBERED)
        return Batches(self.zones, self.houses[begin:end], self.sections[s], self.bin[h], self.count[h], self.minutes[p], self.hours[q],
                       self.gap_ms[n], self.watts[n], self.whole.of(self.sections[s]))

    def of(self, house_id: int) -> Batches:
        """The batches of one house."""
        at = np.flatnonzero(self.houses["house_id"] == house_id)
        return self.part(at[0], at[-1] + 1) if len(at) else self.part(0, 0)

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        """Where the sections, bins ... of each house begin, and where the last one's end."""
        return {name: np.append(0, np.cumsum(self.houses[name])) for name in NUMBERED}

    def pack(self) -> bytes:
        """These batches as bytes, on their way from one worker to another, or in state.

        All but the powers, of which little would become less, are compressed: that costs less than carrying them through the JVM.
        """
        zones = "\n".join(self.zones).encode()
        arrays = self.houses, self.sections, self.bin, self.count, self.minutes, self.hours, self.gap_ms
        columns = lz4.block.compress(zones + b"".join(array.tobytes() for array in arrays))
        sizes = map(len, (zones, self.houses, self.sections, self.bin, self.minutes, self.hours, self.watts))
        return _HEAD.pack(_NO_SIZE + STATE_VERSION, len(columns), *sizes) + columns + self.watts.tobytes() + self.whole.pack()


def unpack(body: bytes) -> Batches:
    """The batches that were packed."""
    version = max(1, int.from_bytes(body[:4], "little") - _NO_SIZE)
    if version == 1:
        head, house, arrived = _HEAD_1.size, HOUSE_1, ARRIVED_1
        size, zones, houses, sections, entries, minutes, readings = _HEAD_1.unpack_from(body)
        hours = 0
    else:
        require_version(version, STATE_VERSION)
        head, house, arrived = _HEAD.size, HOUSE, ARRIVED
        _, size, zones, houses, sections, entries, minutes, hours, readings = _HEAD.unpack_from(body)
    columns, at, arrays = lz4.block.decompress(memoryview(body)[head:head + size]), zones, list[Any]()
    for dtype, length in ((house, houses), (arrived, sections), (np.uint16, entries), (np.uint32, entries), (PIECE, minutes), (HOUR, hours),
                          (np.uint32, readings)):
        arrays.append(np.frombuffer(columns, dtype, length, at))
        at += arrays[-1].nbytes
    arrays[:2] = widened(arrays[0], HOUSE), widened(arrays[1], ARRIVED)
    arrays.append(np.frombuffer(body, np.float32, readings, head + size))
    arrays.append(_unpack_whole(memoryview(body)[head + size + arrays[-1].nbytes:]))
    return Batches(columns[:zones].decode().split("\n"), *arrays)


def alone(batch: Batch) -> Batches:
    """One batch as batches."""
    house = batch.house_id, 0, batch.newest_ms, len(batch.sections), len(batch.bin), len(batch.minutes), len(batch.hours), len(batch.watts)
    return Batches([batch.timezone], np.array([house], HOUSE), batch.sections, batch.bin, batch.count, batch.minutes, batch.hours,
                   batch.gap_ms, batch.watts, batch.whole)


def house_batches(readings: Readings, partition: np.ndarray, offset: np.ndarray, max_sample_period_ms: int, wanted: Wanted,
                  whole: np.ndarray | None = None) -> Batches:
    """A batch for each house and time zone among many bursts.

    partition, offset: int (b,), of the message of each burst; whole: bool (b,), the bursts whose readings travel along (None: no burst's).
    """
    sections, hours = arrivals(readings, partition, offset, max_sample_period_ms)
    bin, counts = _histograms(sections, readings.columns.watts) if wanted.histograms else _NO_HISTOGRAMS
    minutes = pieces(sections, readings) if wanted.minutes else _NO_MINUTES
    gap_ms, watts = _NO_READINGS if wanted.readings_over_watts is None else _carried(sections, readings, wanted.readings_over_watts)
    houses = np.zeros(len(readings.bursts), HOUSE)
    return Batches(readings.zones, houses[:_add_up(houses, readings.bursts, sections)], sections, bin, counts, minutes, hours, gap_ms, watts,
                   NO_WHOLE if whole is None else Whole.among(readings.columns, whole))


_NO_HISTOGRAMS = np.empty(0, np.uint16), np.empty(0, np.uint32)
_NO_MINUTES = np.empty(0, PIECE)
_NO_READINGS = np.empty(0, np.uint32), np.empty(0, np.float32)


@compiled
def _add_up(houses, bursts, sections):
    """Fill in the houses. Returns how many there are."""
    k = s = 0
    for b in range(len(bursts)):
        burst = bursts[b]
        if b == 0 or burst.house_id != bursts[b - 1].house_id or burst.zone != bursts[b - 1].zone:
            houses[k].house_id, houses[k].zone, houses[k].newest_ms = burst.house_id, burst.zone, burst.newest_ms
            k += 1
        house = houses[k - 1]
        house.newest_ms = max(house.newest_ms, burst.newest_ms)
        while s < len(sections) and sections[s].burst == b:
            house.sections += 1
            house.bins += sections[s].bins
            house.minutes += sections[s].minutes
            house.hours += sections[s].hours
            house.carried += sections[s].carried
            s += 1
    return k


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
                c, since_ms = c + 1, np.int64(0)
            was_over, peak_watts = is_over, max(peak_watts, watts[at])
        n += section.readings
        section.carried, section.peak_watts = c - begin, peak_watts
    return c
