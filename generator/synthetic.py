"""Synthetic houses that look like those of REDD: two mains every second, 10 to 20 appliances every few seconds.

The mains are the sum of the appliances (generator.appliances), each on one of two phases, plus an unmetered load, plus noise. Now and then
nobody is at home for some days, and one appliance of each house is in use only for some months. Faults of several kinds (generator.faults)
are injected; faults() returns them as ground truth.

A day depends only on the seed, the house and the date, so days can be made in any order and by any number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np

from generator.appliances import CATALOGUE, PERIOD_S, Appliance, Stretch, demand, power, stretches
from generator.faults import GLITCH_WATTS, LONGEST_DAYS, OF_METER, RATES, Fault, Kind, apply, without_silent
from generator.houses import House, HouseDay, Meter
from generator.places import draw_place
from smartmeter.arrays import Float32s
from smartmeter.local_days import dates, day_bounds_ms

MAINS = (Meter(1, "mains", "mains"), Meter(2, "mains", "mains"))
FIRST_APPLIANCE = len(MAINS) + 1
USUAL_MAINS_WATTS = 3000
STEP_MS = PERIOD_S * 1000

FAULTS, READINGS, USES, AWAY = range(1, 5)
"""What random numbers are for."""

AWAY_EVERY_DAYS, AWAY_SHARE, AWAY_LONGEST_DAYS = 42, 0.5, 9
"""In a share of these periods, nobody is at home for 2 days or more."""

NEW_EVERY_DAYS, GONE_DAYS = 112, 28
"""One appliance of each house is away for the first of these days, and then new again."""

DAYS_REMEMBERED = 8


def synthetic_houses(count: int, seed: int, timezone: str | None = None, faults: bool = True) -> list[SyntheticHouse]:
    """Houses 1 to count, each in the time zone of its zip unless another one is given."""
    return [SyntheticHouse(house_id, seed, timezone, faults) for house_id in range(1, count + 1)]


class SyntheticHouse(House):
    """A house generated from a seed and its number. has_faults: whether faults are injected."""

    def __init__(self, house_id: int, seed: int, timezone: str | None = None, has_faults: bool = True):
        rng = np.random.default_rng([seed, house_id])
        place = draw_place(rng)
        kinds = [0, *sorted(rng.choice(np.arange(1, len(CATALOGUE)), rng.integers(9, 20), replace=False))]
        self.appliances = [CATALOGUE[kind] for kind in kinds]
        self._factors = rng.uniform(0.8, 1.2, len(kinds))
        self._phases = rng.integers(2, size=len(kinds))
        self._base_watts = rng.uniform(40, 120, 2)
        self._new = int(rng.choice([i for i, appliance in enumerate(self.appliances) if not appliance.period_s]))
        self._new_offset = int(rng.integers(NEW_EVERY_DAYS))
        self._seed, self._has_faults = seed, has_faults
        self._drawn: dict[date, list[Fault]] = {}
        self._used: dict[date, list[list[Stretch]]] = {}
        meters = [*MAINS, *(Meter(i, appliance.label, "appliance") for i, appliance in enumerate(self.appliances, FIRST_APPLIANCE))]
        super().__init__(house_id, "synthetic", timezone or place.timezone, meters, place)

    def _rng(self, day: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self.house_id, day, purpose])

    def is_away(self, day: date) -> bool:
        """Whether nobody is at home on a day."""
        period, day_of_period = divmod(day.toordinal(), AWAY_EVERY_DAYS)
        rng = self._rng(period, AWAY)
        first, days = rng.integers(AWAY_EVERY_DAYS), rng.integers(2, AWAY_LONGEST_DAYS, endpoint=True)
        return bool(rng.uniform() < AWAY_SHARE and first <= day_of_period < first + days)

    def has(self, meter_id: int, day: date) -> bool:
        """Whether the house has a meter's appliance on a day: always, except for the one that is new now and then."""
        gone = (day.toordinal() + self._new_offset) % NEW_EVERY_DAYS < GONE_DAYS
        return not (gone and meter_id == self._new + FIRST_APPLIANCE)

    def faults(self, day: date) -> list[Fault]:
        """The faults that begin on a local day. A meter has one at a time."""
        before = [fault for day_before in _days_up_to(day)[:-1] for fault in self._draw(day_before)]
        found = []
        for fault in self._draw(day):
            if not any(
                other.meter_id == fault.meter_id and other.end_ms > fault.start_ms and other.start_ms < fault.end_ms for other in before
            ):
                found.append(fault)
            before.append(fault)
        return found

    def _draw(self, day: date) -> list[Fault]:
        if day not in self._drawn:
            if len(self._drawn) >= DAYS_REMEMBERED:
                self._drawn.clear()
            rng = self._rng(day.toordinal(), FAULTS)
            drawn = (
                [self._fault(rng, kind, day) for kind, rate in RATES.items() for _ in range(rng.poisson(rate))] if self._has_faults else []
            )
            self._drawn[day] = [fault for fault in drawn if fault]
        return self._drawn[day]

    def _fault(self, rng: np.random.Generator, kind: Kind, day: date) -> Fault | None:
        """A fault that begins on a day; None if the house has no meter that can have it."""
        meter_ids = [meter.meter_id for meter in self.meters if self._may_have(kind, meter.meter_id, day)]
        if not meter_ids:
            return None
        meter_id = int(rng.choice(meter_ids))
        (start_ms, end_ms), length_ms = day_bounds_ms(day, self.timezone), _length_ms(rng, kind, meter_id)
        from_hour, to_hour = (1.0, 4.0) if kind == "hour" else (0.0, (end_ms - start_ms - min(length_ms, 20 * 60_000)) / 3_600_000)
        begin_ms = start_ms + int(rng.uniform(from_hour, to_hour) * 3_600_000) // STEP_MS * STEP_MS
        return Fault(self.house_id, meter_id, kind, begin_ms, begin_ms + length_ms, round(self._fault_watts(rng, kind, meter_id), 2))

    def _may_have(self, kind: Kind, meter_id: int, day: date) -> bool:
        """Whether a meter can have a kind of fault on a day. Those of appliances that are seldom on would not show."""
        if meter_id < FIRST_APPLIANCE:
            return kind not in ("run", "band", "off")
        if meter_id >= FIRST_APPLIANCE + len(self.appliances):
            return False
        appliance = self.appliances[meter_id - FIRST_APPLIANCE]
        regular = appliance.is_regular and demand(appliance.season, day) > 0.5 and meter_id != self._new + FIRST_APPLIANCE
        cold = appliance.label in ("refrigerator", "freezer")
        return {
            "level": self.has(meter_id, day),
            "glitch": regular,
            "silent": regular,
            "run": regular and appliance.stuck_watts > 0,
            "band": regular and bool(between(appliance)),
            "off": cold,
            "frozen": cold,
        }.get(kind, False)

    def _fault_watts(self, rng: np.random.Generator, kind: Kind, meter_id: int) -> float:
        """Fault.watts of a fault."""
        factor = rng.uniform()
        if kind in ("off", "dead", "silent"):
            return 0.0
        if kind == "glitch":
            return GLITCH_WATTS
        if meter_id < FIRST_APPLIANCE:
            idle = self._idle_watts(meter_id - 1)
            return {
                "level": USUAL_MAINS_WATTS * (3 + 2 * factor),
                "hour": 3000 + 2000 * factor,
                "standby": idle * (1 + factor) + 40,
                "frozen": idle * (1.2 + 2 * factor),
            }[kind]
        appliance, own = self.appliances[meter_id - FIRST_APPLIANCE], self._factors[meter_id - FIRST_APPLIANCE]
        if kind == "level":
            return max(appliance.levels[-1], 100) * (3 + 2 * factor)
        if kind == "band":
            return float(own * rng.choice(between(appliance)))
        return float(own * appliance.stuck_watts)

    def _idle_watts(self, phase: int) -> float:
        """What a phase draws while no appliance is on."""
        standby = [appliance.standby_watts for appliance, own in zip(self.appliances, self._phases) if own == phase]
        return float(self._base_watts[phase] + sum(standby))

    def days(self, first: date, end: date) -> Iterator[HouseDay]:
        """The local days in [first, end): each has readings."""
        for day in dates(first, end):
            yield self.day(day)

    def day(self, day: date) -> HouseDay:
        """The house's readings of a local day."""
        rng = self._rng(day.toordinal(), READINGS)
        start_ms, end_ms = day_bounds_ms(day, self.timezone)
        day_s = (end_ms - start_ms) // 1000
        watts = [self._unmetered(rng, phase, day_s, self.is_away(day)) for phase in (0, 1)]
        times = [start_ms + np.arange(day_s) * 1000] * 2
        faults = [fault for begun in _days_up_to(day) for fault in self.faults(begun) if fault.end_ms > start_ms]
        of_power = [fault for fault in faults if fault.kind not in OF_METER]
        slow_times = start_ms + np.arange(0, day_s, PERIOD_S) * 1000
        for i, (appliance, parts) in enumerate(zip(self.appliances, self._stretches(day))):
            meter_id = i + FIRST_APPLIANCE
            drawn = power(rng, parts, appliance.standby_watts * self.has(meter_id, day), self._factors[i], day_s)
            for fault in of_power:
                if fault.meter_id == meter_id:
                    apply(fault, slow_times, drawn)
            drawn = drawn.round(2)
            watts[self._phases[i]] += np.repeat(drawn, PERIOD_S)[:day_s]
            watts.append(drawn)
            times.append(slow_times)
        beside = self.beside(day, (watts[0] + watts[1])[::PERIOD_S])
        if beside:
            top = sum(drawn for meter, drawn in zip(self.meters[len(watts) :], beside) if not meter.parent)
            half = (watts[0] + watts[1] + np.repeat(top, PERIOD_S)[:day_s]) / 2
            watts[:2] = [half, half.copy()]
        watts += beside
        times += [slow_times] * len(beside)
        for fault in faults:
            if fault.meter_id < FIRST_APPLIANCE or fault.kind in OF_METER:
                apply(fault, times[fault.meter_id - 1], watts[fault.meter_id - 1])
        watts[:2] = [phase.round(2) for phase in watts[:2]]
        sent = [without_silent((f for f in faults if f.meter_id == meter_id), *own) for meter_id, own in enumerate(zip(times, watts), 1)]
        return HouseDay(day, start_ms, end_ms, sent)

    def beside(self, day: date, drawn: Float32s) -> list[Float32s]:
        """The power of the meters after those of the appliances, in W, float32, every PERIOD_S. drawn: by all else. With such meters, both
        phases draw the same, so that one does not export what the other imports."""
        return []

    def _stretches(self, day: date) -> list[list[Stretch]]:
        """What each appliance draws on a day: the stretches that began on the day before, then its own."""
        start_ms, end_ms = day_bounds_ms(day - timedelta(days=1), self.timezone)
        day_before_s = (end_ms - start_ms) // 1000
        begun = zip(self._begun(day - timedelta(days=1)), self._begun(day))
        return [
            [
                part._replace(start_s=part.start_s - day_before_s, end_s=part.end_s - day_before_s)
                for part in old
                if part.end_s > day_before_s
            ]
            + new
            for old, new in begun
        ]

    def _begun(self, day: date) -> list[list[Stretch]]:
        """The stretches of the programmes of each appliance that begin on a day."""
        if day not in self._used:
            if len(self._used) >= DAYS_REMEMBERED:
                self._used.clear()
            rng, away = self._rng(day.toordinal(), USES), self.is_away(day)
            start_ms, end_ms = day_bounds_ms(day, self.timezone)
            span = start_ms // 1000, (end_ms - start_ms) // 1000
            self._used[day] = [
                stretches(rng, appliance, day, *span, away or not self.has(meter_id, day))
                for meter_id, appliance in enumerate(self.appliances, FIRST_APPLIANCE)
            ]
        return self._used[day]

    def _unmetered(self, rng: np.random.Generator, phase: int, day_s: int, away: bool) -> Float32s:
        """Unmetered load of a phase, in W, float32, each second: a base, a rise in the evening, noise; never below 0."""
        hour = np.arange(day_s, dtype=np.float32) / 3600
        evening = np.exp(-(((hour - 20) / 2) ** 2)) * (not away)
        base = np.float32(self._base_watts[phase])
        watts: Float32s = np.maximum(base * (1 + evening) + 2 * rng.standard_normal(day_s, dtype=np.float32), 0)
        return watts


def _days_up_to(day: date) -> list[date]:
    """The days whose faults may still go on at the end of a day."""
    return [day - timedelta(days=ago) for ago in range(LONGEST_DAYS, -1, -1)]


def _length_ms(rng: np.random.Generator, kind: Kind, meter_id: int) -> int:
    """The length of a fault, a multiple of STEP_MS; of a glitch, one reading's."""
    if kind == "glitch":
        return 1000 if meter_id < FIRST_APPLIANCE else STEP_MS
    shortest, longest = {
        "level": (300, 1200),
        "run": (6 * 3600, 10 * 3600),
        "band": (1200, 3600),
        "off": (6 * 3600, 24 * 3600),
        "hour": (1200, 3600),
        "standby": (26 * 3600, 40 * 3600),
        "dead": (3 * 3600, 12 * 3600),
        "frozen": (4 * 3600, 12 * 3600),
        "silent": (4 * 3600, 12 * 3600),
    }[kind]
    return int(rng.integers(shortest, longest)) * 1000 // STEP_MS * STEP_MS


def between(appliance: Appliance) -> list[float]:
    """Powers of over 75 W that lie apart from all ordinary ones of an appliance, under its highest."""
    levels = np.array([level for level in appliance.levels if level > 0])
    candidates = np.arange(0.3, 0.9, 0.05) * levels[-1]
    apart = (np.abs(np.log(candidates[:, np.newaxis] / levels)) > np.log(1.35)).all(axis=1)
    return [float(watts) for watts in candidates[apart & (candidates > 75)]]
