"""Cuts a day of a house into bursts, without a loop over readings."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from generator.houses import House, HouseDay
from smartmeter.arrays import Int32s, Ints
from smartmeter.messages.codec import Burst

Column = TypeVar("Column", np.int32, np.int64, np.float32)

NO_ENERGIES = np.empty(0, np.int64)


def in_order(houses: Sequence[House], first: date, end: date, burst_s: int) -> Iterator[Burst]:
    """The bursts of all houses in the local days [first, end), in order of their start."""
    return heapq.merge(*(bursts(house, first, end, burst_s) for house in houses), key=lambda burst: burst.start_ms)


def bursts(house: House, first: date, end: date, burst_s: int) -> Iterator[Burst]:
    """The readings of a house in the local days [first, end) as bursts of burst_s seconds, in order of time."""
    for day in house.days(first, end):
        yield from bursts_of_day(house, day, burst_s)


def bursts_of_day(house: House, day: HouseDay, burst_s: int) -> Iterator[Burst]:
    """Bursts of burst_s seconds from local midnight; the last one ends with the day.

    Every burst lists all meters, with their holds if one has any, and the day's registers. A span without any reading has no burst. Ticks are
    seconds if the times of all readings are whole seconds, else milliseconds.
    """
    bounds = np.append(np.arange(day.start_ms, day.end_ms, burst_s * 1000), day.end_ms)
    times_of, powers = [times for times, _ in (*day.readings, *day.registers.values())], len(day.readings)
    tick_ms = 1000 if all((times % 1000 == 0).all() for times in times_of) else 1
    cuts = np.array([np.searchsorted(times, bounds) for times in times_of])  # (channels, bursts + 1)
    counts = np.diff(cuts).astype(np.int32)
    meter_ids = np.array([*(meter.meter_id for meter in house.meters), *(meter_id for meter_id, _ in day.registers)], dtype=np.int32)
    deltas = _interleave([_deltas(times, bounds, cut, tick_ms) for times, cut in zip(times_of, cuts)], counts)
    watts = _interleave([watts for _, watts in day.readings], counts[:powers])
    energies = NO_ENERGIES
    if day.registers:
        energies = _interleave([_differences(mwh, cut) for (_, mwh), cut in zip(day.registers.values(), cuts[powers:])], counts[powers:])
    quantities = np.array([*[0] * powers, *(quantity for _, quantity in day.registers)] if day.registers else [], np.int32)
    holds_s = np.array([house.holds_s.get(meter.meter_id, 0) for meter in house.meters if house.holds_s], np.int32)
    holds_s = np.append(holds_s, np.zeros(len(day.registers) if len(holds_s) else 0, np.int32))
    of_all, of_power, of_registers = (_slices(some) for some in (counts, counts[:powers], counts[powers:]))
    for i in np.flatnonzero(counts.sum(axis=0)):
        own = of_all[i]
        yield Burst(
            house.house_id,
            house.timezone,
            int(bounds[i]),
            int(bounds[i + 1]),
            tick_ms,
            meter_ids,
            counts[:, i],
            deltas[own],
            watts[of_power[i]],
            quantities,
            holds_s,
            energies[of_registers[i]],
        )


def _slices(counts: Int32s) -> list[slice]:
    """Which values of all channels are in each burst. counts: int32 (channels, bursts)."""
    ends = np.cumsum(counts.sum(axis=0)).tolist()
    return [slice(begin, end) for begin, end in pairwise([0, *ends])]


def _differences(mwh: Ints, cut: Ints) -> Ints:
    """A register's first value in each burst, and then the differences. cut: int64 (bursts + 1,), index of the first one of each burst."""
    differences = np.diff(mwh, prepend=0)
    firsts = cut[np.flatnonzero(np.diff(cut))]
    differences[firsts] = mwh[firsts]
    return differences


def _deltas(times_ms: Ints, bounds: Ints, cut: Ints, tick_ms: int) -> Int32s:
    """Ticks since the meter's previous reading, or since the burst's start for its first reading in a burst."""
    deltas = np.diff(times_ms, prepend=bounds[0])
    has_reading = np.flatnonzero(np.diff(cut))
    firsts = cut[has_reading]
    deltas[firsts] = times_ms[firsts] - bounds[has_reading]
    return (deltas // tick_ms).astype(np.int32)


def _interleave(columns: list[NDArray[Column]], counts: Int32s) -> NDArray[Column]:
    """Reorder columns of each meter into bursts, and within a burst by meter. counts: readings, int32 (meters, bursts)."""
    out = np.empty(counts.sum(), dtype=columns[0].dtype)
    ends_in_out = np.cumsum(counts.T.ravel()).reshape(counts.T.shape).T  # where (meter, burst) ends in out
    for column, count, end_in_out in zip(columns, counts, ends_in_out):
        shift = end_in_out - np.cumsum(count)
        out[np.arange(len(column)) + np.repeat(shift, count)] = column
    return out
