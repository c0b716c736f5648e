"""Energy of readings in exact integers: whole mJ (W ms) and 2**-40 mJ. What is drawn and what is fed in add up apart.

The integers represent a float32 power times whole ms exactly, down to 1e-5 W. Integer sums do not depend on their order, so results are the same
to the last bit however the readings were cut into messages, batches and workers. The sum of the 2**-40 mJ overflows beyond 2**23 readings
of a meter a day.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from jobs.core.local_hours import hour_of
from smartmeter.arrays import Floats, Ints
from smartmeter.compiled import compiled

REST_PER_MJ = 2.0**40
MJ_PER_KWH = 3.6e9

HOUR = np.dtype(
    [
        ("meter_id", "i4"),
        ("day", "i4"),
        ("start_ms", "i8"),  # of the local hour
        ("energy_mj", "i8"),
        ("energy_rest", "i8"),
        ("covered_ms", "i4"),
        ("exported_mj", "i8"),
        ("exported_rest", "i8"),
    ]
)
"""52 bytes: energy drawn and fed in, and covered time, of a meter in one local hour, or what is added to them."""

HOUR_1 = np.dtype(HOUR.descr[:-2])
"""An hour as stored in state of version 1."""

SUMS = ("energy_mj", "energy_rest", "exported_mj", "exported_rest", "covered_ms")
"""The columns of sections, results and hours that add up: energy drawn, energy fed in (0 or more), time over which a reading held."""


@compiled
def energy(watts, held_ms):
    """(whole mJ, 2**-40 mJ) of a power (W) that holds for held_ms; both less than 0, or 0, of a negative power."""
    product = np.float64(watts) * held_ms
    whole = np.int64(product)
    return whole, np.int64((product - whole) * REST_PER_MJ)


@compiled
def energies(watts, held_ms):
    """(whole mJ, 2**-40 mJ), int64 (n,), of powers that each hold for their own held_ms."""
    whole, rest = np.empty(len(watts), np.int64), np.empty(len(watts), np.int64)
    for i in range(len(watts)):
        whole[i], rest[i] = energy(watts[i], held_ms[i])
    return whole, rest


@overload
def kwh(energy_mj: np.int64, energy_rest: np.int64) -> np.float64: ...
@overload
def kwh(energy_mj: Ints, energy_rest: Ints) -> Floats: ...


def kwh(energy_mj: Any, energy_rest: Any) -> Any:
    """Energy in kWh, as float64."""
    return (energy_mj + energy_rest / REST_PER_MJ) / MJ_PER_KWH


@compiled
def amounts(watts, held_ms):
    """The SUMS of a power (W) that holds for held_ms."""
    whole, rest = energy(watts, held_ms)
    return signed(watts, whole, rest, held_ms)


@compiled
def signed(watts, whole, rest, held_ms):
    """The SUMS of an energy (mJ, 2**-40 mJ) of a power that held for held_ms: drawn, or fed in if the power is negative."""
    none = np.int64(0)
    return (none, none, -whole, -rest, held_ms) if watts < 0 else (whole, rest, none, none, held_ms)


@compiled
def add(total, energy_mj, energy_rest, exported_mj, exported_rest, covered_ms):
    """Add SUMS to those of a section, a result or an hour."""
    total.energy_mj += energy_mj
    total.energy_rest += energy_rest
    total.exported_mj += exported_mj
    total.exported_rest += exported_rest
    total.covered_ms += covered_ms


@compiled
def sums_of(part):
    """The SUMS of a section, a result or an hour."""
    return part.energy_mj, part.energy_rest, part.exported_mj, part.exported_rest, part.covered_ms


@compiled
def hold(hours, h, meter_id, day_number, watts, from_ms, held_ms, day):
    """Add the energy of a reading within a local day to hours[:h], split where hours end; the last hour takes the remainder.

    day: the arguments of hour_of after the time. Returns the new number of hours.
    """
    left_mj, left_rest = energy(watts, held_ms)
    until_ms = from_ms + held_ms
    hour_ms, end_ms = hour_of(from_ms, *day)
    while end_ms < until_ms:
        mj, rest = energy(watts, end_ms - from_ms)
        h = gain(hours, h, meter_id, day_number, hour_ms, signed(watts, mj, rest, end_ms - from_ms))
        left_mj, left_rest, from_ms = left_mj - mj, left_rest - rest, end_ms
        hour_ms, end_ms = hour_of(from_ms, *day)
    return gain(hours, h, meter_id, day_number, hour_ms, signed(watts, left_mj, left_rest, until_ms - from_ms))


@compiled
def gain(hours, h, meter_id, day, start_ms, sums):
    """Add SUMS to the last of hours[:h] if it is the same hour, else append a new one. Returns the new number of hours."""
    last = hours[h - 1]
    if h == 0 or last.start_ms != start_ms or last.meter_id != meter_id or last.day != day:
        hours[h].meter_id, hours[h].day, hours[h].start_ms = meter_id, day, start_ms
        h += 1
    add(hours[h - 1], *sums)
    return h
