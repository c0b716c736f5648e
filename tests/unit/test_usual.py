"""What is usual for a meter: hand-worked values of some days."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.core.cells import HOUSE, code_of, watts_of
from jobs.core.open_runs import LEVELS, OFF, SAME
from jobs.core.shapes import HOURS, MOST, SHAPE
from jobs.core.spells import BAND_MINUTES, LONG_PAUSE_MINUTES, RUN_FACTOR
from jobs.core.user_rules import TIMES
from jobs.core.usual import (
    DEAD_FACTOR,
    ENDLESS_MINUTES,
    HOUR_ADDED_WATTS,
    HOURS_BESIDE,
    LEAST_USED,
    RARE_FROM_WATTS,
    RARE_MINUTES,
    STANDBY_ADDED_WATTS,
    STANDBY_DAYS,
    STANDBY_FACTOR,
    USUAL,
    Usuals,
    house_silence,
    silence_row,
    source_record,
    usual_record,
    usual_row,
)
from smartmeter.settings import Settings
from tests.unit.outcomes import numbers_of
from tests.unit.usual_spells import usual
from tests.watchdog_oracle import Shape, usual_of

DAYS = 7


def code(watts: float) -> int:
    return int(code_of(np.array(watts)))


def shapes(count: int = DAYS) -> np.ndarray:
    """SHAPE of so many days: on each, a run of 10 minutes over 30 W."""
    rows = np.zeros(count, SHAPE)
    rows["day"], rows["meter_id"], rows["minutes"] = np.arange(count), 7, 1440
    rows["longest"][:, 0], rows["standby"] = 10, 1
    return rows


def test_nothing_is_usual_with_too_few_days_or_too_few_on_which_it_was_on():
    assert usual_record(shapes(DAYS - 1), False, DAYS) is None
    assert usual_record(shapes(DAYS), False, DAYS)
    days = shapes(DAYS)
    days["longest"][LEAST_USED:, 0] = 0
    assert usual_record(days, False, DAYS)
    days["longest"][LEAST_USED - 1 :, 0] = 0
    assert usual_record(days, False, DAYS) is None
    assert usual_record(shapes(2), False, 2)
    days = shapes(2)
    days["longest"][0, 0] = 0
    assert usual_record(days, False, 2) is None


def test_of_few_days_the_longest_run_counts_and_of_more_the_second_longest():
    for count, longest in ((DAYS, [90, 70, 80]), (DAYS + 1, [20, 30, 40])):
        days = shapes(count)
        days["longest"][:3, 0], days["longest"][:3, 1], days["longest"][:3, SAME] = [20, 90, 20], [70, 30, 30], [40, 80, 40]
        found = usual_record(days, False, DAYS)
        assert [*found["longest_run_minutes"][:2], found["longest_same_minutes"]] == longest
        assert found["longest_run_minutes"][2:] == [0] * (LEVELS - 2)


@pytest.mark.parametrize("count", [DAYS, DAYS + 4])
def test_of_pauses_the_longest_counts_and_of_silences_the_second_longest(count):
    days = shapes(count)
    days["longest"][:3, OFF], days["gap"][:3] = [600, 20, 300], [60, 5, 30]
    found = usual_record(days, False, DAYS)
    assert (found["longest_off_minutes"], found["longest_gap_minutes"]) == (600, 30)


def test_an_hour_of_mains_may_reach_the_highest_of_the_hours_beside_it_and_more():
    days = shapes()
    days["held"][2, 5], days["held"][4, 5], days["held"][3, 23] = code(500), code(400), code(60)
    hours = usual_record(days, True, DAYS)["hour_watts"]
    added = HOUR_ADDED_WATTS
    expected = dict.fromkeys(range(3, 8), watts_of(code(500))) | dict.fromkeys((21, 22, 23, 0, 1), 60)
    assert HOURS_BESIDE == 2
    assert hours == [expected.get(hour, 0) + added for hour in range(HOURS)]
    assert usual_record(days, False, DAYS)["hour_watts"] == []


def test_standby_follows_from_the_median_and_dead_from_the_lowest_of_the_last_days():
    days = shapes(STANDBY_DAYS + 1)
    days["standby"] = [code(15), code(30), *[code(60)] * 5, *[code(120)] * 8]
    found = usual_record(days, True, DAYS)
    assert found["standby_watts"] == STANDBY_FACTOR * 120 + STANDBY_ADDED_WATTS
    assert found["dead_watts"] == DEAD_FACTOR * 30, "the first day is too old"
    days["standby"] = [code(15), code(30), *[code(60)] * 6, *[code(120)] * 7]
    assert usual_record(days, True, DAYS)["standby_watts"] == STANDBY_FACTOR * 90 + STANDBY_ADDED_WATTS
    appliance = usual_record(days, False, DAYS)
    assert appliance["standby_watts"] is appliance["dead_watts"] is None and found["mains"] and not appliance["mains"]


def test_the_mains_beside_solar_have_no_standby_and_are_else_as_usual():
    record = usual_record(shapes(), True, DAYS)
    assert record["standby_watts"] and record["dead_watts"]
    assert usual_record(shapes(), True, DAYS, beside_sources=True) == record | {"standby_watts": None, "dead_watts": None}
    [row] = usual_row(7, usual_record(shapes(), True, DAYS, beside_sources=True))
    assert (row["mains"], row["standby"], row["dead"]) == (True, 0, 0)
    assert usual_record(shapes(), False, DAYS, beside_sources=True) == usual_record(shapes(), False, DAYS)


@pytest.mark.parametrize("count, same", [(DAYS, 80), (DAYS + 1, 40)])
def test_of_solar_only_equal_readings_and_silences_are_usual_also_if_it_draws_nothing(count, same):
    days = shapes(count)
    days["longest"][:, 0] = 0
    days["longest"][:3, SAME], days["gap"][:3] = [40, 80, 40], [60, 800, 700]
    assert source_record(days[: DAYS - 1], DAYS) is None
    found = source_record(days, DAYS)
    assert (found["longest_same_minutes"], found["longest_gap_minutes"], found["mains"]) == (same, 700, False)
    assert found["hour_watts"] == found["rare_watts"] == [] and found["standby_watts"] is found["dead_watts"] is None
    [row] = usual_row(7, found)
    assert row["longest"].tolist() == [*[ENDLESS_MINUTES] * (OFF + 1), same], "it may be on and off for any time"
    assert row["longest"][OFF] >= LONG_PAUSE_MINUTES, "which the rule of kind off leaves alone"


def test_a_power_is_rare_if_it_and_the_steps_beside_it_have_too_few_minutes():
    days, most = shapes(DAYS + 1), int(RARE_MINUTES)
    days["minutes_at"][:most, code(240)] = 1  # RARE_MINUTES of all days
    days["minutes_at"][: most - 1, code(960)] = 1
    days["minutes_at"][0, code(10)] = 200
    lowest = watts_of(code(RARE_FROM_WATTS))
    assert usual_record(days, False, DAYS)["rare_watts"] == [lowest, watts_of(code(240) - 2), watts_of(code(240) + 1), watts_of(254)]
    days["minutes_at"][0, code(960) + 1] = 1
    spans = usual_record(days, False, DAYS)["rare_watts"]
    assert spans[2:] == [watts_of(code(240) + 1), watts_of(code(960) - 1), watts_of(code(960) + 1), watts_of(254)]
    days["minutes_at"][:most, 253] = 1
    assert usual_record(days, False, DAYS)["rare_watts"][-2:] == [watts_of(code(960) + 1), watts_of(251)], (
        "what is over all codes has no end"
    )
    assert usual_record(days, True, DAYS)["rare_watts"] == []
    assert usual_record(shapes(DAYS), False, DAYS)["rare_watts"] == [], "too few days to know"


def test_no_power_is_rare_for_an_appliance_that_draws_new_ones_on_two_days():
    days = shapes(DAYS + 1)
    days["minutes_at"][:, code(240)] = 60
    days["minutes_at"][0, code(960)], days["minutes_at"][1, code(1500)] = BAND_MINUTES + 1, BAND_MINUTES
    assert len(usual_record(days, False, DAYS)["rare_watts"]) == 8, "below, between and above three powers"
    days["minutes_at"][1, code(500)] = 1
    assert usual_record(days, False, DAYS)["rare_watts"] == [], "nine minutes on a second day"
    days["minutes_at"][1, code(500)], days["minutes_at"][2, code(1500) + 1] = 0, RARE_MINUTES
    days["minutes_at"][1, code(1500)] = BAND_MINUTES + 1
    assert len(usual_record(days, False, DAYS)["rare_watts"]) == 8, "the powers of the second day are known by the third"
    days["minutes_at"][2, code(1500) + 1] -= 1
    assert usual_record(days, False, DAYS)["rare_watts"] == []


MINUTES_AT = st.dictionaries(st.sampled_from([100, 101, 104, 108, 140, 141, 254]), st.sampled_from([1, 2, 4, 5, 8, 9, 255]), max_size=4)


@given(st.lists(MINUTES_AT, min_size=3, max_size=9))
@example([{100: 9}, {140: 9}, {104: 1}])
@example([{100: 9}, {140: 9}, {101: 3}])
def test_the_rare_powers_of_any_days_are_what_the_oracle_finds(minutes_of_days):
    days = shapes(len(minutes_of_days))
    for row, minutes in zip(days["minutes_at"], minutes_of_days):
        row[[*minutes]] = [*minutes.values()]
    of_days = [Shape(lows=[1.0], over=[10] * LEVELS, steady=Counter(minutes)) for minutes in minutes_of_days]
    found, expected = usual_record(days, False, 2), usual_of(of_days, False, numbers_of(Settings().but(usual_days=2)))
    assert found["rare_watts"] == pytest.approx(expected["rare_watts"])


def test_the_silence_of_a_house():
    days = shapes()
    days["gap"] = [5, 100, 7, 30, 0, 0, 0]
    assert house_silence(days, DAYS) == 30 and house_silence(days, DAYS + 1) is None
    [row] = silence_row(30)
    assert (row["meter_id"], row["gap"], row["mains"], row["rare"].any()) == (HOUSE, 30, False, False)


def test_a_row_has_the_codes_of_a_record():
    days = shapes()
    days["held"][2, 5], days["standby"], days["gap"][:2] = code(500), code(60), 12
    days["longest"][1, : LEVELS + 2] = np.arange(1, LEVELS + 3) * 10
    [mains] = usual_row(7, usual_record(days, True, DAYS))
    assert (mains["meter_id"], mains["mains"], mains["gap"]) == (7, True, 12)
    assert mains["longest"].tolist() == [10 * n for n in range(1, LEVELS + 3)]
    assert mains["hour"][5] == code(watts_of(code(500)) + HOUR_ADDED_WATTS) and mains["hour"][9] == code(HOUR_ADDED_WATTS)
    assert (mains["standby"], mains["dead"]) == (code(STANDBY_FACTOR * 60 + STANDBY_ADDED_WATTS), code(DEAD_FACTOR * 60))
    assert not mains["rare"].any()
    days = shapes(DAYS + 1)
    days["minutes_at"][0, code(240)] = 200
    [appliance] = usual_row(7, usual_record(days, False, DAYS))
    assert appliance["hour"].tolist() == [0] * HOURS and (appliance["standby"], appliance["dead"]) == (0, 0)
    rare = set(range(code(RARE_FROM_WATTS) + 1, 255)) - {code(240) - 1, code(240), code(240) + 1}
    assert set(np.flatnonzero(appliance["rare"]).tolist()) == rare


def test_versions_are_found_by_minute_and_meter():
    usuals = Usuals.from_bytes(None).add(20, usual(9)).add(10, np.concatenate([usual(7), usual(9)])).add(30, np.empty(0, USUAL))
    rows = usuals.rows["meter_id"].tolist()
    found = usuals.at(np.array([7, 8, 9], np.int32), np.array([9, 10, 19, 20, 30], np.int32))
    assert [[rows[at] if at >= 0 else None for at in of_minute] for of_minute in found.tolist()] == [
        [None, None, None],
        [7, None, 9],
        [7, None, 9],
        [None, None, 9],
        [None, None, None],
    ]
    replaced = usuals.add(20, usual(8))
    assert replaced.from_minutes.tolist() == [10, 20, 30] and sorted(replaced.rows["meter_id"].tolist()) == [7, 8, 9]
    kept = usuals.forget_before(25)
    assert kept.from_minutes.tolist() == [20, 30] and kept.rows["meter_id"].tolist() == [9] and kept.of_version.tolist() == [0]
    assert usuals.forget_before(5).from_minutes.tolist() == [10, 20, 30]
    again = Usuals.from_bytes(usuals.to_bytes())
    assert all((a == b).all() for a, b in zip(again, usuals)) and again.to_bytes() == usuals.to_bytes()


def test_a_meter_that_is_on_for_longer_than_a_shape_can_hold_may_stay_on():
    days = shapes()
    days["longest"][:, :2] = MOST
    days["longest"][:, 2] = MOST - 1
    [row] = usual_row(7, usual_record(days, False, DAYS))
    assert row["longest"][:3].tolist() == [ENDLESS_MINUTES, ENDLESS_MINUTES, MOST - 1]
    assert RUN_FACTOR * ENDLESS_MINUTES * max(TIMES.values()) < 2**31
