"""What the rules of duration must find, worked out minute by minute in plain Python.

It shares nothing with the jobs. It keeps every reading of a house, looks at each minute with readings, and finds how long each condition has
held. What is usual follows from the figures of each local day, and alerts from the minutes that break a rule.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property, lru_cache
from statistics import median
from typing import NamedTuple

from tests.rules_oracle import HouseRules

MINUTE_MS = 60_000
HOUSE = 0
LEVEL_WATTS = [30 * 2**level for level in range(11)]
EDGES = [30.0 * 2 ** (step / 16) for step in range(-80, 174)]
"""Upper ends of the steps of power, in W."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of the rules. Times in minutes, powers in W."""

    usual_days: int
    least_used: int
    few_used: int
    standby_share: float
    standby_days: int
    standby_factor: float
    standby_added_watts: float
    dead_factor: float
    hour_added_watts: float
    rare_from_watts: float
    rare_minutes: float
    run_factor: float
    run_added: int
    band: int
    off_factor: float
    off_added: int
    off_most: int  # an appliance that pauses for so long may stay off
    over_hour: int
    held_minutes: int
    hours_beside: int
    standby: int
    dead: int
    same_factor: float
    same_added: int
    silence_factor: float
    silence_added: int
    merged: int
    steady_steps: int
    on_watts: float
    most_missing: int


def step_of(watts: float) -> int:
    """The number of a power's step, from 1: one more than the edges that it is over."""
    return 1 + bisect_left(EDGES, watts)


def end_of(step: int) -> float:
    """The upper end of a step, in W. The last step has none; the end of the one before stands for it."""
    return EDGES[min(step, len(EDGES)) - 1] if step else 0.0


def digest(watts: float) -> int:
    """A number from 1 to 254 that stands for a power: by it, minutes with one and the same power are known."""
    [bits] = struct.unpack("<I", struct.pack("<f", watts))
    return min(1 + (bits * 2654435761 >> 16) % 255, 254)


class Minute(NamedTuple):
    """A meter's minute with readings: lowest and highest power in W, and their digest if they are equal, else 0."""

    low: float
    high: float
    same: int

    @classmethod
    def of(cls, watts: list[float]) -> Minute:
        low, high = min(watts), max(watts)
        return cls(low, high, digest(low) if low == high else 0)

    @property
    def step(self) -> int:
        return step_of(self.low)


class Meter:
    """The minutes of a meter, and those of its house."""

    def __init__(self, minutes: dict[int, Minute], of_house: list[int], numbers: Numbers):
        self.minutes, self.of_house, self.numbers = minutes, of_house, numbers
        self.numbered = sorted(minutes)
        self.before = dict(zip(self.numbered[1:], self.numbered))

    def together(self, minute: int) -> bool:
        """Whether a minute goes on from the meter's one before."""
        return minute in self.before and minute - self.before[minute] - 1 <= self.numbers.most_missing

    def steady(self, minute: int) -> bool:
        """Whether it goes on at about the same power."""
        if not self.together(minute):
            return False
        return abs(self.minutes[self.before[minute]].step - self.minutes[minute].step) <= self.numbers.steady_steps

    def begins(self, holds: Callable[[int], bool], goes_on: Callable[[int], bool]) -> dict[int, int]:
        """Minute in which a condition holds -> the first minute of its run."""
        found: dict[int, int] = {}
        for minute in self.numbered:
            if holds(minute):
                goes_back = goes_on(minute) and self.before[minute] in found
                found[minute] = found[self.before[minute]] if goes_back else minute
        return found

    @cached_property
    def over(self) -> list[dict[int, int]]:
        """Of each level, the runs over it."""
        return [self.begins(lambda minute, watts=watts: self.minutes[minute].low > watts, self.together) for watts in LEVEL_WATTS]

    @cached_property
    def off(self) -> dict[int, int]:
        """The pauses: runs in the step of on_watts, or lower."""
        most = step_of(self.numbers.on_watts)
        return self.begins(lambda minute: step_of(self.minutes[minute].high) <= most, self.together)

    @cached_property
    def equal(self) -> dict[int, int]:
        """The runs at one power, while on."""
        most = step_of(self.numbers.on_watts)
        return self.begins(
            lambda minute: self.minutes[minute].same > 0 and self.minutes[minute].step > most,
            lambda minute: self.together(minute) and self.minutes[self.before[minute]].same == self.minutes[minute].same,
        )

    def silence(self, minute: int) -> int:
        """In how many minutes the house had readings and the meter none, since the meter's last one before a minute."""
        last = self.numbered[bisect_left(self.numbered, minute) - 1]
        return bisect_left(self.of_house, minute) - bisect_right(self.of_house, last)


@dataclass
class Shape:
    """What a meter did on a local day. Times in minutes."""

    lows: list[float] = field(default_factory=list)
    steady: Counter = field(default_factory=Counter)  # step -> minutes
    over: list[int] = field(default_factory=lambda: [0] * len(LEVEL_WATTS))
    off: int = 0
    equal: int = 0
    gap: int = 0
    hours: dict[int, int] = field(default_factory=dict)  # hour since midnight -> highest step of the rest that held_minutes on end held


@dataclass
class Spell:
    """An alert of duration. Minutes since 1970; steps of power."""

    house_id: int
    meter_id: int
    kind: str
    first: int
    last: int
    since: int
    limit: int
    usual: int
    peak: int
    date: date
    own_watts: float | None = None  # of kind limit: that of the user's rule
    open: bool = False

    readings, percentile_watts, excess_kwh = 0, 0.0, 0.0

    @property
    def alert_id(self) -> str:
        return f"{self.house_id}/{self.meter_id}/{self.start}/{self.kind}"

    @property
    def start(self) -> int:
        return self.first * MINUTE_MS

    @property
    def end(self) -> int:
        return (self.last + 1) * MINUTE_MS

    @property
    def peak_watts(self) -> float:
        return end_of(self.peak)

    @property
    def limit_watts(self) -> float:
        return end_of(self.limit) if self.own_watts is None else self.own_watts

    @property
    def severity(self) -> str:
        return {"standby": "info", "dead": "critical"}.get(self.kind, "warning")

    @property
    def reason(self) -> str:
        watts, lasted, usually = f"{self.limit_watts:,.0f} W", in_words(self.last + 1 - self.since), in_words(self.usual)
        return {
            "run": f"over {watts} for {lasted}; it is seldom over it for longer than {usually}",
            "band": f"at a power that it seldom draws, for {lasted}",
            "off": f"off for {lasted}; it is seldom off for longer than {usually}",
            "hour": f"over {watts} beside its other meters for {lasted}: not at this hour",
            "standby": f"over {watts} for {lasted}, without falling to its standby",
            "dead": f"under {watts} for {lasted}: the house always draws more",
            "frozen": f"the same reading for {lasted}; that seldom lasts longer than {usually}",
            "silent": f"no reading for {lasted}; it is seldom silent for longer than {usually}",
            "limit": f"over {watts} for {lasted}; its rule allows {usually}",
            "overrun": f"on for {lasted} without a pause; its rule allows {usually}",
            "idle": f"off for {lasted}; its rule allows {usually}",
            "schedule": f"on at a time when its rule has it off, for {lasted}",
        }[self.kind]

    @property
    def ends_when(self) -> str:
        watts = f"{self.limit_watts:,.0f} W"
        return {
            "run": f"it pauses, at {watts} or less",
            "band": "it draws a power that is usual, or pauses",
            "off": f"it draws more than {watts}",
            "hour": f"what no other meter measures falls to {watts} or less",
            "standby": f"it falls to {watts} or less",
            "dead": f"it draws more than {watts}",
            "frozen": "a reading differs",
            "silent": "it sends a reading",
            "limit": f"it falls to {watts} or less",
            "overrun": f"it pauses, at {watts} or less",
            "idle": f"it draws more than {watts}",
            "schedule": f"it falls to {watts} or less, or that time is over",
        }[self.kind]


def in_words(minutes: int) -> str:
    """A time in hours and minutes."""
    of = {"h": minutes // 60, "min": minutes % 60}
    return " ".join(f"{number} {unit}" for unit, number in of.items() if number) or "0 s"


class House:
    """A house's minutes, and how the rules see them. watts: meter -> minute -> readings in W."""

    def __init__(self, watts: dict[int, dict[int, list[float]]], calendar: Calendar, numbers: Numbers):
        self.numbers, self.calendar = numbers, calendar
        of_house = sorted({minute for minutes in watts.values() for minute in minutes})
        made = {meter: {minute: Minute.of(readings) for minute, readings in minutes.items()} for meter, minutes in watts.items()}
        self.meters = {meter: Meter(minutes, of_house, numbers) for meter, minutes in made.items()}
        self.of_house = of_house

    @cached_property
    def taken(self) -> dict[int, float]:
        """Minute -> the highest powers of all meters in it, added up, in W."""
        found: dict[int, float] = defaultdict(float)
        for _, meter in sorted(self.meters.items()):
            for number, minute in meter.minutes.items():
                found[number] += end_of(step_of(minute.high))
        return found

    @cached_property
    def incomplete(self) -> set[int]:
        """The minutes in which a meter has no reading that had one in the day before."""
        found: set[int] = set()
        for meter in self.meters.values():
            for last, following in zip(meter.numbered, [*meter.numbered[1:], math.inf]):
                begin, end = bisect_right(self.of_house, last), bisect_left(self.of_house, min(following, last + 1440))
                found.update(self.of_house[begin:end])
        return found

    def rest_of(self, number: int, minute: int) -> int:
        """The step of what is left of a meter's lowest power after the highest of all others; 0 in an incomplete minute."""
        if minute in self.incomplete:
            return 0
        own = self.meters[number].minutes[minute]
        others = self.taken[minute] - end_of(step_of(own.high))
        return max(1, step_of(end_of(step_of(own.low)) - others))

    @cached_property
    def shapes(self) -> dict[int, dict[date, Shape]]:
        """meter -> day -> Shape, of days with readings."""
        return {number: self._shapes_of(number, meter) for number, meter in self.meters.items()}

    def _shapes_of(self, number: int, meter: Meter) -> dict[date, Shape]:
        shapes: dict[date, Shape] = defaultdict(Shape)
        rest = {minute: self.rest_of(number, minute) for minute in meter.numbered}
        for minute in meter.numbered:
            day, hour = self.calendar.day_and_hour(minute)
            shape, step = shapes[day], meter.minutes[minute].step
            shape.lows.append(meter.minutes[minute].low)
            shape.steady[step] += meter.steady(minute)
            together = self._minutes_together(meter, minute)
            if len(together) == self.numbers.held_minutes:
                shape.hours[hour] = max(shape.hours.get(hour, 0), min(rest[each] for each in together))
            if minute in meter.before:
                shape.gap = max(shape.gap, meter.silence(minute))
            shape.over = [max(most, _lasted(runs, minute)) for most, runs in zip(shape.over, meter.over)]
            shape.off, shape.equal = max(shape.off, _lasted(meter.off, minute)), max(shape.equal, _lasted(meter.equal, minute))
        return shapes

    def _minutes_together(self, meter: Meter, minute: int) -> list[int]:
        """A minute and those before it that it goes on from, held_minutes at most."""
        found = [minute]
        while len(found) < self.numbers.held_minutes and meter.together(found[-1]):
            found.append(meter.before[found[-1]])
        return found

    @cached_property
    def silences(self) -> dict[date, int]:
        """Day with readings -> the longest time in minutes without a reading of any meter that ended on it."""
        found: dict[date, int] = {}
        for before, minute in zip([None, *self.of_house], self.of_house):
            day, _ = self.calendar.day_and_hour(minute)
            found[day] = max(found.get(day, 0), 0 if before is None else minute - before - 1)
        return found

    def longest_silence(self, day: date, days: int) -> int | None:
        """How long the house is usually silent, from the days before one."""
        known = [self.silences[d] for d in _days_before(day, days) if d in self.silences]
        return sorted(known)[-2] if len(known) >= self.numbers.usual_days else None

    def usual(self, meter: int, day: date, days: int, mains: bool, source: bool, beside_sources: bool) -> dict | None:
        """What is usual for a meter, from the days before one. beside_sources: whether the house has solar or a battery."""
        shapes = [self.shapes[meter][d] for d in _days_before(day, days) if d in self.shapes[meter]]
        if source:
            return usual_of_source(shapes, self.numbers)
        usual = usual_of(shapes, mains, self.numbers)
        return usual | {"standby_watts": None, "dead_watts": None} if usual and beside_sources else usual

    def spells(
        self, house_id: int, judged: Iterable[int], judge_of: Callable[[int, int], dict | None], clock_minute: int, rules: HouseRules
    ) -> dict[str, Spell]:
        """alert_id -> Spell. judge_of(meter, minute): what is usual for a meter in a minute; for HOUSE, {"gap": its silence}.

        judged: the meters for which anything is usual at any time.
        """
        found: dict[str, Spell] = {}
        conspicuous = [(HOUSE, self._house_silent(judge_of, rules))]
        conspicuous += [(meter, _conspicuous(meter, self, judge_of, rules)) for meter in judged]
        conspicuous += [(meter, _against_own_rules(meter, self, rules)) for meter in rules.of_meter if meter in self.meters]
        for meter, of_kind in conspicuous:
            for kind, minutes in of_kind.items():
                for spell in self._merged(house_id, meter, kind, minutes):
                    spell.open = clock_minute - spell.last <= self.numbers.merged
                    found[spell.alert_id] = spell
        return found

    def _merged(self, house_id: int, meter: int, kind: str, minutes: list[Conspicuous]) -> list[Spell]:
        spells: list[Spell] = []
        for first, last, since, limit, usual, peak, own_watts in minutes:
            if spells and first - spells[-1].last <= self.numbers.merged:
                spells[-1].last, spells[-1].peak = last, max(spells[-1].peak, peak)
            else:
                day, _ = self.calendar.day_and_hour(first)
                spells.append(Spell(house_id, meter, kind, first, last, since, limit, usual, peak, day, own_watts))
        return spells

    def _house_silent(self, judge_of, rules: HouseRules) -> dict[str, list[Conspicuous]]:
        found = []
        for before, minute in zip(self.of_house, self.of_house[1:]):
            usual = judge_of(HOUSE, minute)
            if usual is None:
                continue
            allowed = rules.at(HOUSE, minute).allowed(self.numbers.silence_factor * usual["gap"] + self.numbers.silence_added, "silent")
            first = max(before + 1 + allowed, rules.muted_until(HOUSE, minute))
            if first < minute:
                found.append(Conspicuous(first, minute - 1, before + 1, 0, usual["gap"], 0))
        return {"silent": found}


class Calendar(NamedTuple):
    """The local days of a house."""

    local_date: Callable[[int], date]  # of a time in ms
    midnight_ms: Callable[[date], int]

    def day_and_hour(self, minute: int) -> tuple[date, int]:
        """(local day, hours since its midnight: 23 in the last hour of a day of 25) of a minute."""
        day = self.local_date(minute * MINUTE_MS)
        return day, min((minute * MINUTE_MS - self.midnight_ms(day)) // 3_600_000, 23)


class Conspicuous(NamedTuple):
    """Minutes that break a rule, from first to last; since when its condition holds, and its figures."""

    first: int
    last: int
    since: int
    limit: int
    usual: int
    peak: int
    own_watts: float | None = None


def _days_before(day: date, days: int) -> list[date]:
    return [day - timedelta(days=back) for back in range(days, 0, -1)]


def _lasted(begun: dict[int, int], minute: int) -> int:
    return minute - begun[minute] + 1 if minute in begun else 0


def usual_of(shapes: list[Shape], mains: bool, numbers: Numbers) -> dict | None:
    """What is usual for a meter, as in a record of topic thresholds, from its days in order; None with too few."""
    used = sum(shape.over[0] > 0 for shape in shapes)
    if len(shapes) < numbers.usual_days or used < min(numbers.least_used, numbers.usual_days):
        return None
    few = used < numbers.few_used
    nth = 1 if few else 2
    has_rare = not (mains or few or draws_new_powers(shapes, numbers))
    standby = [end_of(step_of(_low(shape.lows, numbers.standby_share))) for shape in shapes][-numbers.standby_days :]
    return {
        "mains": mains,
        "longest_run_minutes": [sorted(of_level)[-nth] for of_level in zip(*(shape.over for shape in shapes))],
        "longest_off_minutes": max(shape.off for shape in shapes),
        "longest_same_minutes": sorted(shape.equal for shape in shapes)[-nth],
        "longest_gap_minutes": sorted(shape.gap for shape in shapes)[-2],
        "hour_watts": [_hour_watts(shapes, hour, numbers) for hour in range(24)] if mains else [],
        "standby_watts": numbers.standby_factor * median(standby) + numbers.standby_added_watts if mains else None,
        "dead_watts": numbers.dead_factor * min(standby) if mains else None,
        "rare_watts": _ends_of(rare_steps(shapes, numbers)) if has_rare else [],
    }


def usual_of_source(shapes: list[Shape], numbers: Numbers) -> dict | None:
    """That of solar or of a battery, which may be on and off for 45 days or more."""
    if len(shapes) < numbers.usual_days:
        return None
    return {
        "mains": False,
        "longest_run_minutes": [65_535] * len(LEVEL_WATTS),
        "longest_off_minutes": 65_535,
        "longest_same_minutes": sorted(shape.equal for shape in shapes)[-1 if len(shapes) < numbers.few_used else -2],
        "longest_gap_minutes": sorted(shape.gap for shape in shapes)[-2],
        "hour_watts": [],
        "standby_watts": None,
        "dead_watts": None,
        "rare_watts": [],
    }


def _low(lows: list[float], share: float) -> float:
    return sorted(lows)[math.floor(share * (len(lows) - 1))]


def _hour_watts(shapes: list[Shape], hour: int, numbers: Numbers) -> float:
    beside = [(hour + away) % 24 for away in range(-numbers.hours_beside, numbers.hours_beside + 1)]
    return end_of(max(shape.hours.get(h, 0) for shape in shapes for h in beside)) + numbers.hour_added_watts


def rare_steps(shapes: list[Shape], numbers: Numbers) -> list[int]:
    """The steps of power over rare_from_watts at which, with those beside them, a meter was steady for less than rare_minutes in all."""
    spent = {step: sum(min(shape.steady[step], 255) for shape in shapes) for step in range(257)}
    steps = range(step_of(numbers.rare_from_watts) + 1, 255)
    return [step for step in steps if spent[step - 1] + spent[step] + spent[step + 1] < numbers.rare_minutes]


def draws_new_powers(shapes: list[Shape], numbers: Numbers) -> bool:
    """Whether a meter spent more than `band` minutes of two days or more at steps that are rare by its other days."""
    days = 0
    for shape in shapes:
        rare = rare_steps([other for other in shapes if other is not shape], numbers)
        days += sum(min(shape.steady[step], 255) for step in rare) > numbers.band
    return days >= 2


def _ends_of(steps: list[int]) -> list[float]:
    """The ends of each stretch of steps, in W: lower, upper, lower, upper, rising."""
    within = set(steps)
    return [end_of(step) for step in range(255) if (step in within) != (step + 1 in within)]


def _conspicuous(number: int, house: House, judge_of: Callable[[int, int], dict | None], rules: HouseRules) -> dict[str, list[Conspicuous]]:
    """Kind -> the minutes of a meter that break a rule which depends on what is usual."""
    meter, numbers = house.meters[number], house.numbers
    judged = {minute: usual for minute in house.of_house if (usual := judge_of(number, minute))}
    off_step = step_of(numbers.on_watts)

    def hour_limit(minute: int) -> float:
        _, hour = house.calendar.day_and_hour(minute)
        return judged[minute]["hour_watts"][hour] if judged[minute]["mains"] else math.inf

    def beside(holds: Callable[[int], bool], goes_on: Callable[[int], bool] = meter.together) -> dict[int, int]:
        """The runs of a condition that looks at what is usual."""
        return meter.begins(lambda minute: minute in judged and holds(minute), goes_on)

    def at_rare(minute: int) -> bool:
        at = meter.minutes[minute]
        return {at.step, step_of(at.high)} <= _rare(tuple(judged[minute]["rare_watts"]))

    def over(minute: int, watts: float | None) -> bool:
        return watts is not None and meter.minutes[minute].step > step_of(watts)

    rare = beside(at_rare)
    over_hour = beside(lambda minute: judged[minute]["mains"] and house.rest_of(number, minute) > step_of(hour_limit(minute)))
    over_standby = beside(lambda minute: over(minute, judged[minute]["standby_watts"]))
    under_dead = beside(
        lambda minute: (
            judged[minute]["dead_watts"] is not None
            and step_of(meter.minutes[minute].high) < step_of(judged[minute]["dead_watts"])
            and not meter.minutes[minute].high < 0  # it feeds in
        )
    )
    found = defaultdict(list)

    def too_long(kind: str, minute: int, runs: dict[int, int], allowed: float) -> bool:
        if not rules.of_meter:
            return _lasted(runs, minute) > allowed
        return minute in runs and _lasted(runs, minute) > rules.at(number, minute).allowed(allowed, kind)

    def broken(kind: str, minute: int, runs: dict[int, int], allowed: float, limit: int, usual: int = -1) -> None:
        if too_long(kind, minute, runs, allowed):
            peak = step_of(meter.minutes[minute].high)
            found[kind].append(Conspicuous(minute, minute, runs[minute], limit, usual, peak))

    for minute in sorted(judged.keys() & meter.minutes.keys()):
        usual, most = judged[minute], judged[minute]["longest_same_minutes"]
        if not found["run"] or minute - found["run"][-1].last > numbers.merged:
            broken("frozen", minute, meter.equal, numbers.same_factor * most + numbers.same_added, 0, most)
        is_frozen = bool(found["frozen"]) and found["frozen"][-1].first == minute
        if not usual["mains"]:
            levels = zip(LEVEL_WATTS, meter.over, usual["longest_run_minutes"])
            allowed = [(watts, runs, most, numbers.run_factor * most + numbers.run_added) for watts, runs, most in levels]
            of_level = [level for level in allowed if too_long("run", minute, level[1], level[3])]
            if of_level and not is_frozen:
                watts, runs, longest, minutes = of_level[-1]
                broken("run", minute, runs, minutes, step_of(watts), longest)
            if (pause := usual["longest_off_minutes"]) < numbers.off_most:
                broken("off", minute, meter.off, numbers.off_factor * pause + numbers.off_added, off_step, pause)
        broken("band", minute, rare, numbers.band, 0)
        if usual["mains"]:
            broken("hour", minute, over_hour, numbers.over_hour, step_of(hour_limit(minute)))
        if usual["standby_watts"] is not None:
            broken("standby", minute, over_standby, numbers.standby, step_of(usual["standby_watts"]))
            broken("dead", minute, under_dead, numbers.dead, step_of(usual["dead_watts"]))
    found["silent"] = _silent(number, meter, judged, numbers, rules)
    return found


@lru_cache
def _rare(rare_watts: tuple[float, ...]) -> set[int]:
    """The steps of power that an appliance seldom draws, from the ends of their stretches."""
    ends = [step_of(watts) for watts in rare_watts]
    return {step for low, high in zip(ends[::2], ends[1::2]) for step in range(low + 1, high + 1)}


def _silent(number: int, meter: Meter, judged: dict[int, dict], numbers: Numbers, rules: HouseRules) -> list[Conspicuous]:
    """The minutes in which the house has readings, and the meter none for too long."""
    found = []
    for minute in sorted(judged.keys() - meter.minutes.keys()):
        if not meter.numbered or minute < meter.numbered[0]:
            continue
        gap = judged[minute]["longest_gap_minutes"]
        silence = meter.silence(minute) + 1
        if silence > rules.at(number, minute).allowed(numbers.silence_factor * gap + numbers.silence_added, "silent"):
            since = meter.numbered[bisect_left(meter.numbered, minute) - 1] + 1
            found.append(Conspicuous(minute, minute, since, 0, gap, 0))
    return found


def _against_own_rules(number: int, house: House, rules: HouseRules) -> dict[str, list[Conspicuous]]:
    """Kind -> the minutes of a meter that break what a user has set for it."""
    if number == HOUSE:
        return {}
    meter, off_step, on_step = house.meters[number], step_of(house.numbers.on_watts), step_of(LEVEL_WATTS[0])
    found = defaultdict(list)
    in_force = {minute: rules.at(number, minute) for minute in meter.numbered}

    def over_limit(minute: int) -> bool:
        own = in_force[minute].own
        return bool(own) and own["limit_watts"] is not None and meter.minutes[minute].step > step_of(own["limit_watts"])

    runs_over_limit = meter.begins(over_limit, meter.together)
    for minute, rule in in_force.items():
        if rule.own is None or rule.muted:
            continue
        own, at = rule.own, meter.minutes[minute]
        for kind, runs, allowed, limit, own_watts in (
            ("limit", runs_over_limit, own["limit_minutes"], step_of(own["limit_watts"] or 0), own["limit_watts"]),
            ("overrun", meter.over[0], own["longest_on_minutes"], on_step, None),
            ("idle", meter.off, own["longest_off_minutes"], off_step, None),
        ):
            if allowed is not None and _lasted(runs, minute) > allowed:
                found[kind].append(Conspicuous(minute, minute, runs[minute], limit, allowed, step_of(at.high), own_watts))
        if at.step > off_step and rules.must_be_off(own, minute):
            found["schedule"].append(Conspicuous(minute, minute, minute, off_step, -1, step_of(at.high)))
    return found
