"""Synthetic houses with solar, a battery, and a garage with a charger of electric vehicles.

The sun's height follows from latitude, day and hour, with clouds that drift. The battery takes what would be exported, and gives what would be
imported; it begins each day empty. The garage's meter measures the charger too, so it is the charger's parent.
"""

from __future__ import annotations

from datetime import date

import numpy as np

from generator.appliances import PERIOD_S
from generator.faults import Kind
from generator.houses import Meter
from generator.synthetic import SyntheticHouse
from smartmeter.arrays import Float32s, Floats

SUN, CHARGING = 5, 6
"""What random numbers are for, after those of generator.synthetic."""

STEPS_OF_MINUTE = 60 // PERIOD_S
INVERTER_WATTS = 4.0
"""What an inverter draws at night."""

GARAGE_WATTS = 25.0
CAPACITY_WH, MOST_WATTS = 6000.0, 3000.0
"""Of the battery."""

NOON_H = 12.3


def solar_houses(count: int, seed: int, timezone: str | None = None) -> list[SyntheticHouse]:
    """Houses 1 to count, as generator.synthetic.synthetic_houses makes them, with solar."""
    return [SolarHouse(house_id, seed, timezone) for house_id in range(1, count + 1)]


class SolarHouse(SyntheticHouse):
    """A synthetic house with more meters, after those of its appliances."""

    def __init__(self, house_id: int, seed: int, timezone: str | None = None, has_faults: bool = True):
        super().__init__(house_id, seed, timezone, has_faults)
        first = len(self.meters) + 1
        self.meters = [
            *self.meters,
            Meter(first, "solar", "solar"),
            Meter(first + 1, "battery", "battery"),
            Meter(first + 2, "garage", "appliance"),
            Meter(first + 3, "ev charger", "ev", first + 2),
        ]
        rng = np.random.default_rng([seed, house_id, SUN])
        self._peak_watts, self._charger_watts = rng.uniform(3000, 7000), rng.choice([2300, 3700, 7400])

    def _may_have(self, kind: Kind, meter_id: int, day: date) -> bool:
        """See SyntheticHouse. Mains that fall below 0 by day have no standby, and are not dead at 0."""
        return super()._may_have(kind, meter_id, day) and kind not in ("standby", "dead")

    def beside(self, day: date, drawn: Float32s) -> list[Float32s]:
        """See SyntheticHouse: solar, battery, garage, ev charger."""
        steps = len(drawn)
        solar, charger = -self._produced(day, steps), self._charged(day, steps)
        garage = charger + np.float32(GARAGE_WATTS)
        battery = stored(drawn + garage + solar)
        return [watts.astype(np.float32).round(2) for watts in (solar, battery, garage, charger)]

    def _produced(self, day: date, steps: int) -> Floats:
        """What solar produces in each step of a day, in W; below 0 at night."""
        rng, hour = self._rng(day.toordinal(), SUN), np.arange(steps) * PERIOD_S / 3600
        latitude = self.place.latitude if self.place and self.place.latitude is not None else 40.0
        clear = np.maximum(sine_of_height(latitude, day, hour), 0) ** 1.2
        knots = np.clip(rng.normal(rng.uniform(0.4, 1), 0.2, 49), 0.1, 1)  # a value each half-hour
        watts: Floats = self._peak_watts * clear * np.interp(hour, np.arange(49) / 2, knots)
        return np.where(watts > INVERTER_WATTS, watts, -INVERTER_WATTS)

    def _charged(self, day: date, steps: int) -> Floats:
        """What the charger draws in each step of a day, in W: on two days in three, an evening's charge."""
        rng, watts = self._rng(day.toordinal(), CHARGING), np.zeros(steps)
        begin_h, length_h = rng.uniform(17, 20), rng.uniform(0.5, 3.5)
        if rng.uniform() < 2 / 3 and not self.is_away(day):
            watts[round(begin_h * 3600 / PERIOD_S) : round((begin_h + length_h) * 3600 / PERIOD_S)] = self._charger_watts
        return watts


def sine_of_height(latitude: float, day: date, hour: Floats) -> Floats:
    """Sine of the sun's height at some hours of a day. The declination is Cooper's (Solar Energy 12, 1969)."""
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day.timetuple().tm_yday) / 365)
    angle, at = np.radians(15 * (hour - NOON_H)), np.radians(latitude)
    found: Floats = np.sin(at) * np.sin(declination) + np.cos(at) * np.cos(declination) * np.cos(angle)
    return found


def stored(net_watts: Floats) -> Floats:
    """What the battery draws in each step of a day, in W, below 0 while it feeds; net_watts: what the house draws without it.

    It follows the mean of each minute.
    """
    minutes = -(-len(net_watts) // STEPS_OF_MINUTE)
    padded = np.append(net_watts, np.zeros(minutes * STEPS_OF_MINUTE - len(net_watts)))
    wanted = np.clip(-padded.reshape(minutes, STEPS_OF_MINUTE).mean(axis=1), -MOST_WATTS, MOST_WATTS)
    held_wh, drawn = 0.0, np.zeros(minutes)
    for minute, watts in enumerate(wanted.tolist()):
        drawn[minute] = min(max(watts, -60 * held_wh), 60 * (CAPACITY_WH - held_wh))
        held_wh += drawn[minute] / 60
    return np.repeat(drawn, STEPS_OF_MINUTE)[: len(net_watts)]
