"""A meter with several quantities: which of them decides each hour, and both figures of each day, for the meter trade's sum check.

A register decides an hour unless the meter's power covers more of it. So power fills what a register lacks: the hours before its first reading,
after its newest, and around a fault. The hour that runs is decided by power if it has any: a register covers as much of it only when it is
read, so the choice would change with each of its readings.

What a register shows of days that were closed before belongs to its day only if the meter has no power in that: else power has filled those
days.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np

from jobs.core.energy import HOUR, SUMS, kwh
from jobs.core.registers import EARLIER_MS
from jobs.core.runs import begins
from jobs.core.totals import RESULT
from smartmeter.arrays import Floats, Ints, Rows
from smartmeter.messages.codec import EXPORT, IMPORT

DECIDES = {IMPORT: ("energy_mj", "energy_rest"), EXPORT: ("exported_mj", "exported_rest")}
"""What the register of each quantity decides."""
MJ_PER_MWH, MWH_PER_KWH = 3600, 1e6

_OF_REGISTER = ("rows", "mwh", "covered_ms", "faults")
_HOUR = np.dtype(
    [
        *((name, "i8") for name in ("meter_id", "day", "start_ms", "rows", *SUMS)),
        *((f"{name}_{quantity}", "i8") for quantity in DECIDES for name in _OF_REGISTER),
    ]
)
"""An hour of a meter by power, and by each register. rows: how many were added up."""
_KEY = ("meter_id", "day", "start_ms")
_ADDED = [name for name in _HOUR.names or () if name not in _KEY]


class Both(TypedDict):
    """The fields of schema daily_energy about registers: both figures of a meter's day, None where the meter has no such quantity."""

    power_kwh: float | None
    power_exported_kwh: float | None
    register_kwh: float | None
    register_exported_kwh: float | None
    register_faults: int


NO_REGISTER: Both = {
    "power_kwh": None,
    "power_exported_kwh": None,
    "register_kwh": None,
    "register_exported_kwh": None,
    "register_faults": 0,
}


def days_of_registers(registers: Mapping[int, Rows]) -> Rows:
    """RESULT, without readings and energy, of each meter and day to which registers (quantity -> REGISTER_HOUR) give something."""
    days = np.unique(np.concatenate([hours[["meter_id", "day"]] for hours in registers.values()]))
    rows = np.zeros(len(days), RESULT)
    rows["meter_id"], rows["day"], rows["max_gap_ms"] = days["meter_id"], days["day"], np.iinfo(np.int64).max
    return rows


def decided(
    rows: Rows, hours: Rows, registers: Mapping[int, Rows], midnight_ms: Ints, running_ms: int
) -> tuple[Rows, Rows, dict[tuple[int, int], Both]]:
    """(RESULT, HOUR, (meter, day) -> its figures): what power and registers give together.

    rows: RESULT, by power. hours: HOUR of these days, by power. registers: quantity -> REGISTER_HOUR, likewise. midnight_ms: see midnights.
    running_ms: start of the hour of the house's newest reading.
    """
    every = _side_by_side(hours, registers, midnight_ms)
    first = begins(every["meter_id"], every["day"])
    day_keys, own, rows = _keys(every[first]), _decided(every[every["start_ms"] != EARLIER_MS], running_ms), rows.copy()
    of_registers = np.isin(_keys(rows), day_keys)
    at = np.searchsorted(day_keys, _keys(rows))
    for name in SUMS:
        sums = np.zeros(len(day_keys), np.int64)
        np.add.at(sums, np.searchsorted(day_keys, _keys(own)), own[name])
        rows[name][of_registers] = sums[at[of_registers]]
    found = np.append(hours[~np.isin(_keys(hours), day_keys)], own)
    both = dict(zip(every[["meter_id", "day"]][first].tolist(), _figures(every, first)))
    return rows, found[np.lexsort((found["start_ms"], found["day"], found["meter_id"]))], both


def _keys(rows: Rows) -> Ints:
    """int64 (n,): one number for each meter and day."""
    keys: Ints = rows["meter_id"].astype(np.int64) << 32 | rows["day"]
    return keys


def _side_by_side(hours: Rows, registers: Mapping[int, Rows], midnight_ms: Ints) -> Rows:
    """_HOUR of all meters and days of registers, sorted. What belongs to closed days comes with the day's first hour if there is no power."""
    powered = _keys(hours[hours["covered_ms"] > 0])
    parts = []
    for quantity, of_register in registers.items():
        part = np.zeros(len(of_register), _HOUR)
        part[f"rows_{quantity}"] = 1
        for name in (*_KEY, *_OF_REGISTER[1:]):
            part[name if name in _KEY else f"{name}_{quantity}"] = of_register[name]
        unpowered = (part["start_ms"] == EARLIER_MS) & ~np.isin(_keys(part), powered)
        part["start_ms"][unpowered] = midnight_ms[part["day"][unpowered]]
        parts.append(part)
    own = hours[(hours["covered_ms"] > 0) & np.isin(_keys(hours), _keys(np.concatenate(parts)))]
    part = np.zeros(len(own), _HOUR)
    part["rows"] = 1
    for name in (*_KEY, *SUMS):
        part[name] = own[name]
    every = np.concatenate([*parts, part])
    every = every[np.lexsort((every["start_ms"], every["day"], every["meter_id"]))]
    first = begins(every["meter_id"], every["day"], every["start_ms"])
    sums: Rows = every[first]
    for name in _ADDED if len(first) else ():
        sums[name] = np.add.reduceat(every[name], first)
    return sums


def _decided(every: Rows, running_ms: int) -> Rows:
    """HOUR of each _HOUR: by register, or by power where that covers more, or any of the hour that runs."""
    powered = (every["start_ms"] == running_ms) & (every["covered_ms"] > 0)
    hours = np.zeros(len(every), HOUR)
    for name in (*_KEY, *SUMS):
        hours[name] = every[name]
    for quantity, (energy_mj, energy_rest) in DECIDES.items():
        covered_ms, mwh = np.where(powered, 0, every[f"covered_ms_{quantity}"]), every[f"mwh_{quantity}"]
        by_register = (covered_ms >= every["covered_ms"]) & ((covered_ms > 0) | (mwh > 0))
        hours[energy_mj][by_register] = MJ_PER_MWH * mwh[by_register]
        hours[energy_rest][by_register] = 0
        hours["covered_ms"] = np.maximum(hours["covered_ms"], covered_ms)
    return hours


def _figures(every: Rows, first: Ints) -> list[Both]:
    """The figures of each day. every: _HOUR; first: index of the first hour of each day."""
    if not len(first):
        return []
    sums = {name: np.add.reduceat(every[name], first) for name in _ADDED}

    def figure(rows: str, energy_kwh: Floats) -> list[float | None]:
        return [energy if has else None for has, energy in zip((sums[rows] > 0).tolist(), energy_kwh.tolist())]

    figures = [figure("rows", kwh(*(sums[name] for name in names))) for names in DECIDES.values()]
    figures += [figure(f"rows_{quantity}", sums[f"mwh_{quantity}"] / MWH_PER_KWH) for quantity in DECIDES]
    faults = sums[f"faults_{IMPORT}"] + sums[f"faults_{EXPORT}"]
    return [
        {
            "power_kwh": power_kwh,
            "power_exported_kwh": power_exported_kwh,
            "register_kwh": register_kwh,
            "register_exported_kwh": register_exported_kwh,
            "register_faults": register_faults,
        }
        for power_kwh, power_exported_kwh, register_kwh, register_exported_kwh, register_faults in zip(*figures, faults.tolist())
    ]
