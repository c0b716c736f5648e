"""What the jobs must find (daily energy, thresholds, alerts, power profile), worked out reading by reading in plain Python.

It shares nothing with the jobs: it keeps every reading, sorts them, and adds up intervals with exact fractions.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from tests.registers_oracle import EARLIER, Register
from tests.rules_oracle import HouseRules
from tests.watchdog_oracle import HOUSE, Calendar, House, Numbers, Spell

EPOCH = date(1970, 1, 1)
ONE_DAY = timedelta(days=1)
MINUTE_MS, SETTLED_AFTER_MS = 60_000, 10_000
QUARTER_MS = 900_000
"""No clock shows a full hour, or is changed, at any other time: offsets are whole quarters of an hour since 1973."""
PER_WATT = 2**149
"""A float32 is a whole number of 2**-149."""
OFF_WATTS = 1e-5
"""A reading of so much or less is left out of the thresholds."""
MOST_WATTS = 1e9
SOURCES = {"solar", "battery"}
"""Kinds of meters that feed the house. They have no limit."""


NO_FIGURES = dict.fromkeys(("power_kwh", "power_exported_kwh", "register_kwh", "register_exported_kwh")) | {"register_faults": 0}
"""Both figures of a day to which no register gives anything."""


@dataclass
class Hour:
    """One meter and local hour. Energy drawn and fed in, in 2**-149 W ms; times in ms."""

    energy: int = 0
    exported: int = 0
    covered_ms: int = 0

    @property
    def kwh(self) -> float:
        return float(Fraction(self.energy, 3_600_000_000 * PER_WATT))

    @property
    def exported_kwh(self) -> float:
        return float(Fraction(self.exported, 3_600_000_000 * PER_WATT))

    def hold(self, watts, held_ms: int, sign=1):
        """Add, or take away, a power that holds for some time."""
        numerator, denominator = watts.as_integer_ratio()
        energy = sign * numerator * (PER_WATT // denominator) * held_ms
        if watts < 0:
            self.exported -= energy
        else:
            self.energy += energy
        self.covered_ms += sign * held_ms


@dataclass
class Day(Hour):
    """One meter and local day."""

    readings: list[int] = field(default_factory=list)  # times of all quantities, in ms
    times: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # those of each quantity
    duplicates: int = 0
    refused: int = 0
    gaps: int = 0  # readings that hold neither until the next one nor to the day's end
    hours: dict[tuple[int, timedelta], Hour] = field(
        default_factory=lambda: defaultdict(Hour)
    )  # by what `wall_hour` gives; none that holds nothing
    figures: dict[str, float | None] = field(default_factory=NO_FIGURES.copy)


@dataclass
class Minute:
    """One meter and minute (UTC): all of its readings, in W."""

    settled: bool  # whether the house has a reading SETTLED_AFTER_MS after its end
    watts: list[float] = field(default_factory=list)

    @property
    def mean_watts(self) -> float:
        return math.fsum(self.watts) / len(self.watts)


@dataclass(frozen=True)
class Rule:
    """How thresholds and alerts are made."""

    window_days: int = 7
    quantile: float = 0.97
    on_watts: float = 30.0
    margin: float = 0.15
    min_watts: float = 30.0
    mains_watts: float = 3000.0
    mains_share: float = 0.95  # a meter of unknown kind that is on in so large a share of its readings is taken for mains
    warm_up_ms: int = 20 * 3_600_000
    hold_ms: int = 0  # 0: any reading under the limit ends an episode
    limit_days: int = 28  # not less than window_days
    few_days: int = 4
    durations: Numbers | None = None  # without them, no alerts of duration
    percentile_watts: float = 0  # over a meter's percentile, of alerts of kind percentile; 0: none
    glitch_energy: bool = True  # whether glitches count in energy


@dataclass
class Threshold:
    """One meter in one version."""

    percentile_watts: float
    exact_watts: float  # the reading that percentile_watts must come within 1 % of
    readings: int
    covered_s: float
    limit_watts: float | None
    warming_up: bool
    usual: dict | None = None


@dataclass
class Version:
    """What holds for one house in [valid_from, valid_to)."""

    valid_from: int
    valid_to: int
    meters: dict[int, Threshold]
    longest_silence_minutes: int | None = None


@dataclass
class Alert:
    """One episode of one meter. Times in ms, excess in W ms. Its readings are those over the limit."""

    house_id: int
    meter_id: int
    date: date
    start: int
    percentile_watts: float
    limit_watts: float
    peak_watts: float
    hold_ms: int
    over_percentile_watts: float | None = None  # of an alert of kind percentile: how far over it the limit is
    end: int = 0
    open: bool = False
    readings: int = 0
    excess: Fraction = Fraction(0)

    @property
    def alert_id(self) -> str:
        return f"{self.house_id}/{self.meter_id}/{self.start}" + ("/percentile" if self.kind == "percentile" else "")

    @property
    def excess_kwh(self) -> float:
        return float(self.excess / 3_600_000_000)

    @property
    def kind(self) -> str:
        if self.over_percentile_watts is not None:
            return "percentile"
        return "glitch" if self.readings == 1 else "level"

    @property
    def stands(self) -> bool:
        return self.readings > 1 or (self.kind == "glitch" and not self.open and self.peak_watts / self.limit_watts >= 2)

    @property
    def severity(self) -> str:
        if self.kind == "glitch":
            return "info"
        if self.kind == "percentile":
            return "warning"
        return "critical" if self.peak_watts / self.limit_watts >= 2 or self.end >= self.start + 3_600_000 else "warning"

    @property
    def figures(self) -> list[str]:
        """Peak and limit: rounded to the first of 0, 1, 2 or 3 decimals at which they differ."""
        shown = ([format(watts, f",.{decimals}f") for watts in (self.peak_watts, self.limit_watts)] for decimals in range(4))
        pairs = list(shown)
        return next((pair for pair in pairs if len(set(pair)) == 2), pairs[-1])

    @property
    def reason(self) -> str:
        if self.kind == "glitch":
            return "a single reading of " + " W, over its limit of ".join(self.figures) + " W; none beside it is"
        of = {"h": (self.end - self.start) // 3_600_000, "min": (self.end - self.start) // 60_000 % 60}
        of["s"] = 0 if of["h"] else (self.end - self.start) // 1000 % 60
        lasted = " ".join(f"{number} {unit}" for unit, number in of.items() if number)
        over = " W, over its limit of ".join(self.figures) + " W" + (f", for {lasted}" if lasted else "")
        return over + (f"; its percentile is {self.percentile_watts:,.0f} W" if self.kind == "percentile" else "")

    @property
    def ends_when(self) -> str:
        if self.kind == "glitch":
            return "the next reading is under the limit"
        return f"it falls to {self.figures[1]} W or less" + (f" for {self.hold_ms / 1000:g} s" if self.hold_ms else "")


@dataclass
class Outcome:
    days: dict[tuple[int, int, date], Day]
    max_gap_ms: dict[tuple[int, int, date], int]
    final: dict[tuple[int, int, date], bool]
    late: Counter  # (house, date) -> readings that came after their day was closed
    zones: dict[int, ZoneInfo] = field(default_factory=dict)  # of each house
    minutes: dict[tuple[int, int, int], Minute] = field(default_factory=dict)  # (house, meter, start of the minute in ms)
    thresholds: dict[tuple[int, date], Version] = field(default_factory=dict)
    alerts: dict[str, Alert | Spell] = field(default_factory=dict)  # by alert_id
    alerts_at_end: dict[str, Alert | Spell] = field(default_factory=dict)  # of a topic that has ended: minutes need not be settled
    refuted: list = field(default_factory=list)  # bursts that jump ahead of their house's time, and that no other goes on from
    aside: list = field(default_factory=list)  # those of which that is not known yet

    @property
    def used(self) -> int:
        return sum(len(day.readings) for day in self.days.values())

    @property
    def duplicates(self) -> int:
        return sum(day.duplicates for day in self.days.values())

    @property
    def refused(self) -> int:
        return sum(day.refused for day in self.days.values())


def channels_of(burst):
    """Yield (meter, quantity, times in ms, values, whether the times rise within the burst's span) of each channel.

    The values of power are in W, those of registers (quantities 1 and 2) in mWh.
    """
    deltas, watts, energies = iter(burst.deltas.tolist()), iter(burst.watts.tolist()), iter(burst.energies.tolist())
    for i, (meter, count) in enumerate(zip(burst.meter_ids.tolist(), burst.counts.tolist())):
        quantity, time_ms, times = int(burst.quantities[i]) if len(burst.quantities) else 0, burst.start_ms, []
        for _ in range(count):
            time_ms += next(deltas) * burst.tick_ms
            times.append(time_ms)
        values = [next(energies if quantity else watts) for _ in range(count)]
        if quantity:
            values = [sum(values[: n + 1]) for n in range(count)]
        rising = all(a < b for a, b in pairwise(times)) and all(burst.start_ms <= t < burst.end_ms for t in times)
        yield meter, quantity, times, values, rising


def judged_readings(burst):
    """Yield (meter, time in ms, watts, whether it can be used) of the power channels.

    All of a meter are refused, and at the burst's start, where their times do not rise or leave the burst's span.
    """
    for meter, quantity, times, values, rising in channels_of(burst):
        for time_ms, watts in zip(times, values):
            if not quantity:
                yield meter, time_ms if rising else burst.start_ms, watts, rising and abs(watts) <= MOST_WATTS


def judged_registers(burst):
    """Yield (meter, quantity, time in ms, mWh, whether it can be used) of the register channels; refused as those of power are."""
    for meter, quantity, times, values, rising in channels_of(burst):
        for time_ms, mwh in zip(times, values):
            if quantity:
                yield meter, quantity, time_ms if rising else burst.start_ms, mwh, rising and 0 <= mwh < 2**63


def readings_of(burst):
    """Yield (meter, time in ms, watts) of the readings that can be used."""
    for meter, time_ms, watts, usable in judged_readings(burst):
        if usable:
            yield meter, time_ms, watts


def registers_of(burst):
    """Yield (meter, quantity, time in ms, mWh) of the readings of registers that can be used."""
    for *reading, usable in judged_registers(burst):
        if usable:
            yield reading


def periods_of(burst) -> dict[int, int]:
    """How long a reading of each meter's power in a burst holds at most, in ms; 0 where it does not say so."""
    meters = burst.meter_ids.tolist()
    quantities, holds_s = (column.tolist() or [0] * len(meters) for column in (burst.quantities, burst.holds_s))
    return {meter: 1000 * hold_s for meter, quantity, hold_s in zip(meters, quantities, holds_s) if quantity == 0}


def parts_of(burst, zone):
    """Yield (meter, quantity, local day, span of the burst within it, [(time in ms, value)], [time in ms of each that is refused]).

    One for each channel and day that a burst speaks for.
    """
    of_part, refused = defaultdict(list), defaultdict(list)
    channels = [(meter, quantity) for meter, quantity, *_ in channels_of(burst)]
    of_power = ((meter, 0, *reading) for meter, *reading in judged_readings(burst))
    for meter, quantity, time_ms, value, usable in [*of_power, *judged_registers(burst)]:
        if usable:
            of_part[meter, quantity, local_date(zone, time_ms)].append((time_ms, value))
        else:
            refused[meter, quantity, local_date(zone, time_ms)].append(time_ms)
    day, last = local_date(zone, burst.start_ms), local_date(zone, burst.end_ms - 1)
    while day <= last:
        span = (max(burst.start_ms, midnight_ms(zone, day)), min(burst.end_ms, midnight_ms(zone, day + ONE_DAY)))
        for meter, quantity in channels:
            yield meter, quantity, day, span, of_part[meter, quantity, day], refused[meter, quantity, day]
        day += ONE_DAY


def local_date(zone: ZoneInfo, time_ms: int) -> date:
    return _date_in_quarter(zone, time_ms // QUARTER_MS)


@lru_cache(maxsize=100_000)
def _date_in_quarter(zone: ZoneInfo, quarter: int) -> date:
    return datetime.fromtimestamp(quarter * QUARTER_MS / 1000, UTC).astimezone(zone).date()


def hours_of(zone: ZoneInfo, hour_starts, hours, hour_kwh, hour_covered_s, hour_exported_kwh) -> dict:
    """The hours of a row, as Day.hours has them: (hour, offset) -> (kwh, covered_ms, exported kWh).

    Fails where a start is not that of such an hour.
    """
    found, starts, exported = {}, list(hour_starts), list(hour_exported_kwh) or [0.0] * len(hours)
    for start_ms, *row in zip(starts, hours, hour_kwh, hour_covered_s, exported, strict=True):
        own = wall_hour(zone, start_ms // QUARTER_MS)
        assert start_ms % QUARTER_MS == 0 and own[0] == row[0] and own not in found
        assert wall_hour(zone, start_ms // QUARTER_MS - 1) != own, "it begins earlier"
        found[own] = row[1], round(row[2] * 1000), row[3]
    assert starts == sorted(starts)
    return found


@lru_cache(maxsize=100_000)
def midnight_ms(zone: ZoneInfo, day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)


def witnessed(bursts, max_jump_ms: float) -> tuple[list, list, list]:
    """(bursts that count, in the order in which they do; those that jump ahead and are refuted; those not decided when the topic ends).

    A burst jumps ahead when it starts more than max_jump_ms after the end of all that its house has sent. It waits for one that also does,
    and that starts after it, or no longer than that before it; or for one after which it jumps no more. Any other one with later time refutes
    it. One that repeats it is refused.
    """
    counting, refuted, aside, reach = [], [], {}, {}

    def count(burst):
        counting.append(burst)
        reach[burst.house_id] = max(burst.end_ms, reach.get(burst.house_id, burst.end_ms))

    def repeats(burst, first):
        return first.start_ms <= burst.start_ms and burst.end_ms <= first.end_ms and {*burst.meter_ids} <= {*first.meter_ids}

    for burst in bursts:
        house, before = burst.house_id, reach.get(burst.house_id, burst.start_ms)
        first, jumps = aside.get(house), burst.start_ms - before > max_jump_ms
        if not len(burst.meter_ids):
            counting.append(burst)
        elif jumps and first and repeats(burst, first):
            refuted.append(burst)
        elif jumps and first and first.start_ms - max_jump_ms <= burst.start_ms:
            count(aside.pop(house))
            if burst.start_ms - reach[house] > max_jump_ms:
                aside[house] = burst
            else:
                count(burst)
        elif jumps:
            refuted += [first] if first else []
            aside[house] = burst
        else:
            count(burst)
            if first and first.start_ms - reach[house] <= max_jump_ms:
                count(aside.pop(house))
            elif first and reach[house] > before:
                refuted.append(aside.pop(house))
    return counting, refuted, list(aside.values())


def judge(
    bursts,
    max_sample_period_ms: int,
    allowed_lateness_ms: int,
    rule: Rule | None = None,
    rules=(),
    houses=(),
    max_jump_ms: float = math.inf,
    max_connection_kw: float = 100,
) -> Outcome:
    """The outcome for bursts in the order in which they stand in the topic; thresholds and alerts only with a rule.

    rules: records of topic rules, in the order of the topic: what users have set. houses: those of topic houses, all there before the bursts.

    A burst covers its meters from its start to its end: readings of the same time in a later burst do not count.
    """
    outcome = Outcome(defaultdict(Day), {}, {}, Counter())
    bursts, outcome.refuted, outcome.aside = witnessed(bursts, max_jump_ms)
    kept: dict[tuple[int, int], list] = defaultdict(list)
    spans: dict[tuple[int, int, int], list] = defaultdict(list)
    registers: dict[tuple[int, int, int], Register] = {}  # (house, meter, quantity)
    periods: dict[tuple[int, int, int], int] = {}  # (house, meter, time in ms) -> how long the reading holds at most, in ms
    clock: dict[int, int] = {}
    visited: dict[int, set[date]] = defaultdict(set)  # dates of the versions that were in force after a burst
    zones = outcome.zones
    for burst in bursts:
        house, zone = burst.house_id, ZoneInfo(burst.timezone)
        zones[house], period_of = zone, periods_of(burst)
        before = clock.get(house)

        def closed(day):
            return before is not None and midnight_ms(zone, day + timedelta(days=1)) + allowed_lateness_ms <= before

        if before is not None:
            _close(registers, house, local_date(zone, before - allowed_lateness_ms) - ONE_DAY)
        for meter, quantity, day, span, readings, refused in parts_of(burst, zone):
            if closed(day):
                if readings or refused:
                    outcome.late[house, day] += len(readings) + len(refused)
                continue
            known = [(start, end) for start, end in spans[house, meter, quantity] if start < span[1] and span[0] < end]
            new = [r for r in readings if not any(start <= r[0] < end for start, end in known)]
            new_refused = [time_ms for time_ms in refused if not any(start <= time_ms < end for start, end in known)]
            spans[house, meter, quantity].append(span)
            if new and quantity:
                last_closed = date.min if before is None else local_date(zone, before - allowed_lateness_ms) - ONE_DAY
                own = registers.setdefault((house, meter, quantity), Register(zone, max_connection_kw, last_closed=last_closed))
                own.readings += new
                outcome.days[house, meter, day].readings += [time_ms for time_ms, _ in new]
                outcome.days[house, meter, day].times[quantity] += [time_ms for time_ms, _ in new]
            elif new:
                kept[house, meter].extend(new)
                periods |= {(house, meter, time_ms): period_of[meter] or max_sample_period_ms for time_ms, _ in new}
            if new_refused:
                outcome.days[house, meter, day].refused += len(new_refused)
            if again := len(readings) + len(refused) - len(new) - len(new_refused):
                outcome.days[house, meter, day].duplicates += again
        for time_ms in [reading[-2] for reading in (*readings_of(burst), *registers_of(burst))]:
            clock[house] = max(clock.get(house, time_ms), time_ms)
        if house in clock:
            visited[house].add(local_date(zone, clock[house] - allowed_lateness_ms))
    meters: dict[int, dict[int, list]] = defaultdict(dict)
    for (house, meter), readings in kept.items():
        readings.sort()
        meters[house][meter] = readings
        _integrate(outcome, house, meter, readings, zones[house], clock[house], periods)
        _profile(outcome, house, meter, readings, clock[house])
    if rule:
        kinds = {record["house_id"]: {meter["meter_id"]: meter["kind"] for meter in record["meters"]} for record in houses}
        for house, clock_ms in clock.items():
            watched, of_users = _watched(meters[house], zones[house], rule), HouseRules(rules, house, zones[house])
            of_house = meters[house], zones[house], visited[house]
            _set_thresholds(outcome, house, *of_house, allowed_lateness_ms, rule, watched, kinds.get(house, {}))
            for added_watts in [None, *([rule.percentile_watts] if rule.percentile_watts else [])]:
                _find_alerts(
                    outcome, house, meters[house], zones[house], clock_ms, periods, allowed_lateness_ms, rule.hold_ms, added_watts, of_users
                )
        if not rule.glitch_energy:
            _leave_out_glitches(outcome, rule.hold_ms, periods)
        outcome.alerts_at_end |= outcome.alerts
        for house, clock_ms in clock.items() if rule.durations else ():
            _find_spells(outcome, house, meters[house], zones[house], clock_ms, allowed_lateness_ms, rule, rules)
    for house, clock_ms in clock.items():
        _close(registers, house, local_date(zones[house], clock_ms - allowed_lateness_ms) - ONE_DAY)
    _decide(outcome, registers, clock)
    for key in outcome.days:
        _finish(outcome, key, zones[key[0]], clock.get(key[0], 0), allowed_lateness_ms)
    return outcome


def _close(registers, house, day):
    for (own, _, _), register in registers.items():
        if own == house:
            register.close(day)


def _decide(outcome, registers, clock):
    """Let each register decide the hours of which its meter's power covers no more; keep the figures of both.

    Any power decides the hour of the house's newest reading (clock).
    """
    of_days = defaultdict(lambda: {1: {}, 2: {}})
    for (house, meter, quantity), register in registers.items():
        for (day, start_ms), hour in register.hours().items():
            of_days[house, meter, day][quantity][start_ms] = hour
    for (house, meter, of_day), found in of_days.items():
        day, zone = outcome.days[house, meter, of_day], outcome.zones[house]
        running = wall_hour(zone, clock[house] // QUARTER_MS) if local_date(zone, clock[house]) == of_day else None
        powered = {own: hour.covered_ms for own, hour in day.hours.items() if hour.covered_ms}
        day.figures = {
            "power_kwh": day.kwh if powered else None,
            "power_exported_kwh": day.exported_kwh if powered else None,
            "register_kwh": sum(hour.mwh for hour in found[1].values()) / 1e6 if found[1] else None,
            "register_exported_kwh": sum(hour.mwh for hour in found[2].values()) / 1e6 if found[2] else None,
            "register_faults": sum(hour.faults for hours in found.values() for hour in hours.values()),
        }
        for quantity, name in ((1, "energy"), (2, "exported")):
            gives, covers = Counter(), Counter()
            for start_ms, hour in found[quantity].items():
                if start_ms != EARLIER or not powered:
                    own = wall_hour(zone, (midnight_ms(zone, of_day) if start_ms == EARLIER else start_ms) // QUARTER_MS)
                    gives[own] += hour.mwh
                    covers[own] += hour.covered_ms
            for own in gives:
                by_power = own == running and powered.get(own)
                if covers[own] >= powered.get(own, 0) and (covers[own] or gives[own]) and not by_power:
                    setattr(day.hours[own], name, 3600 * gives[own] * PER_WATT)
                    day.hours[own].covered_ms = max(day.hours[own].covered_ms, covers[own])
        day.energy = sum(hour.energy for hour in day.hours.values())
        day.exported = sum(hour.exported for hour in day.hours.values())
        day.covered_ms = sum(hour.covered_ms for hour in day.hours.values())


def _watched(meters, zone, rule, until=lambda minute: True) -> House | None:
    """The minutes of a house, as the rules of duration see them; of those that pass `until`, in minutes since 1970."""
    if not rule.durations:
        return None
    watts = {meter: defaultdict(list) for meter in meters}
    for meter, readings in meters.items():
        for time_ms, of_reading in readings:
            if until(time_ms // MINUTE_MS):
                watts[meter][time_ms // MINUTE_MS].append(of_reading)
    return House(watts, Calendar(lambda time_ms: local_date(zone, time_ms), lambda day: midnight_ms(zone, day)), rule.durations)


def _find_spells(outcome, house, meters, zone, clock_ms, allowed_lateness_ms, rule, rules):
    """Add the alerts of duration, as of the newest reading and as of the end of the topic.

    Until it ends, a minute counts once it is settled or its day is closed.
    """
    versions = sorted((version for (of_house, _), version in outcome.thresholds.items() if of_house == house), key=lambda v: v.valid_from)
    begins = [version.valid_from for version in versions]

    def judge_of(meter, minute):
        version = versions[bisect_right(begins, minute * MINUTE_MS) - 1]
        if meter == HOUSE:
            return None if version.longest_silence_minutes is None else {"gap": version.longest_silence_minutes}
        return version.meters[meter].usual if meter in version.meters else None

    def is_known(minute):
        end_ms = (minute + 1) * MINUTE_MS
        return end_ms + SETTLED_AFTER_MS <= clock_ms or end_ms <= midnight_ms(zone, local_date(zone, clock_ms - allowed_lateness_ms))

    judged = sorted({meter for version in versions for meter, threshold in version.meters.items() if threshold.usual})
    figures = house, judged, judge_of, clock_ms // MINUTE_MS, HouseRules(rules, house, zone)
    outcome.alerts |= _watched(meters, zone, rule, is_known).spells(*figures)
    outcome.alerts_at_end |= _watched(meters, zone, rule).spells(*figures)


def _integrate(outcome, house, meter, readings, zone, clock_ms, periods):
    for i, (time_ms, watts) in enumerate(readings):
        of_reading, next_ms = (
            outcome.days[house, meter, local_date(zone, time_ms)],
            readings[i + 1][0] if i + 1 < len(readings) else clock_ms,
        )
        of_reading.readings.append(time_ms)
        of_reading.times[0].append(time_ms)
        until_ms = min(next_ms, time_ms + periods[house, meter, time_ms])
        of_reading.gaps += until_ms < min(next_ms, midnight_ms(zone, local_date(zone, time_ms) + ONE_DAY))
        while time_ms < until_ms:
            day = local_date(zone, time_ms)
            stop_ms = min(until_ms, midnight_ms(zone, day + timedelta(days=1)))
            outcome.days[house, meter, day].hold(watts, stop_ms - time_ms)
            _add_to_hours(outcome.days[house, meter, day], zone, watts, time_ms, stop_ms)
            time_ms = stop_ms


def _leave_out_glitches(outcome, hold_ms, periods):
    """Take the glitches out of energy, but for those that a reading of the next day might have made shorter, or part of a longer alert."""
    for alert in outcome.alerts.values():
        zone, key = outcome.zones[alert.house_id], (alert.house_id, alert.meter_id, alert.date)
        if alert.kind != "glitch":
            continue
        day, midnight = outcome.days[key], midnight_ms(zone, alert.date + ONE_DAY)
        holds_until = alert.start + periods[alert.house_id, alert.meter_id, alert.start]
        is_last = alert.start == max(day.times[0])
        if max(alert.end, alert.start + hold_ms, holds_until if is_last else 0) <= midnight:
            day.hold(alert.peak_watts, alert.end - alert.start, -1)
            _add_to_hours(day, zone, alert.peak_watts, alert.start, alert.end, -1)
            day.hours = defaultdict(Hour, {own: hour for own, hour in day.hours.items() if hour.covered_ms})


def _add_to_hours(day, zone, watts, time_ms, stop_ms, sign=1):
    while time_ms < stop_ms:
        quarter = time_ms // QUARTER_MS
        until_ms = min(stop_ms, (quarter + 1) * QUARTER_MS)
        day.hours[wall_hour(zone, quarter)].hold(watts, until_ms - time_ms, sign)
        time_ms = until_ms


@lru_cache(maxsize=100_000)
def wall_hour(zone: ZoneInfo, quarter: int) -> tuple[int, timedelta]:
    """(hour that a local clock shows in a quarter of an hour since 1970, its offset to UTC): no two hours of a day have both in common."""
    local = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, UTC).astimezone(zone)
    return local.hour, local.utcoffset()


def _profile(outcome, house, meter, readings, clock_ms):
    for time_ms, watts in readings:
        start_ms = time_ms // MINUTE_MS * MINUTE_MS
        settled = start_ms + MINUTE_MS + SETTLED_AFTER_MS <= clock_ms
        outcome.minutes.setdefault((house, meter, start_ms), Minute(settled)).watts.append(watts)


def _finish(outcome, key, zone, clock_ms, allowed_lateness_ms):
    begin_ms, end_ms = midnight_ms(zone, key[2]), midnight_ms(zone, key[2] + timedelta(days=1))
    last_ms = max(begin_ms, min(end_ms, clock_ms))
    of_quantities = [[begin_ms, *sorted(times), last_ms] for times in (*outcome.days[key].times.values(), [])]
    outcome.max_gap_ms[key] = min(max(b - a for a, b in pairwise(times)) for times in of_quantities)
    outcome.final[key] = end_ms + allowed_lateness_ms <= clock_ms


def _set_thresholds(outcome, house, meters, zone, visited, allowed_lateness_ms, rule, watched, kinds):
    """The versions of a house, from the first date that was in force on, and an empty one before. kinds: meter -> kind, where it is known.

    A date has a version of its own when that is in force at some time of a day with readings, or was in force after a burst, or is in
    force at some time of a day that was open then. Others share the next one's.
    """
    watts_of = defaultdict(list)
    for meter, readings in meters.items():
        for time_ms, watts in readings:
            watts_of[meter, local_date(zone, time_ms)].append(watts)

    def starts(day):
        return midnight_ms(zone, day) + allowed_lateness_ms

    def in_force(time_ms):
        return local_date(zone, time_ms - allowed_lateness_ms)

    def silence_before(day):
        return watched.longest_silence(day, rule.limit_days) if watched else None

    own = set()
    for day in {day for _, day in watts_of}:
        own |= set(_dates(in_force(midnight_ms(zone, day)), in_force(midnight_ms(zone, day + ONE_DAY) - 1)))
    for day in visited:
        own |= set(_dates(in_force(midnight_ms(zone, day)), day))

    day, last = min(visited), max(visited)
    begun = starts(day)
    outcome.thresholds[house, day - ONE_DAY] = Version(0, begun, {}, silence_before(day - ONE_DAY))
    while day <= last:
        if day in own:
            of_meters = _of_window(outcome, house, meters, watts_of, day, rule, watched, kinds)
            outcome.thresholds[house, day] = Version(begun, starts(day + ONE_DAY), of_meters, silence_before(day))
            begun = starts(day + ONE_DAY)
        day += ONE_DAY


def _dates(first, last):
    return [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]


def _of_window(outcome, house, meters, watts_of, day, rule, watched, kinds):
    """meter -> Threshold, from the days before one."""
    history = [day - timedelta(days=back) for back in range(rule.limit_days, 0, -1)]
    found = {}
    for meter in meters:
        days = [watts_of.get((meter, d), []) for d in history]
        covered_ms = [outcome.days[house, meter, d].covered_ms if (house, meter, d) in outcome.days else 0 for d in history]
        source = kinds.get(meter) in SOURCES
        if has_power(days[-rule.window_days :]) or when_on(days, rule) or (source and any(days)):
            mains = kinds[meter] == "mains" if meter in kinds else always_on(days, rule)
            found[meter] = threshold(days, covered_ms, rule, mains)
            mains = mains and (meter in kinds or not found[meter].warming_up)
            if source:
                found[meter].limit_watts, found[meter].warming_up = None, False
            if watched:
                found[meter].usual = watched.usual(meter, day, rule.limit_days, mains, source, bool(SOURCES & {*kinds.values()}))
    return found


def has_power(days: list[list[float]]) -> bool:
    return any(watts > OFF_WATTS for day in days for watts in day)


def when_on(days: list[list[float]], rule: Rule) -> list[list[float]]:
    """The readings of a meter while on, of each day that has some."""
    return [on for day in days if (on := [w for w in day if w > OFF_WATTS and sketched(w) > rule.on_watts])]


def quantile_of(values: list[float], quantile: float) -> float:
    """The value of rank floor(quantile * (n - 1)), from 0, in rising order."""
    return sorted(values)[math.floor(quantile * (len(values) - 1))]


def threshold(days: list[list[float]], covered_ms: list[int], rule: Rule, mains: bool) -> Threshold:
    """The threshold of a meter from its readings and the time covered on each of the limit's days; the last of these are the window's."""
    watts = [w for day in days[-rule.window_days :] for w in day if w > OFF_WATTS]
    exact = quantile_of(watts, rule.quantile) if watts else 0.0
    covered_s = sum(covered_ms[-rule.window_days :]) / 1000
    limit_watts = limit_of(days, sum(covered_ms), rule, mains)
    return Threshold(sketched(exact) if watts else 0.0, exact, len(watts), covered_s, limit_watts, limit_watts is None)


def limit_of(days: list[list[float]], covered_ms: int, rule: Rule, mains: bool) -> float | None:
    """Power over which a reading is a spike; None while the meter is warming up.

    It is a margin over the meter's highest power on the day with the second-highest, or the highest of few days with use. More is added to
    the limit of mains. That of an appliance with few days with use, at most half of those with readings, is no lower than this addition.
    """
    on_days = when_on(days, rule)
    if covered_ms < rule.warm_up_ms or not on_days:
        return None
    peaks = sorted(sketched(sorted(on)[-2]) for on in on_days if len(on) > 1)
    if not peaks:
        return None
    peak = peaks[-1] if len(peaks) < rule.few_days else peaks[-2]
    if mains:
        return peak * (1 + rule.margin) + rule.mains_watts
    limit_watts = peak * (1 + rule.margin) + rule.min_watts
    seldom_on = len(peaks) < rule.few_days and 2 * len(peaks) <= len([day for day in days if day])
    return max(limit_watts, rule.mains_watts) if seldom_on else limit_watts


def always_on(days: list[list[float]], rule: Rule) -> bool:
    """Whether a meter is on in nearly all of its readings on at least half of the days, as mains are."""
    with_readings = [day for day in days if day]
    all_on = [day for day in with_readings if sum(map(len, when_on([day], rule))) >= rule.mains_share * len(day)]
    return len(all_on) >= len(with_readings) / 2


def float32_below(value: float) -> float:
    """The next number of 24 binary digits, as a float32 has, that is less than a positive value."""
    fraction, exponent = math.frexp(value)
    return math.ldexp(math.ceil(fraction * 2**24) - 1, exponent - 24)


def _bin_edges() -> list[float]:
    edges = [float32_below(1e-5)]
    while edges[-1] < 1e6:
        edges.append(float32_below(edges[-1] * (1.01 / 0.99)))
    return edges


BIN_EDGES = _bin_edges()


def sketched(watts: float) -> float:
    """What stands for a reading over 1e-5 W in a DDSketch of 1 %: its bin's lower edge, which is less than it, and 1 %."""
    index = min(bisect_left(BIN_EDGES, watts), len(BIN_EDGES) - 1) - 1
    return BIN_EDGES[index] * 1.01


def _find_alerts(outcome, house, meters, zone, clock_ms, periods, allowed_lateness_ms, hold_ms, added_watts, of_users):
    """added_watts: how far over a meter's percentile its limit is; None: the limit is the threshold's own. of_users: their rules."""
    kinds = ("level", "glitch") if added_watts is None else ("percentile",)
    for meter, readings in meters.items():
        alert = last = None  # the episode so far, and the index of its last reading
        for i, (time_ms, watts) in enumerate(readings):
            version = outcome.thresholds.get((house, local_date(zone, time_ms - allowed_lateness_ms)))
            found = version.meters.get(meter) if version else None
            if not found or found.limit_watts is None:
                continue
            limit_watts = found.limit_watts if added_watts is None else found.percentile_watts + added_watts
            if of_users.of_meter:
                limit_watts = of_users.at(meter, time_ms // MINUTE_MS).limit_watts(limit_watts, kinds)
            if not watts > limit_watts:
                continue
            since_ms = time_ms - readings[last][0] if alert else math.inf
            if not ((last == i - 1 and since_ms <= periods[house, meter, readings[last][0]]) or since_ms <= hold_ms):
                day = local_date(zone, time_ms)
                alert = Alert(house, meter, day, time_ms, found.percentile_watts, limit_watts, watts, hold_ms, added_watts)
                outcome.alerts[alert.alert_id] = alert
            last = i
            is_newest = i + 1 == len(readings)
            holds_until_ms = time_ms + periods[house, meter, time_ms]
            alert.end = min(clock_ms if is_newest else readings[i + 1][0], holds_until_ms)
            alert.open = (is_newest and clock_ms < holds_until_ms) or clock_ms < time_ms + hold_ms
            alert.readings += 1
            alert.peak_watts = max(alert.peak_watts, watts)
            alert.excess += (Fraction(watts) - Fraction(limit_watts)) * (alert.end - time_ms)
    for alert_id in [alert_id for alert_id, alert in outcome.alerts.items() if alert.house_id == house and not alert.stands]:
        del outcome.alerts[alert_id]
