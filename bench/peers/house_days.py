"""The daily energy of a house, burst by burst in NumPy: shared by the peers whose user code is Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from bench.peers import MAX_GAP_MS, WATT_MS_PER_KWH


@dataclass(frozen=True)
class Summary:
    """A burst reduced to the meters with a reading in it. Lists are by meter."""

    timezone: str
    meter_ids: list[int]
    first_ms: list[int]
    last_ms: list[int]
    last_watts: list[float]
    days: list[tuple[date, list[float], list[int]]]  # local day, energy within the burst in W ms, readings


def summarise(timezone: str, start_ms: int, tick_ms: int, meter_ids, counts, deltas, watts) -> Summary:
    """The summary of a burst, from its columns (avro/reading_burst.avsc)."""
    counts, watts = np.asarray(counts, np.int64), np.asarray(watts, np.float64)
    meter_ids, counts = np.asarray(meter_ids)[counts > 0], counts[counts > 0]
    last = np.cumsum(counts) - 1
    first = last + 1 - counts
    ticks, deltas = np.cumsum(deltas, dtype=np.int64), np.asarray(deltas)
    time_ms = start_ms + tick_ms * (ticks - np.repeat(ticks[first] - deltas[first], counts))
    until_ms = np.append(time_ms[1:], 0)
    until_ms[last] = time_ms[last]
    np.minimum(until_ms, time_ms + MAX_GAP_MS, out=until_ms)
    days = []
    if len(last):
        day, newest_ms = local_date(timezone, int(time_ms.min())), int(time_ms.max())
        while (begin_ms := midnight_ms(timezone, day)) <= newest_ms:
            end_ms = midnight_ms(timezone, day + timedelta(days=1))
            held_ms = np.minimum(until_ms, end_ms) - np.maximum(time_ms, begin_ms)
            energy = np.add.reduceat(watts * np.maximum(held_ms, 0), first)
            readings = np.add.reduceat((begin_ms <= time_ms) & (time_ms < end_ms), first, dtype=np.int64)
            days.append((day, energy.tolist(), readings.tolist()))
            day += timedelta(days=1)
    return Summary(timezone, meter_ids.tolist(), time_ms[first].tolist(), time_ms[last].tolist(), watts[last].tolist(), days)


@dataclass
class HouseDays:
    """The days of a house so far: the peers' keyed state."""

    timezone: str = ""
    newest_ms: int = 0
    last: dict[int, tuple[int, float]] = field(default_factory=dict)  # meter -> time and watts of its last reading
    days: dict[tuple[int, date], tuple[float, int]] = field(default_factory=dict)  # meter, day -> W ms, readings

    def add(self, burst: Summary) -> None:
        """Add the house's next burst."""
        self.timezone = burst.timezone
        for day, energies, readings in burst.days:
            for meter_id, energy, count in zip(burst.meter_ids, energies, readings):
                self.count(meter_id, day, energy, count)
        for meter_id, first_ms, last_ms, watts in zip(burst.meter_ids, burst.first_ms, burst.last_ms, burst.last_watts):
            for day, energy in self.held(meter_id, first_ms):
                self.count(meter_id, day, energy, 0)
            self.last[meter_id] = last_ms, watts
            self.newest_ms = max(self.newest_ms, last_ms)

    def count(self, meter_id: int, day: date, energy: float, readings: int) -> None:
        if energy or readings:
            before, readings_before = self.days.get((meter_id, day), (0.0, 0))
            self.days[meter_id, day] = before + energy, readings_before + readings

    def held(self, meter_id: int, until_ms: int) -> list[tuple[date, float]]:
        """Energy in W ms, by local day, of a meter's last reading if the next one is at until_ms."""
        if meter_id not in self.last:
            return []
        time_ms, watts = self.last[meter_id]
        until_ms = min(until_ms, time_ms + MAX_GAP_MS)
        day = local_date(self.timezone, time_ms)
        end_ms = midnight_ms(self.timezone, day + timedelta(days=1))
        if until_ms <= end_ms:
            return [(day, watts * (until_ms - time_ms))]
        return [(day, watts * (end_ms - time_ms)), (day + timedelta(days=1), watts * (until_ms - end_ms))]

    def results(self) -> list[tuple[int, date, float, int]]:
        """(meter, day, kWh, readings) of each day. The last readings hold until the house's newest one."""
        rows = dict(self.days)
        for meter_id in self.last:
            for day, energy in self.held(meter_id, self.newest_ms):
                before, readings = rows.get((meter_id, day), (0.0, 0))
                if energy or readings:
                    rows[meter_id, day] = before + energy, readings
        return [(meter_id, day, energy / WATT_MS_PER_KWH, readings) for (meter_id, day), (energy, readings) in rows.items()]


def local_date(timezone: str, time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, ZoneInfo(timezone)).date()


@lru_cache(100_000)
def midnight_ms(timezone: str, day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone)).timestamp() * 1000)
