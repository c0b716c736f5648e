"""A log of three houses. After some of it, when a release ends, their state has a value of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from zoneinfo import ZoneInfo

from smartmeter.messages.codec import IMPORT, Burst
from smartmeter.messages.rules import no_rule
from smartmeter.settings import Settings
from tests.oracle import midnight_ms
from tests.unit.logs import NEW_YORK, ROUTINES, burst, description, with_registers

START_MS = midnight_ms(ZoneInfo(NEW_YORK), date(2026, 5, 4))
STEP_MINUTES = 5
END_MINUTE = 5 * 1440 + 722
"""When the release ends. Faults last beyond it, so their alerts are open."""
BOUNDS = [*range(0, END_MINUTE, 240), END_MINUTE, *range(END_MINUTE + 118, 8 * 1440, 240)]
"""Bursts begin and end at these minutes."""
LOST = END_MINUTE - 242
"""Start of a burst that is lost, so the next one, the last before the release ends, jumps ahead."""
SETTING = Settings().but(
    window_days=2, limit_days=5, usual_days=2, margin=0.5, min_watts=20.0, mains_watts=500.0, percentile_watts=400.0, hold_s=600.0
)
METERS = {1: ("mains", "fridge", "washer"), 2: ("mains", "fridge"), 3: ("mains", "fridge", "solar")}
"""House 1 has power alone, 2 a register beside it, 3 a user's rule, solar, and the lost burst."""
DESCRIPTIONS = [
    description(house_id, **{f"m{n}": name if name in ("mains", "solar") else "appliance" for n, name in enumerate(names, 1)})
    for house_id, names in METERS.items()
]
RULES = [no_rule(3, 2, START_MS, 0) | {"sensitivity": "high", "limit_watts": 80.0, "limit_minutes": 60}]


def watts_of(name: str, minute: int) -> float:
    """The power of a meter. When the release ends, fridges have been stuck for hours, and mains are over their limit."""
    if name == "solar":
        return -max(0.0, 2000 - 6 * abs(minute % 1440 - 750))
    if name == "fridge" and -300 < minute - END_MINUTE < 200:
        return 90
    return ROUTINES[name](minute) + 4000 * (name == "mains" and -8 <= minute - END_MINUTE < 12)


def time_ms(minute: int) -> int:
    """The time so many minutes after the log's start, in ms."""
    return START_MS + 60_000 * minute


def burst_of(house_id: int, begin: int, end: int) -> Burst:
    """All readings of a house from a minute on and before another."""
    minutes = range(-(-begin // STEP_MINUTES) * STEP_MINUTES, end, STEP_MINUTES)
    meters = {n: [(time_ms(m), watts_of(name, m)) for m in minutes] for n, name in enumerate(METERS[house_id], 1)}
    of_power = burst(time_ms(begin), time_ms(end), meters, house_id=house_id)
    return with_registers(of_power, {(1, IMPORT): [(time_ms(m), 5_000 * m) for m in minutes if m % 30 == 0]}) if house_id == 2 else of_power


def bursts(first: int, last: int) -> Iterator[Burst]:
    """The bursts that begin from a minute on and before another, in the order of the topic."""
    for begin, end in pairwise(BOUNDS):
        if first <= begin < last:
            yield from (burst_of(house_id, begin, end) for house_id in METERS if (house_id, begin) != (3, LOST))
