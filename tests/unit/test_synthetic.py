"""Synthetic houses: what they look like, the ground truth, and that they repeat."""

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from generator import synthetic
from generator.faults import RATES
from generator.synthetic import synthetic_houses
from smartmeter.local_days import dates

DAY = date(2024, 5, 7)


@pytest.fixture(scope="module")
def houses():
    return synthetic_houses(8, seed=11)


@pytest.fixture(scope="module")
def faultless():
    return synthetic_houses(8, seed=11, faults=False)


def test_meters_like_redd(houses):
    for house in houses:
        labels = [meter.label for meter in house.meters]
        assert labels[:3] == ["mains", "mains", "refrigerator"] and 10 <= len(labels) - 2 <= 20
        assert [meter.meter_id for meter in house.meters] == list(range(1, len(labels) + 1))
        assert [meter.kind for meter in house.meters].count("mains") == 2
        assert house.timezone == house.place.timezone
    assert len({house.place for house in houses}) > 4
    assert len({tuple(house.meters) for house in houses}) == len(houses)


def test_mains_every_second_appliances_every_three(faultless):
    day = faultless[0].day(DAY)
    for i, (times, watts) in enumerate(day.readings):
        assert times[0] == day.start_ms and times[-1] == day.end_ms - (1000 if i < 2 else 3000)
        assert set(np.diff(times)) == {1000 if i < 2 else 3000}
        assert watts.dtype == np.float32 and len(watts) == len(times)
        assert np.array_equal(watts, watts.round(2)) and (watts >= 0).all() and np.isfinite(watts).all()


def test_mains_are_the_appliances_and_a_small_load_beside(faultless):
    readings = faultless[0].day(DAY).readings
    appliances = sum(np.repeat(watts.astype(float), 3) for _, watts in readings[2:])
    beside = readings[0][1].astype(float) + readings[1][1] - appliances
    assert beside.min() > 0 and beside.max() < 2 * (2 * 120 + 12)
    noise = np.diff(beside).std() / 2**0.5  # of two phases with 2 W each
    assert noise == pytest.approx(2 * 2**0.5, rel=0.03)
    share = appliances.sum() / (appliances.sum() + beside.sum())
    assert 0.5 < share < 0.99


def test_evening_peak_and_duty_cycle(faultless):
    hourly, fridge_on = np.zeros(24), []
    for house in faultless:
        for day in dates(DAY, DAY + timedelta(days=5)):
            readings = house.day(day).readings
            hourly += (readings[0][1] + readings[1][1]).reshape(24, 3600).mean(axis=1)
            fridge_on.append((readings[2][1] > 60).mean())
    assert hourly[18:21].mean() > 1.4 * hourly[1:5].mean()
    assert np.mean(fridge_on) == pytest.approx((1000 + 0.1 * 900) / 2700, abs=0.05)


def test_same_in_any_order_and_for_any_count(houses):
    forwards = [watts for day in houses[2].days(DAY, DAY + timedelta(days=2)) for _, watts in day.readings]
    alone = synthetic_houses(3, seed=11)[2]
    backwards = [alone.day(DAY + timedelta(days=1)), alone.day(DAY)][::-1]
    assert all(map(np.array_equal, forwards, [watts for day in backwards for _, watts in day.readings]))
    first, second = backwards
    assert not np.array_equal(first.readings[2][1], second.readings[2][1])
    assert not np.array_equal(synthetic_houses(3, seed=12)[2].day(DAY).readings[0][1], first.readings[0][1])


@pytest.mark.parametrize("day, hours", [(date(2024, 3, 10), 23), (date(2024, 11, 3), 25)])
def test_days_on_which_the_clocks_change(day, hours):
    made = synthetic_houses(1, seed=1, timezone="America/New_York")[0].day(day)
    assert [len(watts) for _, watts in made.readings[1:3]] == [hours * 3600, hours * 1200]


def test_a_fault_changes_its_meter_and_the_mains_of_its_phase(houses, faultless):
    seen = set()
    for house, without in zip(houses, faultless):
        for day in dates(DAY, DAY + timedelta(days=25)):
            faults = house.faults(day)
            before = [fault for ago in (1, 2) for fault in house.faults(day - timedelta(days=ago))]
            if len(faults) != 1 or before or faults[0].kind in seen:
                continue
            [fault], made, plain = faults, house.day(day), without.day(day)
            i = fault.meter_id - 1
            (times, watts), (all_times, usual) = made.readings[i], plain.readings[i]
            inside = (all_times >= fault.start_ms) & (all_times < fault.end_ms)
            assert made.start_ms <= fault.start_ms < made.end_ms and inside.any()
            if fault.kind == "silent":
                assert np.array_equal(times, all_times[~inside]) and np.array_equal(watts, usual[~inside])
            else:
                assert np.array_equal(watts[~inside], usual[~inside]) and not np.array_equal(watts, usual)
            if fault.kind in ("level", "hour", "standby"):
                assert watts[inside] - usual[inside] == pytest.approx(fault.watts, abs=0.02)
            rises = [m for m in (0, 1) if not np.array_equal(made.readings[m][1], plain.readings[m][1])]
            of_appliance = i >= 2 and fault.kind not in ("silent", "frozen", "glitch")
            assert len(rises) == of_appliance or rises == [i]
            seen.add(fault.kind)
    assert len(seen) >= 7


def test_faults_come_at_their_rates_and_one_at_a_time(houses):
    days = list(dates(DAY, DAY + timedelta(days=200)))
    faults = [fault for house in houses for day in days for fault in house.faults(day)]
    for kind, rate in RATES.items():
        assert len([fault for fault in faults if fault.kind == kind]) == pytest.approx(rate * 1600, rel=0.35), kind
    faults.sort(key=lambda fault: (fault.house_id, fault.meter_id, fault.start_ms))
    assert not [
        (one, next_one)
        for one, next_one in pairwise(faults)
        if (one.house_id, one.meter_id) == (next_one.house_id, next_one.meter_id) and one.end_ms > next_one.start_ms
    ]


def test_nobody_is_at_home_for_some_days(faultless):
    days = list(dates(DAY, DAY + timedelta(days=420)))
    share = np.mean([house.is_away(day) for house in faultless for day in days])
    assert share == pytest.approx(0.5 * 5.5 / 42 * 0.9, rel=0.3)
    house, day = next((house, day) for house in faultless for day in days if house.is_away(day) and house.is_away(day - timedelta(days=1)))
    for appliance, (_, watts) in zip(house.appliances, house.day(day).readings[2:]):
        assert appliance.period_s or watts.max() < 1.15 * appliance.standby_watts + 0.01


def test_an_appliance_that_is_new(faultless):
    house = faultless[0]
    meter_id = house._new + synthetic.FIRST_APPLIANCE
    days = list(dates(DAY, DAY + timedelta(days=synthetic.NEW_EVERY_DAYS)))
    assert sum(not house.has(meter_id, day) for day in days) == synthetic.GONE_DAYS
    gone = next(day for day in days if not house.has(meter_id, day) and not house.has(meter_id, day - timedelta(days=1)))
    assert house.day(gone).readings[meter_id - 1][1].max() == 0
