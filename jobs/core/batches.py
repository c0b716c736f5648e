"""Reduces many messages to one batch a house: its sections, and those of their readings that the jobs need later.

Energy needs only the sections. Thresholds need a histogram of each section's power. The power profile needs what each section adds to each
minute. Spikes need the readings that are high enough to be a spike.

The batches of one shard of houses travel together in one body.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import lz4.block
import numpy as np
from numpy.typing import NDArray

from jobs.core.energy import HOUR, HOUR_1
from jobs.core.minutes import PIECE, pieces
from jobs.core.quantities import REFUSED
from jobs.core.readings import BURST, Columns, Readings
from jobs.core.register_sections import ENERGY, register_arrivals
from jobs.core.runs import begins
from jobs.core.sections import ARRIVED, ARRIVED_1, ARRIVED_2, arrivals
from jobs.core.shards import shard_of
from jobs.core.sketch import histograms
from jobs.core.state_version import require_version, widened
from smartmeter.arrays import Bools, Float32s, Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import NEVER

HOUSE = np.dtype(
    [
        ("house_id", "i8"),
        ("zone", "i4"),  # index of its time zone
        ("newest_ms", "i8"),  # the newest reading, or NEVER
        ("sections", "i4"),  # how many of the batches' sections belong to this house
        ("bins", "i4"),  # likewise, and so for the fields below
        ("minutes", "i4"),
        ("hours", "i4"),
        ("carried", "i4"),
        ("energies", "i4"),
    ]
)
NUMBERED = ("sections", "bins", "minutes", "hours", "carried", "energies")
HOUSE_2 = np.dtype(HOUSE.descr[:-1])
HOUSE_1 = np.dtype([field for field in HOUSE_2.descr if field[0] != "hours"])
"""A house as stored in state of version 1."""
_HEAD, _HEAD_2 = struct.Struct("<IIIIIIIIII"), struct.Struct("<IIIIIIIII")
_HEAD_1 = struct.Struct("<IHIIIII")
_WHOLE_HEAD = struct.Struct("<IIII")
STATE_VERSION = 3
_NO_SIZE = 0xFFFFFF00
"""Added to the version in the first field. Version 1 begins with a size, which is always smaller."""


@dataclass(frozen=True)
class Wanted:
    """What batches hold besides the sections."""

    histograms: bool = False
    readings_over_watts: float | None = None  # readings over it, and each reading after one; None: no readings
    minutes: bool = False

    def __or__(self, other: Wanted) -> Wanted:
        """Everything that either of the two wants."""
        over = [wants.readings_over_watts for wants in (self, other) if wants.readings_over_watts is not None]
        return Wanted(self.histograms or other.histograms, min(over, default=None), self.minutes or other.minutes)


class Whole(NamedTuple):
    """w bursts that travel with all their readings, because they may overlap in part with earlier ones (jobs.core.overlaps)."""

    number: Ints  # int64 (w,), rising; the column burst of their sections holds it
    columns: Columns

    @classmethod
    def among(cls, columns: Columns, wanted: Bools) -> Whole:
        """The bursts that are `wanted` (bool (b,)); each is numbered by its index."""
        if not wanted.any():
            return NO_WHOLE
        of_channel = np.repeat(wanted, columns.bursts["channels"])
        of_reading = np.repeat(of_channel, columns.count)
        refused = columns.refused[of_channel[columns.refused["channel"]]]
        refused["channel"] = (np.cumsum(of_channel) - 1)[refused["channel"]]
        return cls(
            np.flatnonzero(wanted),
            Columns(
                columns.bursts[wanted],
                columns.meter_id[of_channel],
                columns.count[of_channel],
                columns.period_ms[of_channel],
                columns.gap_ms[of_reading],
                columns.watts[of_reading],
                refused,
            ),
        )

    def of(self, sections: Rows) -> Whole:
        """The bursts of some consecutive sections (ARRIVED (s,))."""
        if not len(self.number) or not len(sections):
            return NO_WHOLE
        begin, end = np.searchsorted(self.number, [sections["burst"][0], sections["burst"][-1] + 1]).tolist()
        channels = _between(self.columns.bursts["channels"], begin, end)
        readings = _between(self.columns.count, channels.start, channels.stop)
        bursts, meter_id, count, period_ms, gap_ms, watts, refused = self.columns
        refused = refused[(refused["channel"] >= channels.start) & (refused["channel"] < channels.stop)]
        refused["channel"] -= channels.start
        return Whole(
            self.number[begin:end],
            Columns(
                bursts[begin:end], meter_id[channels], count[channels], period_ms[channels], gap_ms[readings], watts[readings], refused
            ),
        )

    def pack(self) -> bytes:
        """These bursts as bytes; empty if there are none."""
        if not len(self.number):
            return b""
        columns = self.columns._replace(gap_ms=self.columns.gap_ms.astype(np.uint32))
        head = _WHOLE_HEAD.pack(len(self.number), len(columns.meter_id), len(columns.watts), len(columns.refused))
        body: bytes = lz4.block.compress(b"".join(array.tobytes() for array in (self.number, *columns)))
        return head + body


def _between(lengths: Ints, begin: int, end: int) -> slice:
    """The slice that the entries begin to end (exclusive) take up, given the length of each entry."""
    first = int(lengths[:begin].sum())
    return slice(first, first + int(lengths[begin:end].sum()))


def _unpack_whole(body: memoryview, version: int) -> Whole:
    """Inverse of Whole.pack; also reads what batches of earlier versions hold, in which no channel has a hold of its own."""
    if not len(body):
        return NO_WHOLE
    bursts, channels, readings, refused = _WHOLE_HEAD.unpack_from(body)
    packed, at, arrays = lz4.block.decompress(body[_WHOLE_HEAD.size :]), 0, list[Any]()
    for dtype, length in (
        (np.int64, bursts),
        (BURST, bursts),
        (np.int64, channels),
        (np.int64, channels),
        (np.int64, channels if version == STATE_VERSION else 0),
        (np.uint32, readings),
        (np.float32, readings),
        (REFUSED, refused),
    ):
        arrays.append(np.frombuffer(packed, dtype, length, at))
        at += arrays[-1].nbytes
    if version < STATE_VERSION:
        arrays[4] = np.zeros(channels, np.int64)
    number, *columns = arrays
    return Whole(number, Columns(*columns)._replace(gap_ms=columns[4].astype(np.int64)))


NO_WHOLE = Whole(
    np.empty(0, np.int64),
    Columns(
        np.empty(0, BURST),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        np.empty(0, np.float32),
        np.empty(0, REFUSED),
    ),
)


@dataclass(frozen=True, eq=False)
class Batch:
    """s sections of one house in order of arrival, with e entries of their histograms, p minutes, h hours and n of their readings.

    The arrays are flat: the entries of the first section come first, then those of the second, and so on. A section has `bins` histogram
    entries, `minutes` minutes, `hours` hours and `carried` readings. One of a register has `energies` readings and nothing else.
    """

    house_id: int
    timezone: str
    newest_ms: int  # the newest reading, or NEVER
    sections: Rows  # ARRIVED (s,)
    bin: NDArray[np.uint16]  # uint16 (e,), of jobs.core.sketch
    count: NDArray[np.uint32]  # uint32 (e,), readings in the bin
    minutes: Rows  # PIECE (p,), of jobs.core.minutes
    hours: Rows  # HOUR (h,), of jobs.core.energy
    gap_ms: NDArray[np.uint32]  # uint32 (n,), time since the section's previous carried reading; for the first, since first_ms
    watts: Float32s  # float32 (n,)
    energies: Rows  # ENERGY (q,), of jobs.core.register_sections
    whole: Whole = NO_WHOLE

    def halves(self) -> tuple[Batch, Batch] | None:
        """The batch of the first half of its bursts, and that of the second half; None if all come from a single message."""
        cuts = begins(self.sections["burst"])[1:].tolist()
        if not cuts:
            return None
        cut = cuts[len(cuts) // 2]
        return self.part(0, cut), self.part(cut, len(self.sections))

    def part(self, begin: int, end: int) -> Batch:
        """The batch of the bursts that the sections begin to end (exclusive) belong to."""
        sections, own = self.sections[begin:end], {name: _between(self.sections[name], begin, end) for name in NUMBERED[1:]}
        return replace(
            self,
            newest_ms=int(sections["last_ms"][sections["readings"] > 0].max(initial=NEVER)),
            sections=sections,
            bin=self.bin[own["bins"]],
            count=self.count[own["bins"]],
            minutes=self.minutes[own["minutes"]],
            hours=self.hours[own["hours"]],
            gap_ms=self.gap_ms[own["carried"]],
            watts=self.watts[own["carried"]],
            energies=self.energies[own["energies"]],
            whole=self.whole.of(sections),
        )


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of many houses in shared arrays: the rows of the first house come first, then those of the second, and so on."""

    zones: list[str]
    houses: Rows  # HOUSE (k,); a house has several if its time zone changes
    sections: Rows
    bin: NDArray[np.uint16]
    count: NDArray[np.uint32]
    minutes: Rows
    hours: Rows
    gap_ms: NDArray[np.uint32]
    watts: Float32s
    energies: Rows
    whole: Whole = NO_WHOLE

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        s = e = p = h = n = q = 0
        for house_id, zone, newest_ms, sections, bins, minutes, hours, carried, energies in self.houses.tolist():
            own = self.sections[s : s + sections]
            yield Batch(
                house_id,
                self.zones[zone],
                newest_ms,
                own,
                self.bin[e : e + bins],
                self.count[e : e + bins],
                self.minutes[p : p + minutes],
                self.hours[h : h + hours],
                self.gap_ms[n : n + carried],
                self.watts[n : n + carried],
                self.energies[q : q + energies],
                self.whole.of(own),
            )
            s, e, p, h, n, q = s + sections, e + bins, p + minutes, h + hours, n + carried, q + energies

    def by_shard(self, shards: int) -> Iterator[tuple[int, bytes]]:
        """Yield (shard, its packed batches) for each of the `shards` shards that has any. The houses must be sorted by shard."""
        shard = shard_of(self.houses["house_id"], shards)
        for begin, end in pairwise([*begins(shard).tolist(), len(shard)] if len(shard) else []):
            yield int(shard[begin]), self.of_houses(begin, end).pack()

    def of_houses(self, begin: int, end: int) -> Batches:
        """The batches of the houses begin to end (exclusive)."""
        s, e, p, h, n, q = (slice(*self._places[name][[begin, end]].tolist()) for name in NUMBERED)
        return Batches(
            self.zones,
            self.houses[begin:end],
            self.sections[s],
            self.bin[e],
            self.count[e],
            self.minutes[p],
            self.hours[h],
            self.gap_ms[n],
            self.watts[n],
            self.energies[q],
            self.whole.of(self.sections[s]),
        )

    def of(self, house_id: int) -> Batches:
        """The batches of one house."""
        at = np.flatnonzero(self.houses["house_id"] == house_id)
        return self.of_houses(at[0], at[-1] + 1) if len(at) else self.of_houses(0, 0)

    @cached_property
    def _places(self) -> dict[str, Ints]:
        """Index at which the sections, bins and so on of each house begin, and at which those of the last house end."""
        return {name: np.append(0, np.cumsum(self.houses[name])) for name in NUMBERED}

    def pack(self) -> bytes:
        """These batches as bytes, to send from one worker to another or to keep in state.

        Everything is compressed except the powers, which hardly shrink. Compression costs less than carrying the bytes through the JVM.
        """
        zones = "\n".join(self.zones).encode()
        arrays = self.houses, self.sections, self.bin, self.count, self.minutes, self.hours, self.gap_ms, self.energies
        columns: bytes = lz4.block.compress(zones + b"".join(array.tobytes() for array in arrays))
        sizes = map(len, (zones, self.houses, self.sections, self.bin, self.minutes, self.hours, self.watts, self.energies))
        return _HEAD.pack(_NO_SIZE + STATE_VERSION, len(columns), *sizes) + columns + self.watts.tobytes() + self.whole.pack()


def unpack(body: bytes) -> Batches:
    """Inverse of Batches.pack; also reads versions 1 and 2."""
    version = max(1, int.from_bytes(body[:4], "little") - _NO_SIZE)
    hours = energies = 0
    if version == 1:
        head, house, arrived = _HEAD_1.size, HOUSE_1, ARRIVED_1
        size, zones, houses, sections, entries, minutes, readings = _HEAD_1.unpack_from(body)
    elif version == 2:
        head, house, arrived = _HEAD_2.size, HOUSE_2, ARRIVED_2
        _, size, zones, houses, sections, entries, minutes, hours, readings = _HEAD_2.unpack_from(body)
    else:
        require_version(version, STATE_VERSION)
        head, house, arrived = _HEAD.size, HOUSE, ARRIVED
        _, size, zones, houses, sections, entries, minutes, hours, readings, energies = _HEAD.unpack_from(body)
    columns, at, arrays = lz4.block.decompress(memoryview(body)[head : head + size]), zones, list[Any]()
    for dtype, length in (
        (house, houses),
        (arrived, sections),
        (np.uint16, entries),
        (np.uint32, entries),
        (PIECE, minutes),
        (HOUR if version == STATE_VERSION else HOUR_1, hours),
        (np.uint32, readings),
        (ENERGY, energies),
    ):
        arrays.append(np.frombuffer(columns, dtype, length, at))
        at += arrays[-1].nbytes
    arrays[0], arrays[1], arrays[5] = widened(arrays[0], HOUSE), widened(arrays[1], ARRIVED), widened(arrays[5], HOUR)
    watts = np.frombuffer(body, np.float32, readings, head + size)
    arrays.insert(-1, watts)
    arrays.append(_unpack_whole(memoryview(body)[head + size + watts.nbytes :], version))
    return Batches(columns[:zones].decode().split("\n"), *arrays)


def alone(batch: Batch) -> Batches:
    """One batch as a Batches of its own."""
    numbers = map(len, (batch.sections, batch.bin, batch.minutes, batch.hours, batch.watts, batch.energies))
    return Batches(
        [batch.timezone],
        np.array([(batch.house_id, 0, batch.newest_ms, *numbers)], HOUSE),
        batch.sections,
        batch.bin,
        batch.count,
        batch.minutes,
        batch.hours,
        batch.gap_ms,
        batch.watts,
        batch.energies,
        batch.whole,
    )


def house_batches(
    readings: Readings, partition: Ints, offset: Ints, max_sample_period_ms: int, wanted: Wanted, whole: Bools | None = None
) -> Batches:
    """A batch for each house and time zone in many bursts.

    partition, offset: int (b,), place of each burst's message. whole: bool (b,), the bursts that travel with all their readings
    (None: no burst).
    """
    sections, hours = arrivals(readings, partition, offset, max_sample_period_ms)
    bin_index, counts = _histograms(sections, readings.columns.watts) if wanted.histograms else _NO_HISTOGRAMS
    minutes = pieces(sections, readings) if wanted.minutes else _NO_MINUTES
    gap_ms, watts = _NO_READINGS if wanted.readings_over_watts is None else _carried(sections, readings, wanted.readings_over_watts)
    energies = _NO_ENERGIES
    if len(readings.registers.channels):
        of_registers, energies = register_arrivals(readings, partition, offset)
        sections = np.append(sections, of_registers)
        sections = sections[np.argsort(sections["burst"], kind="stable")]
    houses = np.zeros(len(readings.bursts), HOUSE)
    return Batches(
        readings.zones,
        houses[: _add_up(houses, readings.bursts, sections)],
        sections,
        bin_index,
        counts,
        minutes,
        hours,
        gap_ms,
        watts,
        energies,
        NO_WHOLE if whole is None else Whole.among(readings.columns, whole),
    )


_NO_HISTOGRAMS = np.empty(0, np.uint16), np.empty(0, np.uint32)
_NO_MINUTES = np.empty(0, PIECE)
_NO_READINGS = np.empty(0, np.uint32), np.empty(0, np.float32)
_NO_ENERGIES = np.empty(0, ENERGY)


@compiled
def _add_up(houses, bursts, sections):
    """Fill in the houses. Returns their number."""
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
            house.energies += sections[s].energies
            s += 1
    return k


def _histograms(sections: Rows, watts: Float32s) -> tuple[NDArray[np.uint16], NDArray[np.uint32]]:
    """(bin, count) of the histograms of all sections; fills in sections["bins"]."""
    sections["bins"], bin_index, count = histograms(sections["readings"].copy(), watts)
    return bin_index, count


def _carried(sections: Rows, readings: Readings, over_watts: float) -> tuple[NDArray[np.uint32], Float32s]:
    """(gap_ms, watts) of the readings to carry; fills in sections["peak_watts"] and ["carried"]."""
    gap_ms, watts = np.empty(len(readings.columns.watts), np.uint32), np.empty(len(readings.columns.watts), np.float32)
    carried = _carry(sections, readings.columns.gap_ms, readings.columns.watts, over_watts, gap_ms, watts)
    return gap_ms[:carried].copy(), watts[:carried].copy()


@compiled
def _carry(sections, gap_ms, watts, over_watts, carried_gap_ms, carried_watts):
    """Fill in the readings to carry: each one over over_watts, and the reading after it. Returns their number."""
    n = size = 0
    for s in range(len(sections)):
        section = sections[s]
        begin, since_ms, was_over, peak_watts = size, np.int64(0), False, np.float32(0)
        for at in range(n, n + section.readings):
            since_ms += gap_ms[at] if at > n else 0
            is_over = watts[at] > over_watts
            if is_over or was_over:
                carried_gap_ms[size], carried_watts[size] = since_ms, watts[at]
                size, since_ms = size + 1, np.int64(0)
            was_over, peak_watts = is_over, max(peak_watts, watts[at])
        n += section.readings
        section.carried, section.peak_watts = size - begin, peak_watts
    return size
