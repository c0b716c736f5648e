"""Late records: what closed days and unknown overlaps refuse."""

from __future__ import annotations

from collections import Counter
from datetime import date

from jobs.core.house_days import OVERLAPPING
from jobs.core.late import REFUSALS
from tests.unit.driver import SETTING, every_two_hours, pipeline
from tests.unit.logs import HOUR_MS, START_MS, burst


def test_a_day_that_was_closed_stays_closed_when_a_house_changes_its_time_zone():
    # London's 18 April ends at hour 19 and is closed at hour 20. New York's goes on to hour 24, yet it takes no more.
    bursts = every_two_hours(0, 22, "Europe/London") + every_two_hours(22, 24, watts=777.0) + every_two_hours(24, 150)
    _, ended, _ = pipeline(bursts, [1], SETTING)
    assert sum(record["readings"] for record in ended.last("daily_energy").values()) + sum(ended.readings_late().values()) == 75
    assert ended.readings_late() == {(1, date(2011, 4, 18)): 1}


def test_what_lies_in_a_closed_day_stays_late_and_the_rest_of_its_burst_is_used():
    bursts = every_two_hours(0, 28)  # 18 April is closed with the reading of hour 26
    across = burst(START_MS + 23 * HOUR_MS, START_MS + 29 * HOUR_MS, {1: [(START_MS + h * HOUR_MS, 500.0) for h in (23, 25, 28)]})
    results, ended, _ = pipeline([*bursts, across], [1], SETTING)
    assert results.readings_late() == {(1, date(2011, 4, 18)): 1}
    newest = max(ended.last("daily_energy").values(), key=lambda day: day["date"])
    assert (newest["readings"], newest["duplicates"]) == (
        3,
        1,
    )  # those of hours 24, 26 and 28; that of hour 25 is in a span that was received


def test_an_overlap_without_its_readings_is_reported():
    # A new worker begins with a burst of four days before the newest: that what goes on from it may overlap two days later, it cannot know.
    bursts = every_two_hours(0, 116)
    again = [burst(START_MS + h * HOUR_MS, START_MS + (h + 3) * HOUR_MS, {1: [(START_MS + h * HOUR_MS, 100.0)]}) for h in range(22, 118, 3)]
    results, _, keyed = pipeline([*bursts, *again], [1], SETTING, restarts=[58])
    reasons = Counter(record["reason"] for record in results.last("late").values())
    assert reasons[REFUSALS[OVERLAPPING]] == 1  # that of hours 115 to 118; those before it are in spans that were received
    assert sum(keyed.counted[f"readings_{name}"] for name in ("used", "duplicate", "late")) == 58 + len(again)
    results, _, _ = pipeline([*bursts, *again], [1], SETTING)
    assert not [r for r in results.last("late").values() if r["reason"] == REFUSALS[OVERLAPPING]]
