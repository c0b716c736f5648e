"""Thresholds: the versions of houses whose window is resized, that are silent, or that begin long ago."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobs.flink.operator import Houses
from jobs.thresholds import Thresholds
from smartmeter.settings import DAY_MS
from tests.oracle import EPOCH, midnight_ms
from tests.unit.driver import SETTING, Results, every_two_hours, pipeline, rows_of
from tests.unit.flink_stand_in import FlinkStandIn
from tests.unit.logs import HOUR_MS, NEW_YORK, burst, description
from tests.unit.outcomes import assert_thresholds, judged


def dates_of(results: Results) -> list[date]:
    return sorted(EPOCH + timedelta(days=version["date"]) for version in results.last("thresholds").values())


def silent(days: int, window_days: int) -> tuple[Results, dict[date, dict]]:
    """A week of 100 W, some days without a reading, then one day: (results, versions by date)."""
    back = 24 * (7 + days)
    setting = SETTING.but(window_days=window_days, limit_days=window_days)
    results, ended, _ = pipeline([*every_two_hours(0, 168), *every_two_hours(back, back + 28)], [5], setting)
    assert_thresholds(results, judged([*every_two_hours(0, 168), *every_two_hours(back, back + 28)], setting), setting)
    return ended, {EPOCH + timedelta(days=v["date"]): v for v in results.last("thresholds").values()}


@pytest.mark.parametrize("before_days, after_days, readings", [(5, 2, 24), (2, 5, 60)])
def test_a_resized_window_has_its_new_length_once_full(before_days, after_days, readings):
    results, keyed = Results(), FlinkStandIn()
    for first, last, days in ((0, 240, before_days), (240, 480, after_days)):  # ten days each, twelve readings a day
        setting = SETTING.but(window_days=days, limit_days=days)
        houses = Houses(setting, [Thresholds(setting)])
        houses.open(keyed)
        for [(keyed.key, row)] in rows_of(every_two_hours(first, last), [1], setting, Thresholds.wanted):
            results.take(houses.process_element(row, keyed))
    newest = max(results.last("thresholds").values(), key=lambda version: version["date"])
    assert [(m["readings"], m["covered_s"]) for m in newest["meters"]] == [(readings, 86_400 * after_days)]
    assert len(newest["meters"]) == 1 and newest["window_days"] == after_days


def test_a_house_that_returns_after_a_year_has_one_version_for_all_of_it():
    _, versions = silent(365, 7)
    back = date(2012, 4, 24)  # a year after 25 April 2011, the first day without a reading, there being a 29 February
    assert [day for day in versions if day > date(2011, 4, 24)] == [
        back - timedelta(days=2),
        back - timedelta(days=1),
        back,
        back + timedelta(days=1),
    ]
    gap = versions[back - timedelta(days=2)]
    one_am = {day: midnight_ms(ZoneInfo(NEW_YORK), day) + HOUR_MS for day in (date(2011, 4, 25), back - timedelta(days=1))}
    assert (gap["valid_from"], gap["valid_to"]) == tuple(one_am.values())
    assert [versions[day]["meters"] for day in (gap and back - timedelta(days=2), back)] == [[], []], "nothing is left in the window"
    assert [(m["readings"], m["covered_s"], m["warming_up"]) for m in versions[back + timedelta(days=1)]["meters"]] == [(12, 86_400, False)]


def test_a_window_is_aged_by_the_days_without_readings():
    # Readings on 18 to 24 April, the last of which holds 20 h into the 25th; none until 29 April.
    _, versions = silent(4, 7)
    assert sorted(day.day for day in versions) == [16, 17, 18, 19, 20, 21, 22, 23, 24, 27, 28, 29, 30]
    [week] = versions[date(2011, 4, 27)]["meters"]  # in force from the 25th on; of 20 to 26 April
    assert (week["readings"], week["covered_s"]) == (5 * 12, 5 * 86_400 + 72_000)
    [three] = versions[date(2011, 4, 29)]["meters"]  # of 22 to 28 April
    assert (three["readings"], three["covered_s"], three["warming_up"]) == (3 * 12, 3 * 86_400 + 72_000, False)
    _, versions = silent(10, 7)
    assert versions[date(2011, 5, 5)]["meters"] == []
    _, versions = silent(10, 14)
    assert versions[date(2011, 5, 5)]["meters"][0]["readings"] == 4 * 12  # of 21 April to 4 May


def test_a_first_burst_of_1970_costs_no_more_than_another():
    long_ago = burst(3 * DAY_MS, 3 * DAY_MS + HOUR_MS, {1: [(3 * DAY_MS, 100.0)]})
    results, ended, _ = pipeline([long_ago, *every_two_hours(0, 26)], [1], SETTING.but(oldest_date="1970-01-03"))
    assert dates_of(results) == [date(1970, 1, 2), date(1970, 1, 3), date(2011, 4, 16), date(2011, 4, 17), date(2011, 4, 18)]
    assert len(ended.last("daily_energy")) == 4  # two of 1970: a reading holds on into the next day


def test_a_version_has_the_kinds_of_its_time_and_keeps_them():
    """Meter 1 is always on, so it is guessed to be mains. In the second run its description comes before the last version is made."""
    bursts, houses = every_two_hours(0, 24 * 4), [description(1, m1="appliance")]

    def limits(known_after):
        results, _, _ = pipeline(bursts, [1], SETTING, (Thresholds,), houses=houses, known_after=known_after)
        versions = sorted(results.last("thresholds").values(), key=lambda version: version["date"])
        return [meter["limit_watts"] for version in versions for meter in version["meters"] if not meter["warming_up"]]

    appliance, meanwhile, mains = limits(0), limits(len(bursts) - 14), limits(len(bursts))
    assert [mains[n] - appliance[n] for n in range(3)] == pytest.approx([480] * 3)
    assert meanwhile == [*mains[:2], appliance[2]]
