"""Logs of readings for tests: bursts by hand, and bursts in any order that Hypothesis generates."""

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st

from jobs.core.house_days import Rules
from smartmeter.messages.codec import Burst
from tests.oracle import midnight_ms

HOUR_MS = 3_600_000
NEW_YORK = "America/New_York"
START_MS = midnight_ms(ZoneInfo(NEW_YORK), date(2011, 4, 18))

ZONES_AND_DAYS = [
    (NEW_YORK, date(2011, 3, 13)), (NEW_YORK, date(2011, 11, 6)), ("Europe/London", date(2013, 4, 13)),
    ("Australia/Lord_Howe", date(2013, 4, 7)), ("America/Sao_Paulo", date(2013, 10, 20)), ("Asia/Kathmandu", date(2013, 4, 7)),
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
    return Burst(house_id, timezone, start_ms, end_ms, 1, np.array(list(meters), np.int32), np.array(counts, np.int32),
                 np.array(deltas, np.int32), np.array(watts, np.float32))


POWERS = st.floats(0, 5000, width=32) | st.sampled_from([-0.4, float("nan"), float("inf"), 2.0**32, 1e9, -0.0])
"""Some of which are none."""


@st.composite
def logs(draw):
    """(bursts of one house in the order of the topic, rules): gaps, repeats, disorder, midnights, clock changes."""
    zone, day = draw(st.sampled_from(ZONES_AND_DAYS + HALF_HOURS))
    at = midnight_ms(ZoneInfo(zone), day) + draw(st.integers(-30, 30)) * HOUR_MS
    meters = draw(st.integers(1, 3))
    bursts = []
    for _ in range(draw(st.integers(1, 12))):
        length = draw(st.sampled_from([10_000, 60_000, 900_000, 2 * HOUR_MS, 30 * HOUR_MS]))
        times = st.lists(st.integers(0, length - 1), max_size=5, unique=True).map(sorted)
        of_meter = {m + 1: [(at + t, draw(POWERS)) for t in draw(times)] for m in range(meters)}
        if draw(st.integers(0, 4)):
            bursts.append(burst(at, at + length, of_meter, zone))
        at += length
    bursts = bursts or [burst(at, at + 1000, {1: [(at, 1.0)]}, zone)]
    bursts += draw(st.lists(st.sampled_from(bursts), max_size=3))
    order = draw(st.sampled_from(["as is", "any"]))
    if order == "any":
        bursts = draw(st.permutations(bursts))
    rules = Rules(draw(st.sampled_from([5_000, 1_000_000])), draw(st.sampled_from([0, HOUR_MS, 48 * HOUR_MS])))
    return bursts, rules
