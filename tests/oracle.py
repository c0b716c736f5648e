"""What the daily energy job must find, worked out reading by reading in plain Python.

It shares nothing with the jobs: it keeps every reading, sorts them, and adds up intervals with exact fractions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from zoneinfo import ZoneInfo

EPOCH = date(1970, 1, 1)


@dataclass
class Day:
    """One meter and local day. Energy in W ms, times in ms."""

    energy: Fraction = Fraction(0)
    covered_ms: int = 0
    readings: list[int] = field(default_factory=list)
    duplicates: int = 0

    @property
    def kwh(self) -> float:
        return float(self.energy / 3_600_000_000)


@dataclass
class Outcome:
    days: dict[tuple[int, int, date], Day]
    max_gap_ms: dict[tuple[int, int, date], int]
    final: dict[tuple[int, int, date], bool]
    late: Counter  # (house, date) -> readings

    @property
    def used(self) -> int:
        return sum(len(day.readings) for day in self.days.values())

    @property
    def duplicates(self) -> int:
        return sum(day.duplicates for day in self.days.values())


def readings_of(burst):
    """Yield (meter, time in ms, watts)."""
    at = 0
    for meter, count in zip(burst.meter_ids.tolist(), burst.counts.tolist()):
        time_ms = burst.start_ms
        for i in range(at, at + count):
            time_ms += int(burst.deltas[i]) * burst.tick_ms
            yield meter, time_ms, float(burst.watts[i])
        at += count


def local_date(zone: ZoneInfo, time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, timezone.utc).astimezone(zone).date()


def midnight_ms(zone: ZoneInfo, day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)


def judge(bursts, max_gap_ms: int, allowed_lateness_ms: int) -> Outcome:
    """The outcome for bursts in the order in which they stand in the topic."""
    outcome = Outcome(defaultdict(Day), {}, {}, Counter())
    kept: dict[tuple[int, int], list] = defaultdict(list)
    spans: dict[tuple[int, int], list] = defaultdict(list)
    clock: dict[int, int] = {}
    zones: dict[int, ZoneInfo] = {}
    for burst in bursts:
        house, zone = burst.house_id, ZoneInfo(burst.timezone)
        zones[house] = zone
        before = clock.get(house)

        def closed(day):
            return before is not None and midnight_ms(zone, day + timedelta(days=1)) + allowed_lateness_ms <= before

        fresh = []
        for meter, time_ms, watts in readings_of(burst):
            day = local_date(zone, time_ms)
            if closed(day):
                outcome.late[house, day] += 1
            elif any(start <= time_ms < end for start, end in spans[house, meter]):
                outcome.days[house, meter, day].duplicates += 1
            else:
                fresh.append((meter, time_ms, watts))
            clock[house] = max(clock.get(house, time_ms), time_ms)
        for meter, time_ms, watts in fresh:
            kept[house, meter].append((time_ms, watts))
        day, last = local_date(zone, burst.start_ms), local_date(zone, burst.end_ms - 1)
        while day <= last:
            if not closed(day):
                span = (max(burst.start_ms, midnight_ms(zone, day)), min(burst.end_ms, midnight_ms(zone, day + timedelta(1))))
                for meter in burst.meter_ids.tolist():
                    spans[house, meter].append(span)
            day += timedelta(days=1)
    for (house, meter), readings in kept.items():
        _integrate(outcome, house, meter, sorted(readings), zones[house], clock[house], max_gap_ms)
    for key in outcome.days:
        _finish(outcome, key, zones[key[0]], clock[key[0]], allowed_lateness_ms)
    return outcome


def _integrate(outcome, house, meter, readings, zone, clock_ms, max_gap_ms):
    for i, (time_ms, watts) in enumerate(readings):
        outcome.days[house, meter, local_date(zone, time_ms)].readings.append(time_ms)
        until_ms = min(readings[i + 1][0] if i + 1 < len(readings) else clock_ms, time_ms + max_gap_ms)
        while time_ms < until_ms:
            day = local_date(zone, time_ms)
            stop_ms = min(until_ms, midnight_ms(zone, day + timedelta(days=1)))
            outcome.days[house, meter, day].energy += Fraction(watts) * (stop_ms - time_ms)
            outcome.days[house, meter, day].covered_ms += stop_ms - time_ms
            time_ms = stop_ms


def _finish(outcome, key, zone, clock_ms, allowed_lateness_ms):
    begin_ms, end_ms = midnight_ms(zone, key[2]), midnight_ms(zone, key[2] + timedelta(days=1))
    times = [begin_ms, *sorted(outcome.days[key].readings), min(end_ms, clock_ms)]
    outcome.max_gap_ms[key] = max(b - a for a, b in zip(times, times[1:]))
    outcome.final[key] = end_ms + allowed_lateness_ms <= clock_ms
