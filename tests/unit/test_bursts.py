"""Bursts: each reading once, in order."""

from datetime import date
from typing import ClassVar

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from generator.bursts import bursts, bursts_of_day, in_order
from generator.datasets import measured_houses
from generator.houses import HouseDay, Meter
from generator.synthetic import synthetic_houses
from tests.unit.channel_files import NOON, house


def test_a_reading_of_no_possible_power_stays_alone(tmp_path):
    """The loader refuses nothing that the job can judge, and the job refuses it alone: all others reach a burst."""
    house(tmp_path, labels="1 mains\n", c1=f"{NOON} 200\n{NOON + 60} -2e9\n{NOON + 120} 201\n")
    (burst,) = bursts(measured_houses(tmp_path)[0], date.min, date.max, 300)
    assert burst.deltas.tolist() == [0, 60, 60] and burst.watts.tolist() == [200, np.float32(-2e9), 201]


class TwoMeters:
    house_id, timezone, meters = 7, "UTC", [Meter(4, "mains", "mains"), Meter(2, "oven", "appliance")]
    holds_s: ClassVar = {}


def test_bursts_by_hand():
    seconds = [np.array([0, 1, 4, 5, 24]), np.array([3, 9])]
    day = HouseDay(date(1970, 1, 1), 0, 25_000, [(s * 1000, s.astype(np.float32)) for s in seconds])
    found = list(bursts_of_day(TwoMeters, day, 5))
    assert [(b.start_ms, b.end_ms) for b in found] == [(0, 5000), (5000, 10000), (20000, 25000)]
    assert [b.counts.tolist() for b in found] == [[3, 1], [1, 1], [1, 0]]
    assert [b.deltas.tolist() for b in found] == [[0, 1, 3, 3], [0, 4], [4]]
    assert [b.watts.tolist() for b in found] == [[0, 1, 4, 3], [5, 9], [24]]
    assert all(b.meter_ids.tolist() == [4, 2] and b.tick_ms == 1000 and not len(b.holds_s) for b in found)


def test_a_house_with_a_hold_states_that_of_each_meter():
    house = TwoMeters()
    house.holds_s = {2: 1800}
    day = HouseDay(date(1970, 1, 1), 0, 5000, [(np.array([0]), np.array([1], np.float32))] * 2)
    [found] = bursts_of_day(house, day, 5)
    assert found.holds_s.tolist() == [0, 1800] and found.holds_s.dtype == np.int32


sorted_times = st.lists(st.integers(0, 99_999), unique=True, max_size=60).map(sorted)


@given(sorted_times, sorted_times, st.integers(1, 120))
def test_bursts_hold_every_reading_once(first, second, burst_s):
    start = 1_700_000_000_000
    readings = [(start + np.array(times, dtype=np.int64), np.array(times, dtype=np.float32)) for times in (first, second)]
    seen = {4: [], 2: []}
    for burst in bursts_of_day(TwoMeters, HouseDay(date(2023, 11, 14), start, start + 100_000, readings), burst_s):
        ends = np.cumsum(burst.counts)
        assert ends[-1] == len(burst.deltas) == len(burst.watts) > 0
        for meter_id, end, count in zip(burst.meter_ids, ends, burst.counts):
            times = burst.start_ms + burst.tick_ms * np.cumsum(burst.deltas[end - count : end])
            assert ((burst.start_ms <= times) & (times < burst.end_ms)).all()
            assert (times - start).tolist() == burst.watts[end - count : end].tolist()
            seen[int(meter_id)] += (times - start).tolist()
    assert seen == {4: first, 2: second}


def test_bursts_of_all_houses_in_the_order_of_time():
    houses = synthetic_houses(3, seed=1, timezone="UTC", faults=False) + synthetic_houses(5, seed=1, faults=False)[3:]
    starts, last_end, readings = [], {}, 0
    for burst in in_order(houses, date(2024, 5, 1), date(2024, 5, 2), 3600):
        starts.append(burst.start_ms)
        assert last_end.setdefault(burst.house_id, burst.start_ms) == burst.start_ms  # a house's bursts tile its day
        last_end[burst.house_id] = burst.end_ms
        readings += burst.counts.sum()
    assert starts == sorted(starts) and len(starts) == 5 * 24
    assert readings == sum(2 * 86400 + 28800 * (len(house.meters) - 2) for house in houses)
