"""Synthetic houses that look like those of REDD: two mains every second, 10 to 20 appliances every few seconds.

An appliance is off, or on for a while. A thermostat cycles around the clock; other appliances follow the hours at which
people use them. The mains are the sum of the appliances, each on one of two phases, plus an unmetered load, plus noise.
Now and then a spike is injected: an appliance or a phase draws far more than usual. spikes() returns them as ground truth.

A day depends only on the seed, the house and the date, so days can be made in any order and by any number of processes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from datetime import date
from pathlib import Path

import numpy as np

from generator.houses import House, HouseDay, Meter
from generator.places import draw_place
from smartmeter.arrays import Float32s, Floats, Ints
from smartmeter.local_days import dates, day_bounds_ms

APPLIANCE_PERIOD_S = 3
SPIKES_PER_DAY = 0.3
MAINS = (Meter(1, "mains", "mains"), Meter(2, "mains", "mains"))


def _shares(*weights: float) -> Floats:
    return np.array(weights) / sum(weights)


MORNING_AND_EVENING = _shares(1, 1, 1, 1, 1, 2, 6, 8, 5, 3, 3, 4, 5, 3, 3, 4, 6, 10, 12, 11, 9, 7, 4, 2)
EVENING = _shares(2, 1, 1, 1, 1, 2, 4, 3, 1, 1, 1, 1, 1, 1, 1, 2, 5, 10, 14, 16, 15, 12, 7, 4)
ANY_HOUR = _shares(*[1] * 24)


@dataclass(frozen=True)
class Appliance:
    """How a kind of appliance draws power. on_s and off_s are means; off_s is 0 if people switch it on."""

    label: str
    watts: float
    standby_watts: float
    on_s: float
    off_s: float = 0
    uses_per_day: float = 0
    hours: Floats | None = None  # share of the uses that begin in each hour of the day


CATALOGUE = (
    Appliance("refrigerator", 160, 6, on_s=1000, off_s=1700),
    Appliance("freezer", 110, 2, on_s=1300, off_s=2400),
    Appliance("furnace", 420, 8, on_s=700, off_s=3200),
    Appliance("air_conditioning", 1400, 0, on_s=800, off_s=4200),
    Appliance("electric_heat", 1300, 0, on_s=500, off_s=7000),
    Appliance("lighting", 140, 0, on_s=5400, uses_per_day=8, hours=EVENING),
    Appliance("lighting", 80, 0, on_s=4200, uses_per_day=6, hours=EVENING),
    Appliance("electronics", 190, 24, on_s=7500, uses_per_day=3, hours=EVENING),
    Appliance("kitchen_outlets", 900, 3, on_s=200, uses_per_day=7, hours=MORNING_AND_EVENING),
    Appliance("kitchen_outlets", 70, 5, on_s=1800, uses_per_day=4, hours=MORNING_AND_EVENING),
    Appliance("microwave", 1500, 4, on_s=120, uses_per_day=6, hours=MORNING_AND_EVENING),
    Appliance("oven", 2400, 0, on_s=2400, uses_per_day=0.5, hours=EVENING),
    Appliance("stove", 1600, 0, on_s=1200, uses_per_day=1.5, hours=MORNING_AND_EVENING),
    Appliance("dishwasher", 1100, 1, on_s=3600, uses_per_day=0.7, hours=EVENING),
    Appliance("washer_dryer", 2700, 0, on_s=2700, uses_per_day=0.6, hours=MORNING_AND_EVENING),
    Appliance("bathroom_gfi", 1400, 1, on_s=400, uses_per_day=2, hours=MORNING_AND_EVENING),
    Appliance("disposal", 380, 0, on_s=30, uses_per_day=2, hours=MORNING_AND_EVENING),
    Appliance("outlets_unknown", 60, 2, on_s=9000, uses_per_day=3, hours=ANY_HOUR),
    Appliance("smoke_alarms", 0, 1, on_s=60, uses_per_day=1, hours=ANY_HOUR),
    Appliance("subpanel", 300, 10, on_s=5000, uses_per_day=2, hours=ANY_HOUR),
)


@dataclass(frozen=True)
class Spike:
    """Ground truth: in [start_ms, end_ms), excess_watts were added to what meter_id draws."""

    house_id: int
    meter_id: int
    start_ms: int
    end_ms: int
    excess_watts: float


def synthetic_houses(count: int, seed: int, timezone: str | None = None) -> list[House]:
    """Houses 1 to count, each in the time zone of its zip unless another one is given."""
    return [SyntheticHouse(house_id, seed, timezone) for house_id in range(1, count + 1)]


def write_ground_truth(path: Path, spikes: Iterable[Spike]) -> None:
    """Write spikes to a CSV file with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(field.name for field in fields(Spike))
        rows.writerows(astuple(spike) for spike in spikes)


class SyntheticHouse(House):
    """A house generated from a seed and its number."""

    def __init__(self, house_id: int, seed: int, timezone: str | None = None):
        rng = np.random.default_rng([seed, house_id])
        place = draw_place(rng)
        kinds = [0, *sorted(rng.choice(np.arange(1, len(CATALOGUE)), rng.integers(9, 20), replace=False))]
        self.appliances = [CATALOGUE[kind] for kind in kinds]
        self._factors = rng.uniform(0.8, 1.2, len(kinds))
        self._phases = rng.integers(2, size=len(kinds))
        self._base_watts = rng.uniform(40, 120, 2)
        self._seed = seed
        meters = [*MAINS, *(Meter(i, appliance.label, "appliance") for i, appliance in enumerate(self.appliances, 3))]
        super().__init__(house_id, "synthetic", timezone or place.timezone, meters, place)

    def _rng(self, day: date, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self.house_id, day.toordinal(), purpose])

    def spikes(self, day: date) -> list[Spike]:
        """The spikes of a local day, 5 to 20 minutes each."""
        rng = self._rng(day, 1)
        start_ms, end_ms = day_bounds_ms(day, self.timezone)
        spikes = []
        for _ in range(rng.poisson(SPIKES_PER_DAY)):
            meter_id = int(rng.integers(1, len(self.meters) + 1))
            usual = 3000 if meter_id <= 2 else max(self.appliances[meter_id - 3].watts, 100)
            length_ms = int(rng.integers(100, 400)) * APPLIANCE_PERIOD_S * 1000
            begin_ms = start_ms + int(rng.uniform(0, end_ms - start_ms - length_ms)) // 3000 * 3000
            spikes.append(Spike(self.house_id, meter_id, begin_ms, begin_ms + length_ms, round(usual * rng.uniform(3, 5), 2)))
        return spikes

    def days(self, first: date, end: date) -> Iterator[HouseDay]:
        """The local days in [first, end): each has readings."""
        for day in dates(first, end):
            yield self.day(day)

    def day(self, day: date) -> HouseDay:
        """The house's readings of a local day."""
        rng = self._rng(day, 2)
        start_ms, end_ms = day_bounds_ms(day, self.timezone)
        day_s = (end_ms - start_ms) // 1000
        watts = [self._unmetered(rng, phase, day_s) for phase in (0, 1)]
        times = [start_ms + np.arange(day_s) * 1000] * 2
        spikes = self.spikes(day)
        slow_times = start_ms + np.arange(0, day_s, APPLIANCE_PERIOD_S) * 1000
        for i, appliance in enumerate(self.appliances):
            drawn = _appliance_watts(rng, appliance, self._factors[i], day_s)
            _add_spikes(drawn, slow_times, [spike for spike in spikes if spike.meter_id == i + 3])
            drawn = drawn.round(2)
            watts[self._phases[i]] += np.repeat(drawn, APPLIANCE_PERIOD_S)[:day_s]
            watts.append(drawn)
            times.append(slow_times)
        for i in (0, 1):
            _add_spikes(watts[i], times[i], [spike for spike in spikes if spike.meter_id == i + 1])
            watts[i] = watts[i].round(2)
        return HouseDay(day, start_ms, end_ms, list(zip(times, watts)))

    def _unmetered(self, rng: np.random.Generator, phase: int, day_s: int) -> Float32s:
        """Unmetered load of a phase, in W, float32, each second: a base, a rise in the evening, noise; never below 0."""
        hour = np.arange(day_s, dtype=np.float32) / 3600
        evening = np.exp(-(((hour - 20) / 2) ** 2))
        base = np.float32(self._base_watts[phase])
        watts: Float32s = np.maximum(base * (1 + evening) + 2 * rng.standard_normal(day_s, dtype=np.float32), 0)
        return watts


def _appliance_watts(rng: np.random.Generator, appliance: Appliance, factor: float, day_s: int) -> Float32s:
    """Power of an appliance over a day, in W, float32, one value every APPLIANCE_PERIOD_S."""
    starts, lengths = _cycles(rng, appliance, day_s) if appliance.off_s else _uses(rng, appliance, day_s)
    steps = -(-day_s // APPLIANCE_PERIOD_S)
    begins = np.clip(starts // APPLIANCE_PERIOD_S, 0, steps).astype(int)
    ends = np.clip((starts + lengths) // APPLIANCE_PERIOD_S + 1, 0, steps).astype(int)
    running = np.cumsum(np.bincount(begins, minlength=steps + 1) - np.bincount(ends, minlength=steps + 1))[:steps]
    noise = 1 + 0.02 * rng.standard_normal(steps, dtype=np.float32)
    on = np.float32(appliance.watts * factor) * (running > 0)
    watts: Float32s = np.maximum((appliance.standby_watts + on) * noise, 0)
    return watts


def _cycles(rng: np.random.Generator, appliance: Appliance, day_s: int) -> tuple[Floats, Floats]:
    """(starts, lengths), in s, of a thermostat's cycles, from before the day's start to after its end."""
    count = int(1.5 * day_s / (appliance.on_s + appliance.off_s)) + 4
    on = appliance.on_s * rng.uniform(0.8, 1.2, count)
    periods = on + appliance.off_s * rng.uniform(0.8, 1.2, count)
    return np.cumsum(periods) - periods[0] * (1 + rng.uniform()), on


def _uses(rng: np.random.Generator, appliance: Appliance, day_s: int) -> tuple[Floats, Floats]:
    """(starts, lengths), in s, of a day's uses by people."""
    count = rng.poisson(appliance.uses_per_day)
    hours = rng.choice(24, count, p=appliance.hours) + rng.uniform(0, 1, count)
    return np.minimum(hours * 3600, day_s), appliance.on_s * rng.lognormal(0, 0.4, count)


def _add_spikes(watts: Float32s, times_ms: Ints, spikes: list[Spike]) -> None:
    for spike in spikes:
        begin, end = np.searchsorted(times_ms, [spike.start_ms, spike.end_ms])
        watts[begin:end] += np.float32(spike.excess_watts)
