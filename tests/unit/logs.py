"""Logs of readings for tests: bursts by hand, and bursts in any order that Hypothesis generates."""

import os
from collections import defaultdict
from dataclasses import replace
from datetime import date
from itertools import pairwise
from math import prod
from zoneinfo import ZoneInfo

import hypothesis
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from jobs.core.house_days import Rules
from smartmeter.messages.codec import Burst
from smartmeter.messages.records import HouseRecord, RuleRecord
from smartmeter.messages.rules import HOUSE, OF_DURATION, OF_LEVEL, fault_of, no_rule
from smartmeter.settings import Settings
from tests.oracle import midnight_ms

HOUR_MS = 3_600_000
NEW_YORK = "America/New_York"
START_MS = midnight_ms(ZoneInfo(NEW_YORK), date(2011, 4, 18))

ZONES_AND_DAYS = [
    (NEW_YORK, date(2011, 3, 13)),
    (NEW_YORK, date(2011, 11, 6)),
    ("Europe/London", date(2013, 4, 13)),
    ("Australia/Lord_Howe", date(2013, 4, 7)),
    ("America/Sao_Paulo", date(2013, 10, 20)),
    ("Asia/Kathmandu", date(2013, 4, 7)),
]
HALF_HOURS = [("Australia/Lord_Howe", date(2013, 10, 6)), ("Asia/Kolkata", date(2013, 4, 7))]


def burst(start_ms, end_ms, meters: dict, timezone=NEW_YORK, house_id=1):
    """A burst of {meter: [(time_ms, watts), ...]}."""
    deltas, watts = [], []
    for readings in meters.values():
        times = [start_ms, *(t for t, _ in readings)]
        deltas += np.diff(times).tolist()
        watts += [w for _, w in readings]
    counts = [len(readings) for readings in meters.values()]
    return Burst(
        house_id,
        timezone,
        start_ms,
        end_ms,
        1,
        np.array(list(meters), np.int32),
        np.array(counts, np.int32),
        np.array(deltas, np.int32),
        np.array(watts, np.float32),
    )


def with_registers(of_power: Burst, registers: dict) -> Burst:
    """A burst with registers: {(meter, quantity): [(time_ms, mWh), ...]}."""
    meters, quantities = zip(*registers) if registers else ((), ())
    deltas = [np.diff([of_power.start_ms, *(t for t, _ in readings)]) // of_power.tick_ms for readings in registers.values()]
    energies = [np.diff([0, *(mwh for _, mwh in readings)]) for readings in registers.values()]

    def joined(before, *columns, dtype=np.int32):
        return np.concatenate([before, *columns]).astype(dtype)

    return replace(
        of_power,
        meter_ids=joined(of_power.meter_ids, meters),
        counts=joined(of_power.counts, [len(readings) for readings in registers.values()]),
        deltas=joined(of_power.deltas, *deltas),
        quantities=joined(of_power.quantities if len(of_power.quantities) else np.zeros(len(of_power.meter_ids)), quantities),
        holds_s=joined(of_power.holds_s, np.zeros(len(meters) if len(of_power.holds_s) else 0)),
        energies=joined(of_power.energies, *energies, dtype=np.int64),
    )


POWERS = st.floats(-2000, 5000, width=32) | st.sampled_from([-0.4, float("nan"), float("inf"), -(2.0**32), 1e9, -1e9, -0.0])
"""Some of which are none."""

SOME_READINGS = {
    length_ms: st.lists(st.tuples(st.integers(0, length_ms - 1), POWERS), max_size=5, unique_by=lambda reading: reading[0]).map(sorted)
    for length_ms in (10_000, 60_000, 900_000, 2 * HOUR_MS, 30 * HOUR_MS)
}
"""Length of a burst -> readings of one of its meters, (ms since its start, watts)."""
HOLDS = st.sampled_from([(), (), (300, 7200), (1800,), (0, 90_000, 600)])
LONG_HOLDS = [(), (), (90_000, 21_600), (), (0, 90_000, 7200)]
"""How long readings hold at most, in s; where they are hours apart, longer."""
LENGTHS = st.sampled_from(list(SOME_READINGS))


def with_holds(bursts, holds_s):
    """The bursts, in which the meters have these holds by turns; none states them without any, and each fifth one has those of other meters."""
    return [
        replace(b, holds_s=np.array([holds_s[(m + n % 5 // 4) % len(holds_s)] for m in b.meter_ids.tolist() if holds_s], np.int32))
        for n, b in enumerate(bursts)
    ]


@st.composite
def logs(draw, most_bursts=12):
    """(bursts of one house in the order of the topic, rules): gaps, repeats, disorder, midnights, clock changes."""
    zone, day = draw(st.sampled_from(ZONES_AND_DAYS + HALF_HOURS))
    at = midnight_ms(ZoneInfo(zone), day) + draw(st.integers(-30, 30)) * HOUR_MS
    meters = draw(st.integers(1, 3))
    bursts = []
    for _ in range(draw(st.integers(1, most_bursts))):
        length = draw(LENGTHS)
        of_meter = {m + 1: [(at + t, watts) for t, watts in draw(SOME_READINGS[length])] for m in range(meters)}
        if draw(st.integers(0, 4)):
            bursts.append(burst(at, at + length, of_meter, zone))
        at += length
    bursts = bursts or [burst(at, at + 1000, {1: [(at, 1.0)]}, zone)]
    bursts = with_holds(bursts, draw(HOLDS))
    bursts += draw(st.lists(st.sampled_from(bursts), max_size=3))
    order = draw(st.sampled_from(["as is", "any"]))
    if order == "any":
        bursts = draw(st.permutations(bursts))
    rules = Rules(draw(st.sampled_from([5_000, 1_000_000])), draw(st.sampled_from([0, HOUR_MS, 48 * HOUR_MS])))
    return bursts, rules


GRID_MS = 900_000


LEVELS = {"appliance": [100, 105, 0, 110], "mains": [300, 350, 320, 400], "off": [0, 0, 1, 0], "net": [300, -350.5, 20, -0.4]}
"""Usual powers of a meter."""


@st.composite
def house_logs(draw, house_id, max_sample_period_ms, most_bursts=12):
    """Bursts of one house in the order of the topic: days of steady use with spikes, gaps, repeats, overlaps and disorder.

    Spikes grow from day to day, as those of the days before raise the limit.
    """
    zone, day = draw(st.sampled_from(ZONES_AND_DAYS))
    start = at = midnight_ms(ZoneInfo(zone), day) + draw(st.integers(-12, 12)) * HOUR_MS
    kinds = draw(st.lists(st.sampled_from(list(LEVELS)[:2] * 2 + ["off", "net"]), min_size=1, max_size=3))
    steady = list(range(0, 30 * HOUR_MS, min(max_sample_period_ms, 4 * HOUR_MS)))
    lengths = [
        30 * HOUR_MS,
        *draw(st.lists(st.sampled_from([30 * HOUR_MS, GRID_MS, 30 * HOUR_MS, 4 * GRID_MS, 6 * HOUR_MS]), min_size=4, max_size=most_bursts)),
    ]
    bursts, taken = [], defaultdict(list)  # what the meters took, sent or not
    for length in lengths:
        of_meter, share = {}, draw(st.sampled_from([1, 0.7, 1.5, 4]))
        for meter, kind in enumerate(kinds):
            if length == 30 * HOUR_MS and (not bursts or draw(st.integers(0, 5))):
                times = steady
            else:
                step = draw(st.sampled_from([60_000 if length < HOUR_MS else GRID_MS, length // 12, 1]))
                most = min(length // step - 1, 40)
                times = sorted(n * step for n in draw(st.lists(st.integers(0, most), min_size=1, max_size=6, unique=True)))
            powers = [share * watts for watts in LEVELS[kind]]
            watts = [powers[n % 4] for n in range(len(times))]
            if bursts:
                over = draw(st.sampled_from([0, 1000, 700.3, 3000])) * 2 ** ((at - start) // (24 * HOUR_MS))
                places = st.tuples(st.integers(0, len(times) - 1), st.integers(1, 8))
                for n, spikes in draw(st.lists(places, min_size=draw(st.integers(0, 1)), max_size=3)):
                    watts[n : n + spikes] = [w + over for w in watts[n : n + spikes]]
            of_meter[meter + 1] = [(at + t, w) for t, w in zip(times, watts)]
            taken[meter + 1] += of_meter[meter + 1]
        if draw(st.integers(0, 7)) < 7:
            inner = {at + n * (length // 6) for n in draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))} if bursts else ()
            for begin, end in pairwise([at, *sorted(inner), at + length]):
                within = {m: [r for r in readings if begin <= r[0] < end] for m, readings in of_meter.items()}
                bursts.append(burst(begin, end, within, zone, house_id))
        at += length
    bursts = bursts or [burst(at, at + 1000, {1: [(at, 1.0)]}, zone, house_id)]
    return draw(in_disorder(bursts, taken, start, at, zone))


@st.composite
def some_registers(draw, bursts):
    """The bursts of a house, with registers of some of their meters and of one that has nothing else: faults, and values by time alone."""
    start, step = bursts[0].start_ms // GRID_MS * GRID_MS, draw(st.sampled_from([4, 12, 3])) * GRID_MS
    channels = draw(st.lists(st.tuples(st.sampled_from([1, 9, 1, 2]), st.sampled_from([1, 2])), max_size=3, unique=True))
    if not channels:
        return bursts
    faults = draw(
        st.dictionaries(
            st.integers(0, 60), st.sampled_from([lambda mwh: 0, lambda mwh: mwh - 30_000_000, lambda mwh: -5, lambda mwh: mwh + 9 * 10**9])
        )
    )
    resets = draw(st.sets(st.integers(0, 60), max_size=2))

    def read(meter, quantity, time_ms):
        n = (time_ms - start) // step
        mwh = 40_000_000 + sum(n >= reset for reset in resets) * -30_000_000 + (time_ms - start) // 1000 * (meter + quantity)
        return time_ms, max(-5, faults[n % 61](mwh)) if n % 61 in faults and n % 3 == meter % 3 else mwh

    return [
        with_registers(
            each,
            {(meter, q): [read(meter, q, t) for t in range(-(-each.start_ms // step) * step, each.end_ms, step)] for meter, q in channels},
        )
        for each in bursts
    ]


@st.composite
def in_disorder(draw, bursts, taken, start, at, zone):
    """The bursts of a house with overlaps, repeats and disorder. taken: meter -> all its readings from start to at."""
    house_id = bursts[0].house_id
    for _ in range(draw(st.sampled_from([0, 0, 1, 4]))):  # cut otherwise: what was sent, and what was not
        begin = start + draw(st.integers(0, (at - start) // GRID_MS)) * GRID_MS + draw(st.sampled_from([0, 1, -60_000]))
        end = begin + draw(st.sampled_from([60_001, 5 * GRID_MS, 5 * HOUR_MS, 50 * HOUR_MS]))
        meters = draw(st.lists(st.sampled_from(list(taken)), min_size=1, unique=True))
        bursts.append(burst(begin, end, {m: [r for r in taken[m] if begin <= r[0] < end] for m in meters}, zone, house_id))
    bursts = with_holds(sorted(bursts, key=lambda b: b.start_ms), LONG_HOLDS[len(bursts) % len(LONG_HOLDS)])
    bursts += draw(st.lists(st.sampled_from(bursts), max_size=2))
    order = draw(st.sampled_from(["nearly", "as is", "nearly", "any"]))
    if order == "nearly":
        places = [n + draw(st.sampled_from([0, 2, 3, 4])) for n in range(len(bursts))]
        bursts = [bursts[n] for n in sorted(range(len(bursts)), key=lambda n: places[n])]
    if order == "any":
        bursts = draw(st.permutations(bursts))
    return draw(some_registers(bursts)) if draw(st.booleans()) else bursts


ROUTINES = {
    "mains": lambda minute: 100 + 3 * (minute // 5 % 4) + (400 if 360 <= minute % 1440 < 1320 else 0),
    "fridge": lambda minute: 90 if minute % 60 < 40 else 0,
    "washer": lambda minute: 1900 + minute % 7 if 600 <= minute % 1440 < 660 else 1,
}
"""Power of a meter in each minute of ordinary days."""

FAULTS = {
    "stuck": lambda watts, minute: max(watts, 85 + minute % 4),
    "odd": lambda watts, minute: 700 + minute % 3,
    "off": lambda watts, minute: minute % 2,
    "frozen": lambda watts, minute: 95,
    "more": lambda watts, minute: watts + 250,
    "much more": lambda watts, minute: watts + 3000,
    "silent": lambda watts, minute: None,
}
"""Power during a fault, in place of that of ordinary days."""

FAULTS_OF = {
    "mains": ["off", "more", "much more", "frozen", "more", "silent"],
    "fridge": ["off", "stuck", "odd", "off", "much more", "frozen", "silent"],
    "washer": ["stuck", "odd", "off", "frozen", "silent"],
}


@st.composite
def logs_with_faults(draw, house_id, setting):
    """Bursts of one house in the order of the topic: ordinary days, then faults that last for hours, with gaps, overlaps and disorder."""
    zone, day = draw(st.sampled_from(ZONES_AND_DAYS))
    start = midnight_ms(ZoneInfo(zone), day) + draw(st.integers(-40, 12)) * HOUR_MS
    kinds = draw(st.lists(st.sampled_from(["mains", "fridge", "mains", "fridge", "washer"]), min_size=1, max_size=3))
    ordinary = setting.rules.usual_days + round(setting.rules.allowed_lateness_s / 86_400)
    days = ordinary + draw(st.integers(2, 3))
    at_hour, hours_long = st.integers(24 * ordinary, 24 * days - 3), st.sampled_from([6, 3, 12, 30])
    faults = [
        (meter, draw(at_hour), draw(hours_long), draw(st.sampled_from(FAULTS_OF[kind])))
        for meter, kind in enumerate(kinds, 1)
        for _ in range(draw(st.integers(1, 3)))
    ]
    step, twice, offset_ms = draw(st.sampled_from([10, 15])), draw(st.booleans()), draw(st.sampled_from([0, 7000]))
    taken = {meter: [] for meter in range(1, len(kinds) + 1)}
    for meter, kind in enumerate(kinds, 1):
        for minute in range(0, days * 1440, step):
            watts = ROUTINES[kind](minute)
            for _, hour, hours, fault in [fault for fault in faults if fault[0] == meter]:
                if watts is not None and 0 <= minute - 60 * hour < 60 * hours:
                    watts = FAULTS[fault](watts, minute)
            if watts is not None:
                time_ms = start + 60_000 * minute + offset_ms
                taken[meter] += [(time_ms, watts), (time_ms + 30_000, watts * 1.25)][: 2 if twice and minute % 4 == 0 else 1]
    hours, bursts = 0, []
    while hours < 24 * days:
        length = min(draw(st.sampled_from([30, 6, 12, 2])), 24 * days - hours)
        begin, end = start + hours * HOUR_MS, start + (hours + length) * HOUR_MS
        if hours < 24 or draw(st.integers(0, 7)):
            within = {m: [r for r in readings if begin <= r[0] < end] for m, readings in taken.items()}
            bursts.append(burst(begin, end, within, zone, house_id))
        hours += length
    return draw(in_disorder(bursts, taken, start, start + hours * HOUR_MS, zone))


@st.composite
def house_logs_and_settings(draw, **rules):
    """(bursts of one to three houses in the order of the topic, settings)."""
    setting = Settings().but(
        **{
            "max_gap_s": draw(st.sampled_from([6 * 3600.0, 22 * 3600.0, 900.0])),
            "hold_s": draw(st.sampled_from([0.0, 60.0, 900.0])),
            "allowed_lateness_s": draw(st.sampled_from([30 * 3600.0, 3600.0, 30 * 3600.0, 0.0])),
            "window_days": (window_days := draw(st.integers(1, 3))),
            "limit_days": window_days + draw(st.sampled_from([4, 0, 1, 4])),
            "usual_days": draw(st.sampled_from([2, 2, 3])),
            "percentile_watts": draw(st.sampled_from([0.0, 200.0, 1000.0])),
            "max_jump_s": 0.0,
            "quantile": draw(st.sampled_from([0.5, 0.9])),
            "margin": 0.5,
            "min_watts": 20.0,
            "mains_watts": 500.0,
            **rules,
        }
    )
    with_faults = draw(st.booleans())
    bursts = draw(logs_with_faults(1, setting) if with_faults else house_logs(1, round(setting.rules.max_gap_s * 1000)))
    for house_id in draw(st.sampled_from([(), (3,), (), (2, 3)])):
        for other in draw(house_logs(house_id, round(setting.rules.max_gap_s * 1000), most_bursts=5)):
            bursts.insert(draw(st.integers(0, len(bursts))), other)
    return bursts, setting


RULE_MINUTES = st.sampled_from([10, 1, 15, 30, 40, 41, 60, 120, 240, 600])
"""Times of a rule: readings of these logs are mostly 10 min, 15 min or hours apart."""

RULE_CLOCKS = st.sampled_from([0, 120, 121, 600, 615, 660, 1080, 1320, 1439])
"""Times of the house's clock, in minutes; at some of them the routines change."""


@st.composite
def rules_of_a_log(draw, bursts) -> list[RuleRecord]:
    """Up to four rules, and some of them twice for the houses and meters of a log, in the order of the topic, that may change its alerts."""
    houses = sorted({b.house_id for b in bursts})
    rules = []
    for written in range(draw(st.sampled_from([2, 1, 3, 4, 0]))):
        house = draw(st.sampled_from(houses[:1] * 2 + houses))
        of_house = [b for b in bursts if b.house_id == house]
        begin, end = min(b.start_ms for b in of_house) // 60_000, max(b.end_ms for b in of_house) // 60_000
        meter = draw(st.sampled_from([*of_house[0].meter_ids.tolist() * 3, HOUSE, HOUSE, 9]))
        days = (end - begin) // 1440
        minute = draw(
            st.sampled_from([*[begin - 5000] * 3, begin, begin + 1440 * (days // 2), begin + 1440 * max(days - 1, 0), end + 5000])
            | st.integers(begin - 10, end + 10)
            | st.integers(0, (end - begin) // 60).map(lambda hours: begin + 60 * hours)
        )
        of_this_time = rule_records(house, meter, 60_000 * minute, written, powers_near(of_house, meter))
        rules += draw(st.lists(of_this_time, min_size=1, max_size=2 if draw(st.integers(0, 4)) == 0 else 1))
    assert [fault for rule in rules if (fault := fault_of(rule))] == []
    return rules


def description(house_id: int, **kinds: str) -> HouseRecord:
    """The description of a house with meters m1="mains" and so on."""
    meters = [{"meter_id": int(name[1:]), "label": name, "kind": kind, "parent": 0} for name, kind in kinds.items()]
    house = {"house_id": house_id, "timezone": "UTC", "source": "", "zip": "", "city": "", "state": "", "meters": meters, "updated": 0}
    return house | dict.fromkeys(("latitude", "longitude", "population"))


@st.composite
def descriptions_of_a_log(draw, bursts) -> list[HouseRecord]:
    """Descriptions of some houses of a log, in the order of the topic; of some of their meters, and of one that does not exist."""
    found = []
    for house_id in sorted({b.house_id for b in bursts}):
        meters = sorted({meter for b in bursts if b.house_id == house_id for meter in [*b.meter_ids.tolist(), 9]})
        for _ in range(draw(st.sampled_from([1, 0, 1, 2]))):
            kinds = {
                f"m{meter}": draw(st.sampled_from(["mains", "appliance", "mains", "ev", None, "solar", "battery"])) for meter in meters
            }
            found.append(description(house_id, **{name: kind for name, kind in kinds.items() if kind}))
    return found


def powers_near(bursts, meter: int):
    """Powers near those of a meter, in W: of a rule, so over 0 and finite."""
    own = [w for b in bursts for m, w in meters_and_watts(b) if m == meter and 1 <= w <= 1e8]
    return st.tuples(st.sampled_from(sorted({*own[:: len(own) // 50 + 1], 30.0})), st.sampled_from([1.0, 0.99, 0.5, 1.05, 2.0])).map(prod)


def meters_and_watts(burst):
    """(meter, watts) of each reading of power of a burst."""
    of_power = burst.quantities == 0 if len(burst.quantities) else np.ones(len(burst.meter_ids), bool)
    return zip(np.repeat(burst.meter_ids[of_power], burst.counts[of_power]).tolist(), burst.watts.tolist(), strict=True)


@st.composite
def rule_records(draw, house_id, meter_id, valid_from, written, powers) -> RuleRecord:
    """A record of topic rules for a house or one of its meters."""
    rule = no_rule(house_id, meter_id, valid_from, written)
    rule["withdrawn"] = draw(st.integers(0, 7)) == 7
    rule["sensitivity"] = draw(st.sampled_from(["low", "high", "normal", "high"]))
    if draw(st.integers(0, 3)) == 0:
        rule["muted_until"] = valid_from + draw(
            st.sampled_from([200 * HOUR_MS, 1, 60_000, 90_001, 6 * HOUR_MS, 30 * HOUR_MS, 2000 * HOUR_MS])
        )
    if meter_id == HOUSE:
        return rule
    if draw(st.sampled_from([True, False, True])):
        rule["limit_watts"], rule["limit_minutes"] = draw(powers), draw(RULE_MINUTES | st.just(0))
    if draw(st.sampled_from([True, False, True])):
        rule["longest_on_minutes"] = draw(RULE_MINUTES)
    if draw(st.sampled_from([True, False, True])):
        rule["longest_off_minutes"] = draw(RULE_MINUTES)
    if draw(st.sampled_from([True, False, True])):
        rule["off_from"], rule["off_to"] = draw(RULE_CLOCKS), draw(RULE_CLOCKS)
    kinds = draw(st.lists(st.sampled_from(OF_LEVEL + OF_DURATION), max_size=4))
    rule["normal"] = [{"kind": kind, "minutes": draw(RULE_MINUTES | st.just(0)), "watts": draw(powers | st.just(0.0))} for kind in kinds]
    return rule


cuts = st.lists(st.sampled_from([1, 2, 1, 3, 8]), min_size=1, max_size=8)


examples = settings(max_examples=int(os.environ.get("EXAMPLES", "20")), deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
"""A case drives whole jobs, in 0.1 to 0.5 s. A run of all tests has many more of them (EXAMPLES in ./smw)."""
