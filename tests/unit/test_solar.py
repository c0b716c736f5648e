"""Synthetic houses with solar: what their meters measure fits together."""

from datetime import date, timedelta

import numpy as np
import pytest

from generator.solar import CAPACITY_WH, MOST_WATTS, SolarHouse, sine_of_height, solar_houses, stored
from generator.synthetic import synthetic_houses

SUMMER, WINTER = date(2026, 6, 20), date(2026, 12, 20)


def kwh(day, house, kind, sign):
    """The energy that all meters of a kind draw (1) or feed (-1)."""
    found = 0.0
    for meter, (times, watts) in zip(house.meters, day.readings):
        if meter.kind == kind:
            found += float(np.maximum(sign * watts, 0).sum()) * float(times[1] - times[0]) / 3.6e9
    return found


@pytest.fixture(scope="module")
def houses():
    return solar_houses(2, seed=1)


def test_the_houses_are_the_default_ones_with_more_meters():
    default = synthetic_houses(2, seed=1, faults=False)
    for house, plain in zip([SolarHouse(house_id, 1, has_faults=False) for house_id in (1, 2)], default):
        assert house.meters[: len(plain.meters)] == plain.meters and house.place == plain.place
        added = house.meters[len(plain.meters) :]
        assert [meter.kind for meter in added] == ["solar", "battery", "appliance", "ev"]
        assert [meter.parent for meter in added] == [0, 0, 0, added[2].meter_id]
        for own, of_plain in zip(house.day(SUMMER).readings[2:], plain.day(SUMMER).readings[2:]):
            assert (own[1] == of_plain[1]).all()


def test_solar_feeds_by_day_and_draws_a_little_by_night(houses):
    for house in houses:
        solar = next(at for at, meter in enumerate(house.meters) if meter.kind == "solar")
        times, watts = house.day(SUMMER).readings[solar]
        assert (watts[: 3 * 1200] == 4).all() and watts[len(times) // 2] < -100
        assert kwh(house.day(SUMMER), house, "solar", -1) > 1.5 * kwh(house.day(WINTER), house, "solar", -1) > 1


def test_the_mains_have_no_faults_that_no_rule_can_find(houses):
    kinds = {fault.kind for house in houses for day in range(60) for fault in house.faults(WINTER - timedelta(days=day))}
    assert "level" in kinds and "frozen" in kinds and not kinds & {"standby", "dead"}


def test_the_mains_are_the_balance():
    """What the mains draw and feed is what solar, battery and loads leave; the readings of a day without faults add up."""
    house = SolarHouse(1, 1, has_faults=False)
    day = house.day(WINTER)
    drawn = [watts if len(watts) == 86400 else np.repeat(watts, 3) for _, watts in day.readings]
    of_meters = sum(watts for meter, watts in zip(house.meters[2:], drawn[2:]) if not meter.parent)
    rest = drawn[0] + drawn[1] - of_meters
    assert (rest > -1).all() and 80 < rest.mean() < 500, "the unmetered load"


def test_the_battery_takes_what_would_be_exported_and_gives_what_would_be_imported():
    steps = 20 * 60
    net = np.concatenate([np.full(steps, -4000.0), np.full(steps, -1000.0), np.full(3 * steps, -3000.0), np.full(10 * steps, 1500.0)])
    drawn = stored(net)
    assert (drawn[:steps] == MOST_WATTS).all() and (drawn[steps : 2 * steps] == 1000).all()
    held_wh = np.cumsum(drawn) / 1200
    assert held_wh.max() == pytest.approx(CAPACITY_WH) and held_wh.min() >= -1e-6
    assert (drawn[5 * steps : 6 * steps] == -1500).all() and held_wh[-1] == pytest.approx(0, abs=1e-6) and drawn[-1] == 0
    assert len(stored(np.ones(7))) == 7


def test_the_height_of_the_sun():
    hours = np.array([0.3, 12.3])
    midnight, noon = sine_of_height(0.0, date(2026, 3, 22), hours)  # declination 0: the equator's zenith
    assert (midnight, noon) == (pytest.approx(-1, abs=1e-3), pytest.approx(1, abs=1e-3))
    _, noon = sine_of_height(50.0, date(2026, 6, 21), hours)
    assert noon == pytest.approx(np.cos(np.radians(50 - 23.45)), abs=1e-3)
