"""Multiplied houses."""

import json
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from generator.datasets import DatasetError
from generator.multiply import multiplied_houses, on_day
from generator.places import places

HOUR = 3_600_000
FIRST = 1_711_929_600  # 2024-04-01 00:00 UTC


@pytest.fixture
def data(tmp_path):
    """Three clean days in UTC of a reading every 600 s: mains 1000, 2000 and 3000 W, oven 100 W."""
    folder = tmp_path / "data" / "house_3"
    folder.mkdir(parents=True)
    (folder / "labels.dat").write_text("1 mains\n5 oven\n")
    seconds = range(0, 3 * 86400, 600)
    (folder / "channel_1.dat").write_text("".join(f"{FIRST + s} {1000 * (1 + s // 86400)}\n" for s in seconds))
    (folder / "channel_5.dat").write_text("".join(f"{FIRST + s} 100\n" for s in seconds))
    return folder.parent


def first_day(house, day=date(2024, 6, 1)):
    (only,) = house.days(day, day.replace(day=day.day + 1))
    return only


def test_scaled_within_limits_and_stitched(data, tmp_path):
    houses = multiplied_houses(data, 40, seed=3, home=tmp_path, timezone="UTC")
    assert [house.house_id for house in houses] == list(range(1, 41))
    factors = []
    for house in houses:
        days = list(house.days(date(2024, 6, 1), date(2024, 6, 7)))
        mains = np.array([day.readings[0][1][0] for day in days], dtype=float)
        assert mains[:3] == pytest.approx(mains[3:], rel=1e-6)  # the three clean days come round again
        assert np.roll(sorted(mains[:3]), mains[:3].argmin()) == pytest.approx(mains[:3])  # in their order
        assert sorted(mains[:3] / min(mains)) == pytest.approx([1, 2, 3], rel=1e-4)
        factors.append((min(mains) / 1000, days[0].readings[1][1][0] / 100))
    factors = np.array(factors)
    assert (factors >= 0.8 * 0.95).all() and (factors <= 1.2 * 1.05).all()
    ratios = factors[:, 1] / factors[:, 0]
    assert (ratios >= 0.95 / 1.05 - 1e-3).all() and (ratios <= 1.05 / 0.95 + 1e-3).all()
    assert np.ptp(factors[:, 0]) > 0.3 and np.ptp(ratios) > 0.08 and np.isclose(ratios, 1, atol=1e-4).sum() < 5


def test_house_takes_its_place_and_its_time_zone(data, tmp_path):
    for house in multiplied_houses(data, 5, seed=3, home=tmp_path, timezone="UTC"):
        record = house.record()
        place = places()[record["zip"]]
        assert (record["city"], record["latitude"], record["population"]) == (place.city, place.latitude, place.population)
        assert record["timezone"] == place.timezone and record["source"] == "data/house_3"
        day = first_day(house)
        midnight = int(np.datetime64("2024-06-01", "ms").astype(int))
        offset = ZoneInfo(place.timezone).utcoffset(datetime(2024, 6, 1)).total_seconds() * 1000
        assert day.readings[0][0][0] == day.start_ms == midnight - offset


def test_house_is_the_same_whatever_the_count_and_the_run(data, tmp_path):
    three = multiplied_houses(data, 3, seed=3, home=tmp_path / "a", timezone="UTC")
    five = multiplied_houses(data, 5, seed=3, home=tmp_path / "b", timezone="UTC")
    again = multiplied_houses(data, 3, seed=3, home=tmp_path / "b", timezone="UTC")
    other = multiplied_houses(data, 3, seed=4, home=tmp_path / "b", timezone="UTC")
    watts = [[first_day(house).readings[0][1].tolist() for house in houses[:3]] for houses in (three, five, again, other)]
    assert watts[0] == watts[1] == watts[2] and watts[3] != watts[0]


def test_kept_assignment_outlives_new_data(data, tmp_path):
    before = multiplied_houses(data, 3, seed=3, home=tmp_path, timezone="UTC")
    (data / "house_1").mkdir()
    for file in (data / "house_3").iterdir():
        (data / "house_1" / file.name).write_bytes(file.read_bytes())
    after = multiplied_houses(data, 12, seed=3, home=tmp_path, timezone="UTC")
    assert [house.source for house in before] == [house.source for house in after[:3]]
    assert {house.source for house in after} == {"data/house_1", "data/house_3"}
    kept = json.loads((tmp_path / "assignments" / "data-seed-3.json").read_text())
    assert list(kept) == [str(k) for k in range(1, 13)] and kept["2"]["zip"] == before[1].place.zip


def test_assignment_that_no_longer_fits(data, tmp_path):
    multiplied_houses(data, 1, seed=3, home=tmp_path, timezone="UTC")
    (data / "house_3").rename(data / "house_4")
    with pytest.raises(DatasetError, match="house 1 was made from data/house_3, .* remove the file to draw again"):
        multiplied_houses(data, 1, seed=3, home=tmp_path, timezone="UTC")
    (tmp_path / "assignments" / "data-seed-3.json").write_text("{")
    with pytest.raises(DatasetError, match="data-seed-3.json: not the JSON that was written"):
        multiplied_houses(data, 1, seed=3, home=tmp_path, timezone="UTC")


def test_no_clean_day(data, tmp_path):
    (data / "house_3" / "channel_5.dat").write_text(f"{FIRST} 1\n")
    with pytest.raises(DatasetError, match="no house has a clean day"):
        multiplied_houses(data, 1, seed=3, home=tmp_path, timezone="UTC")


@pytest.mark.parametrize(
    "day, hours",
    [(date(2024, 3, 10), [0, 1, *range(3, 24)]), (date(2024, 11, 3), [0, 1, 1, *range(2, 24)]), (date(2024, 6, 1), list(range(24)))],
)
def test_wall_clock_is_kept_when_the_clocks_change(day, hours):
    times, watts = on_day(day, "America/New_York", np.arange(24) * HOUR, np.arange(24, dtype=np.float32))
    assert watts.tolist() == hours
    assert (np.diff(times) == HOUR).all()
    assert len(times) == len(hours)
