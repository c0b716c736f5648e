"""Synthetic houses: what they look like, the ground truth, and that they repeat."""

import csv
from datetime import date, timedelta

import numpy as np
import pytest

from generator.synthetic import Spike, synthetic_houses, write_ground_truth
from smartmeter.local_days import dates

DAY = date(2024, 5, 7)


@pytest.fixture(scope="module")
def houses():
    return synthetic_houses(8, seed=11)


def test_meters_like_redd(houses):
    for house in houses:
        labels = [meter.label for meter in house.meters]
        assert labels[:3] == ["mains", "mains", "refrigerator"] and 10 <= len(labels) - 2 <= 20
        assert [meter.meter_id for meter in house.meters] == list(range(1, len(labels) + 1))
        assert [meter.kind for meter in house.meters].count("mains") == 2
        assert house.timezone == house.place.timezone
    assert len({house.place for house in houses}) > 4
    assert len({tuple(house.meters) for house in houses}) == len(houses)


def test_mains_every_second_appliances_every_three(houses):
    day = houses[0].day(DAY)
    for i, (times, watts) in enumerate(day.readings):
        assert times[0] == day.start_ms and times[-1] == day.end_ms - (1000 if i < 2 else 3000)
        assert set(np.diff(times)) == {1000 if i < 2 else 3000}
        assert watts.dtype == np.float32 and len(watts) == len(times)
        assert np.array_equal(watts, watts.round(2)) and (watts >= 0).all() and np.isfinite(watts).all()


def test_mains_are_the_appliances_and_a_small_load_beside(houses):
    house = next(house for house in houses if not house.spikes(DAY))
    readings = house.day(DAY).readings
    appliances = sum(np.repeat(watts.astype(float), 3) for _, watts in readings[2:])
    beside = readings[0][1].astype(float) + readings[1][1] - appliances
    assert beside.min() > 0 and beside.max() < 2 * (2 * 120 + 12)
    noise = np.diff(beside).std() / 2**0.5  # of two phases with 2 W each
    assert noise == pytest.approx(2 * 2**0.5, rel=0.03)
    share = appliances.sum() / (appliances.sum() + beside.sum())
    assert 0.5 < share < 0.99


def test_evening_peak_and_duty_cycle(houses):
    hourly, fridge_on = np.zeros(24), []
    for house in houses:
        for day in dates(DAY, DAY + timedelta(days=5)):
            readings = house.day(day).readings
            hourly += (readings[0][1] + readings[1][1]).reshape(24, 3600).mean(axis=1)
            fridge_on.append((readings[2][1] > 60).mean())
    assert hourly[18:21].mean() > 1.4 * hourly[1:5].mean()
    assert np.mean(fridge_on) == pytest.approx(1000 / 2700, abs=0.05)


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


def test_ground_truth_is_what_was_added(houses, monkeypatch):
    seen = set()  # kinds of meter with a spike, and phases that an appliance's spike rose on
    for house in houses:
        for day in dates(DAY, DAY + timedelta(days=40)):
            spikes = house.spikes(day)
            if len(spikes) != 1 or len(seen) == 4:
                continue
            with_spike = house.day(day)
            with monkeypatch.context() as patch:
                patch.setattr(house, "spikes", lambda _: [])
                without = house.day(day)
            spike = spikes[0]
            i = spike.meter_id - 1
            times, watts = with_spike.readings[i]
            inside = (times >= spike.start_ms) & (times < spike.end_ms)
            assert watts[inside] - without.readings[i][1][inside] == pytest.approx(spike.excess_watts, abs=0.02)
            assert np.array_equal(watts[~inside], without.readings[i][1][~inside])
            seen.add(house.meters[i].kind)
            if i >= 2:
                rises = [(with_spike.readings[m][1] - without.readings[m][1]).sum(dtype=float) for m in (0, 1)]
                assert sorted(rises) == pytest.approx([0, spike.excess_watts * inside.sum() * 3], rel=1e-3)
                seen.add(int(np.argmax(rises)))
            assert 300_000 <= spike.end_ms - spike.start_ms <= 1_200_000 and inside.sum() >= 100
            assert with_spike.start_ms <= spike.start_ms and spike.end_ms <= with_spike.end_ms
    assert seen == {"mains", "appliance", 0, 1}


def test_spikes_come_at_their_rate(houses):
    days = list(dates(DAY, DAY + timedelta(days=100)))
    count = sum(len(house.spikes(day)) for house in houses for day in days)
    assert count == pytest.approx(0.3 * 800, rel=0.2)


def test_ground_truth_file(tmp_path):
    write_ground_truth(tmp_path / "new" / "truth.csv", [Spike(3, 1, 1000, 4000, 812.5)])
    with open(tmp_path / "new" / "truth.csv", newline="") as lines:
        assert list(csv.DictReader(lines)) == [
            {"house_id": "3", "meter_id": "1", "start_ms": "1000", "end_ms": "4000", "excess_watts": "812.5"}
        ]
