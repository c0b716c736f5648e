"""Appliances of synthetic houses: the programmes that they run, and when.

A programme is a sequence of phases, so an appliance has several ordinary levels of power. A washing machine is a motor with short pauses for
most of its time on, and a heater for some of it; an oven heats up, and then its thermostat switches. What runs by itself, such as a fridge,
repeats all day. Other programmes begin at the hours at which people use the appliance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple

import numpy as np

from smartmeter.arrays import Float32s, Floats

PERIOD_S = 3
"""Time between two readings of an appliance."""

JITTER = 0.1
"""How much earlier or later than at regular times a cycle begins, in periods."""

Season = Literal["any", "cold", "warm"]


class Phase(NamedTuple):
    """A part of a programme: watts for seconds. With on_s: pulses of on_s each, and rest_watts for pause_s between them."""

    seconds: float
    watts: float
    on_s: float = 0
    pause_s: float = 0
    rest_watts: float = 0


Programme = tuple[Phase, ...]


class Stretch(NamedTuple):
    """An appliance draws watts in [start_s, end_s), in s since local midnight."""

    start_s: float
    end_s: float
    watts: float


def _shares(*weights: float) -> Floats:
    return np.array(weights) / sum(weights)


MORNING_AND_EVENING = _shares(1, 1, 1, 1, 1, 2, 6, 8, 5, 3, 3, 4, 5, 3, 3, 4, 6, 10, 12, 11, 9, 7, 4, 2)
EVENING = _shares(2, 1, 1, 1, 1, 2, 4, 3, 1, 1, 1, 1, 1, 1, 1, 2, 5, 10, 14, 16, 15, 12, 7, 4)
ANY_HOUR = _shares(*[1] * 24)


@dataclass(frozen=True, eq=False)
class Appliance:
    """A kind of appliance. It runs one of its programmes, each as likely: every period_s, or uses_per_day times at hours of people's choice."""

    label: str
    programmes: Sequence[Programme]
    standby_watts: float = 0
    period_s: float = 0
    uses_per_day: float = 0
    hours: Floats | None = None  # share of the uses that begin in each hour of the day
    season: Season = "any"
    stuck_watts: float = 0  # what it draws if it does not switch off; 0: that cannot happen

    @property
    def levels(self) -> list[float]:
        """The powers that it draws on ordinary days, in W, rising."""
        phases = [phase for programme in self.programmes for phase in programme]
        return sorted({self.standby_watts, *(self.standby_watts + watts for phase in phases for watts in (phase.watts, phase.rest_watts))})

    @property
    def is_regular(self) -> bool:
        """Whether it is on on most days."""
        return self.period_s > 0 or self.uses_per_day >= 1.5


def _levels(*watts: float) -> list[Programme]:
    """Programmes that visit the same levels, each for long in turn: lamps of a room, a set with its loudspeakers."""
    return [tuple(Phase(3600 if each == longest else 600, each) for each in watts) for longest in watts]


_WASH: Programme = (Phase(120, 60), Phase(780, 2050), Phase(1800, 280, 12, 6), Phase(600, 180, 12, 12), Phase(420, 520))
_COOL_WASH: Programme = (Phase(120, 60), Phase(300, 2050), Phase(1500, 280, 12, 6), Phase(300, 520))
_DISHES: Programme = (Phase(600, 90), Phase(960, 1900), Phase(1500, 90), Phase(720, 1900), Phase(1200, 40))
_FEW_DISHES: Programme = (Phase(300, 90), Phase(600, 1900), Phase(900, 90), Phase(420, 1900))
_DRY: Programme = (Phase(900, 2600), Phase(1500, 2600, 150, 60, 260), Phase(300, 260))

CATALOGUE = (
    Appliance("refrigerator", [(Phase(1000, 160),)] * 9 + [(Phase(1000, 160), Phase(900, 420))], 6, period_s=2700, stuck_watts=160),
    Appliance("freezer", [(Phase(1300, 110),)] * 7 + [(Phase(1300, 110), Phase(1080, 330))], 2, period_s=3700, stuck_watts=110),
    Appliance("furnace", [(Phase(60, 130), Phase(640, 420))], 8, period_s=3900, season="cold"),
    Appliance("air_conditioning", [(Phase(800, 1400),), (Phase(60, 300), Phase(1000, 1400))], period_s=5000, season="warm"),
    Appliance("electric_heat", [(Phase(500, 1300),), (Phase(700, 1300),)], period_s=7500, season="cold", stuck_watts=1300),
    Appliance("lighting", _levels(60, 160, 100), uses_per_day=6, hours=EVENING),
    Appliance("lighting", _levels(40, 80), uses_per_day=5, hours=EVENING),
    Appliance("electronics", _levels(260, 190, 110), 24, uses_per_day=3, hours=EVENING),
    Appliance(
        "kettle",
        [(Phase(75, 2200),), (Phase(120, 2200),), (Phase(170, 2200),)],
        uses_per_day=6,
        hours=MORNING_AND_EVENING,
        stuck_watts=2200,
    ),
    Appliance("kitchen_outlets", [(Phase(120, 900),), (Phase(90, 900), Phase(1800, 70))], 5, uses_per_day=4, hours=MORNING_AND_EVENING),
    Appliance(
        "microwave",
        [(Phase(60, 1500),), (Phase(150, 1500),), (Phase(180, 1500, 12, 15, 50),)],
        4,
        uses_per_day=5,
        hours=MORNING_AND_EVENING,
    ),
    Appliance(
        "oven",
        [(Phase(600, 2400), Phase(seconds, 2400, 75, 150, 60)) for seconds in (1500, 2700)],
        uses_per_day=0.6,
        hours=EVENING,
        stuck_watts=2400,
    ),
    Appliance("stove", [(Phase(240, 1700), Phase(900, 1700, 18, 21))], uses_per_day=2, hours=MORNING_AND_EVENING, stuck_watts=1700),
    Appliance("dishwasher", [_DISHES, _DISHES, _FEW_DISHES], 1, uses_per_day=0.7, hours=EVENING),
    Appliance("washing_machine", [_WASH, _COOL_WASH], 1, uses_per_day=0.7, hours=MORNING_AND_EVENING),
    Appliance("dryer", [_DRY], uses_per_day=0.5, hours=MORNING_AND_EVENING, stuck_watts=2600),
    Appliance("bathroom_gfi", [(Phase(300, 1400),), (Phase(60, 1400), Phase(240, 700))], 1, uses_per_day=2, hours=MORNING_AND_EVENING),
    Appliance("disposal", [(Phase(30, 380),)], uses_per_day=2, hours=MORNING_AND_EVENING),
    Appliance("outlets_unknown", _levels(60, 45), 2, uses_per_day=3, hours=ANY_HOUR),
    Appliance("smoke_alarms", [(Phase(60, 0),)], 1, uses_per_day=1, hours=ANY_HOUR),
    Appliance("subpanel", [(Phase(600, 650), Phase(3000, 300)), (Phase(1800, 300), Phase(1800, 650))], 10, uses_per_day=2, hours=ANY_HOUR),
)
"""Labels are those of REDD, UK-DALE and REFIT."""


def demand(season: Season, day: date) -> float:
    """How often an appliance's thermostat switches it on at that time of year in the north, 0 to 1 of the most."""
    if season == "any":
        return 1.0
    cold = float(np.cos(2 * np.pi * (day.timetuple().tm_yday - 20) / 365))
    return float(np.clip(0.5 + 0.7 * cold if season == "cold" else 0.2 - 0.8 * cold, 0, 1))


def stretches(rng: np.random.Generator, appliance: Appliance, day: date, midnight_s: int, day_s: int, away: bool) -> list[Stretch]:
    """The stretches of the programmes that begin on a day of day_s seconds since midnight_s. away: nobody is at home."""
    starts = _cycles(rng, appliance, day, midnight_s, day_s) if appliance.period_s else _uses(rng, appliance, day_s, away)
    factors = rng.uniform(0.8, 1.2, len(starts)).tolist()
    picked = rng.integers(len(appliance.programmes), size=len(starts)).tolist()
    found: list[Stretch] = []
    for start_s, factor, programme in zip(starts.tolist(), factors, picked):
        if not found or start_s >= found[-1].end_s:
            found += _run(appliance.programmes[programme], start_s, factor)
    return found


def _run(programme: Programme, start_s: float, factor: float) -> Iterator[Stretch]:
    """The stretches of a programme. factor: how much longer than usual its phases take."""
    for seconds, watts, on_s, pause_s, rest_watts in programme:
        end_s = start_s + seconds * factor
        while on_s and start_s + on_s + pause_s < end_s:
            yield Stretch(start_s, start_s + on_s, watts)
            yield Stretch(start_s + on_s, start_s + on_s + pause_s, rest_watts)
            start_s += on_s + pause_s
        yield Stretch(start_s, end_s, watts)
        start_s = end_s


def _cycles(rng: np.random.Generator, appliance: Appliance, day: date, midnight_s: int, day_s: int) -> Floats:
    """When cycles begin, in s since midnight. They go on over midnight: every one has its place on the time line."""
    period_s = appliance.period_s
    first, end = -(-midnight_s // period_s), -(-(midnight_s + day_s) // period_s)
    places = np.arange(first, end)
    starts = (places + rng.uniform(-JITTER, JITTER, len(places))) * period_s - midnight_s
    kept: Floats = starts[rng.uniform(size=len(places)) < demand(appliance.season, day)]
    return kept


def _uses(rng: np.random.Generator, appliance: Appliance, day_s: int, away: bool) -> Floats:
    """When people use it, in s since midnight."""
    count = 0 if away else rng.poisson(appliance.uses_per_day)
    hours = rng.choice(24, count, p=appliance.hours) + rng.uniform(0, 1, count)
    starts: Floats = np.sort(np.minimum(hours * 3600, day_s))
    return starts


def power(rng: np.random.Generator, parts: Sequence[Stretch], standby_watts: float, factor: float, day_s: int) -> Float32s:
    """Power of an appliance over a day, in W, float32, one value every PERIOD_S. Where stretches overlap, the last one holds.

    factor: of the power while on, the house's own.
    """
    steps = -(-day_s // PERIOD_S)
    watts: Float32s = np.full(steps, standby_watts, np.float32)
    for start_s, end_s, on_watts in parts:
        if end_s > 0:
            watts[max(round(start_s / PERIOD_S), 0) : round(end_s / PERIOD_S)] = standby_watts + factor * on_watts
    watts *= 1 + np.float32(0.02) * rng.standard_normal(steps, dtype=np.float32)
    return np.maximum(watts, 0, out=watts)
