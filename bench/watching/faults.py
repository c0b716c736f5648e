"""Faults that homes and meters have, and how to inject one into the readings of a meter.

A fault begins at a reading of its meter where it makes sense: an appliance that draws too much, or never stops, is on when the fault begins;
one that is dead or frozen would be on at some time of the fault. Readings of the meter cover the whole fault and go on after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np

from generator.houses import Meter, Readings
from smartmeter.arrays import Bools, Float32s, Ints

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
DAY_MS = 24 * HOUR_MS
GLITCH_WATTS = 32_768
LEAST_STANDBY_WATTS = 10
"""A meter whose standby is lower cannot have that doubled."""

STANDBY_QUANTILE = 0.05

Role = Literal["mains", "fridge", "heater", "other"]
Level = Literal["on", "standby", "none"]
FRIDGE = re.compile(r"fridge|freezer|refrigerator|icebox")
HEATER = re.compile(r"\bheat|heater|boiler|immersion|radiator|shower|kettle|\boven|stove|cooker|\bhob\b|toaster|\biron|dryer|geyser|sauna")

ALL: tuple[Role, ...] = ("mains", "fridge", "heater", "other")
APPLIANCES = ALL[1:]


def role_of(meter: Meter) -> Role:
    """What a meter measures, by its kind and label. A label of several appliances has the first role that fits.

    >>> role_of(Meter(3, "laundry_and_fridge", "appliance"))
    'fridge'
    """
    if meter.kind == "mains":
        return "mains"
    label = meter.label.lower().replace("_", " ")
    return "fridge" if FRIDGE.search(label) else "heater" if HEATER.search(label) else "other"


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    name: str
    roles: tuple[Role, ...]
    """The meters that can have it."""
    lasts_ms: int
    """0: one reading."""
    begins: Literal["on", "used", "anywhere"]
    """on: at a reading at which the meter is on; used: so that it would be on at some time of the fault."""
    change: Callable[[Float32s, float], Float32s] | None
    """(readings of the fault's time, level in W) -> readings with the fault. None: there are none."""
    level: Level = "none"
    of_power: bool = True
    """Whether the appliance's power changes, and so that of the mains. Else only the meter fails."""


def _dead(watts: Float32s, level: float) -> Float32s:
    return np.zeros_like(watts)


def _held(watts: Float32s, level: float) -> Float32s:
    return np.maximum(watts, np.float32(level))


def _times(factor: float) -> Callable[[Float32s, float], Float32s]:
    return lambda watts, level: watts * np.float32(factor)


def _plus(more_watts: float) -> Callable[[Float32s, float], Float32s]:
    return lambda watts, level: watts + np.float32(more_watts)


KINDS = (
    Kind("x1.5, 10 min", APPLIANCES, 10 * MINUTE_MS, "on", _times(1.5)),
    Kind("x2, 10 min", APPLIANCES, 10 * MINUTE_MS, "on", _times(2)),
    Kind("+1 kW, 10 min", APPLIANCES, 10 * MINUTE_MS, "on", _plus(1000)),
    Kind("+3 kW, 10 min", APPLIANCES, 10 * MINUTE_MS, "on", _plus(3000)),
    Kind("heater stuck, 6 h", ("heater",), 6 * HOUR_MS, "on", _held, "on"),
    Kind("fridge never off, 6 h", ("fridge",), 6 * HOUR_MS, "on", _held, "on"),
    Kind("standby doubled, 1 day", ALL, DAY_MS, "anywhere", lambda watts, level: watts + np.float32(level), "standby"),
    Kind("mains +2 kW, 15 min", ("mains",), 15 * MINUTE_MS, "anywhere", _plus(2000)),
    Kind("mains +5 kW, 15 min", ("mains",), 15 * MINUTE_MS, "anywhere", _plus(5000)),
    Kind("mains dead, 1 day", ("mains",), DAY_MS, "used", _dead),
    Kind("fridge dead, 1 day", ("fridge",), DAY_MS, "used", _dead),
    Kind("other dead, 1 day", ("heater", "other"), DAY_MS, "used", _dead),
    Kind("frozen, 1 day", ALL, DAY_MS, "used", lambda watts, level: np.full_like(watts, watts[0]), of_power=False),
    Kind("silent, 1 day", ALL, DAY_MS, "anywhere", None, of_power=False),
    Kind("glitch, 1 reading", ALL, 0, "anywhere", lambda watts, level: np.full_like(watts, GLITCH_WATTS), of_power=False),
)


@dataclass(frozen=True)
class Fault:
    """A fault of a meter in [start_ms, end_ms). level_watts: see Kind.change."""

    kind: Kind
    meter_id: int
    start_ms: int
    end_ms: int
    level_watts: float


@dataclass(frozen=True)
class Placing:
    """Where faults may begin, and how many of a kind and meter there are."""

    seed: int
    each: int
    on_watts: float
    max_gap_ms: int
    """Readings further apart do not cover the time in between."""


def faults_of(house: str, meter: Meter, readings: Readings, allowed: Callable[[Ints], Bools], placing: Placing) -> list[Fault]:
    """The faults of a meter: of each kind that it can have, `each` at drawn places, or fewer if there are not as many.

    allowed(times in ms) -> bool: whether a fault may begin or end then. The places depend on nothing but the seed, the house's name, the
    meter, the kind and the readings.
    """
    found: list[Fault] = []
    for kind in KINDS:
        level = level_watts(kind.level, readings[1], placing.on_watts)
        if role_of(meter) not in kind.roles or level is None:
            continue
        times = places(kind, readings, allowed, placing)
        random = np.random.default_rng([placing.seed, crc32(f"{house} {meter.meter_id} {kind.name}".encode())])
        drawn = np.sort(random.choice(times, min(placing.each, len(times)), replace=False))
        found += [Fault(kind, meter.meter_id, start_ms, start_ms + kind.lasts_ms, level) for start_ms in drawn.tolist()]
    return found


def level_watts(level: Level, watts: Float32s, on_watts: float) -> float | None:
    """The power that a fault is made of: the median while on, or the standby; None if the meter has no such level."""
    if level == "none":
        return 0.0
    if level == "on":
        on = watts[watts > on_watts]
        return float(np.median(on)) if len(on) else None
    standby = float(np.quantile(watts, STANDBY_QUANTILE)) if len(watts) else 0.0
    return standby if standby >= LEAST_STANDBY_WATTS else None


def places(kind: Kind, readings: Readings, allowed: Callable[[Ints], Bools], placing: Placing) -> Ints:
    """int64: the times of the readings at which a fault of a kind may begin, rising."""
    times, watts = readings
    end = np.searchsorted(times, times + max(kind.lasts_ms, 1))
    gaps = _running(np.diff(times) > placing.max_gap_ms)
    good = (end < len(times)) & allowed(times) & allowed(times + kind.lasts_ms)
    begin = np.flatnonzero(good)
    end = end[begin]
    fitting = gaps[end] == gaps[begin]
    on = watts > placing.on_watts
    if kind.begins == "on":
        fitting &= on[begin]
    if kind.begins == "used":
        on_before = _running(on)
        fitting &= on_before[end] > on_before[begin]
    starts: Ints = times[begin[fitting]]
    return starts


def _running(flags: Bools) -> Ints:
    """int64 (n + 1,): how many of the flags (n,) before each place are true."""
    return np.append(0, np.cumsum(flags))


def injected(fault: Fault, readings: Mapping[int, Readings], mains: Iterable[int]) -> dict[int, Readings]:
    """The readings that a fault changes: those of its meter, and those of the mains if the power of an appliance changes.

    readings, the result: by meter. Of several mains (the phases of a house), the first carries the appliance.
    """
    times, watts = readings[fault.meter_id]
    begin, end = np.searchsorted(times, [fault.start_ms, max(fault.end_ms, fault.start_ms + 1)]).tolist()
    change = fault.kind.change
    if change is None:
        return {fault.meter_id: (np.delete(times, slice(begin, end)), np.delete(watts, slice(begin, end)))}
    changed = watts.copy()
    changed[begin:end] = change(watts[begin:end], fault.level_watts)
    result = {fault.meter_id: (times, changed)}
    carrier = next(iter(mains), fault.meter_id)
    if fault.kind.of_power and carrier != fault.meter_id:
        more_watts = changed[begin:end] - watts[begin:end]
        result[carrier] = _with_load(readings[carrier], times[begin:end], more_watts, fault.end_ms)
    return result


def _with_load(mains: Readings, times_ms: Ints, more_watts: Float32s, end_ms: int) -> Readings:
    """The mains with a load that changes by more_watts at times_ms, and ends at end_ms. Less load does not make power negative."""
    times, watts = mains
    begin, end = np.searchsorted(times, [times_ms[0], end_ms]).tolist()
    here = watts[begin:end]
    of_reading = np.searchsorted(times_ms, times[begin:end], side="right") - 1
    changed = watts.copy()
    changed[begin:end] = np.maximum(here + more_watts[of_reading], np.minimum(here, 0))
    return times, changed
