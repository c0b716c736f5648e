"""Bursts of the houses of a spool."""

import numpy as np
import pytest

from importer import sending
from importer.spool import Spool
from jobs.daily_energy import DailyEnergy
from jobs.thresholds import Thresholds
from smartmeter.messages.codec import Burst
from tests.unit.driver import SETTING, pipeline
from tests.unit.test_spool import NOON_MS, add


def bursts(spool: Spool, max_jump_s: float) -> list[Burst]:
    """All bursts, of houses that have sent nothing before."""
    older, newer = sending.divided(spool.houses(1000), max_jump_s, {})
    assert not list(older)
    return list(newer)


@pytest.mark.parametrize("period_s, seconds", [(0, 300), (1, 300), (6, 360), (60, 3600), (1800, 86_400), (86_400, 86_400)])
def test_a_burst_is_long_enough_for_some_readings(period_s, seconds):
    assert sending.burst_s(period_s) == seconds


def test_bursts_go_day_by_day_and_claim_no_time_before_or_after_a_days_readings(tmp_path):
    day_ms = 86_400_000
    with Spool(tmp_path) as spool:
        add(spool, [(NOON_MS + day_ms, 3), (NOON_MS, 1), (NOON_MS + 10_000, 2)])
        add(spool, [(NOON_MS + 5000, 7)], house="2", meter_id=3, label="oven")
        found = bursts(spool, max_jump_s=0)
    assert [(burst.house_id, burst.start_ms, burst.end_ms, burst.tick_ms) for burst in found] == [
        (1, NOON_MS, NOON_MS + 11_000, 1000),
        (2, NOON_MS + 5000, NOON_MS + 6000, 1000),
        (1, NOON_MS + day_ms, NOON_MS + day_ms + 1000, 1000),
    ]
    assert [burst.watts.tolist() for burst in found] == [[1, 2], [7], [3]]
    assert found[0].deltas.tolist() == [0, 10] and found[0].meter_ids.dtype == np.int32


@pytest.mark.parametrize(
    "hours",
    [
        [0],  # hours since NOON_MS, 08:00 in New York
        [0, 5, 30, 31, 31.25, 80],
        [-8, 16, 88],  # midnight
        [15 + 3599 / 3600, 16],  # the last second of a day, and midnight
        [15 + 3599 / 3600, 100, 101.5, 170],
    ],
)
def test_readings_that_stand_alone_after_a_pause_are_no_wrong_clock(tmp_path, hours):
    with Spool(tmp_path) as spool:
        add(spool, [(NOON_MS + round(hour * 3_600_000), 100) for hour in hours])
        found = bursts(spool, SETTING.rules.max_jump_s)
    assert sum(len(burst.watts) for burst in found) == len(hours)
    _, ended, keyed = pipeline(found, [1], SETTING, (Thresholds, DailyEnergy))
    assert not ended.last("dead_letter") and keyed.counted["readings_used"] == len(hours)


def test_what_begins_before_the_end_of_what_a_house_has_sent_is_older(tmp_path):
    hour_ms = 3_600_000
    with Spool(tmp_path) as spool:
        for house in ("1", "2"):
            add(spool, [(NOON_MS + minute * 60_000, 100) for minute in range(0, 3 * 24 * 60, 10)], house=house)
            add(spool, [(NOON_MS, 5)], house=house)
        houses = spool.houses(1000)
        newest_ms = {1: NOON_MS + 30 * hour_ms, 9: NOON_MS}
        older, newer = map(list, sending.divided(houses, 3600, newest_ms))
        everything = list(sending.divided(houses, 3600, {})[1])
    assert {burst.house_id for burst in older} == {1} and all(burst.start_ms < newest_ms[1] for burst in older)
    assert all(burst.house_id == 2 or burst.start_ms >= newest_ms[1] for burst in newer)
    place = lambda burst: (burst.house_id, burst.start_ms)  # noqa: E731
    assert sorted(map(place, older + newer)) == sorted(map(place, everything)) and len(older) > 3
    assert [(house.repeated, house.contradicting) for house in houses] == [(1, 1)] * 2
