"""Glitches left out of energy: hand-worked values."""

from __future__ import annotations

from datetime import date

import pytest

from jobs.daily_energy import alone
from smartmeter.settings import Settings
from tests.unit.driver import SETTING, every_two_hours, pipeline
from tests.unit.logs import HOUR_MS, START_MS, burst
from tests.unit.outcomes import days_since_1970

WITHOUT = SETTING.but(glitch_energy=False)


def day_of(bursts, setting, number=19, sizes=(3,)):
    """The last result of meter 1 for a day of April; 19 April begins at hour 24; 100 W all day are 2.4 kWh."""
    _, ended, _ = pipeline(bursts, list(sizes), setting)
    [row] = [r for r in ended.last("daily_energy").values() if r["date"] == days_since_1970(date(2011, 4, number))]
    return row


def test_a_glitch_adds_no_energy_and_covers_no_time():
    bursts = every_two_hours(0, 54, h28=3000.0)
    row, with_it = day_of(bursts, WITHOUT), day_of(bursts, SETTING)
    assert (with_it["kwh"], with_it["covered_s"]) == (pytest.approx(8.2), 86_400)
    assert (row["kwh"], row["covered_s"], row["readings"], row["final"]) == (pytest.approx(2.2), 22 * 3600, 12, True)
    assert row["hours"] == [0, 1, 2, 3, *range(6, 24)] and row["hour_kwh"] == [pytest.approx(0.1)] * 22
    assert row["hour_starts"] == [START_MS + (24 + hour) * HOUR_MS for hour in row["hours"]]


def test_the_rest_is_the_same_to_the_last_bit():
    watts = {f"h{h}": 100.1 + h / 7 for h in range(24, 48, 2)}
    assert (
        day_of(every_two_hours(0, 54, **watts | {"h30": 3333.3}), WITHOUT)["kwh"]
        == day_of(every_two_hours(0, 54, **watts | {"h30": 0}), WITHOUT)["kwh"]
    )


def test_what_several_readings_support_counts():
    assert day_of(every_two_hours(0, 54, h28=3000.0, h30=3000.0), WITHOUT)["kwh"] == pytest.approx(14.0)


@pytest.mark.parametrize("hours, hold_s, kwh", [(32, 60.0, 0.4), (32, 10_800.0, 6.4), (34, 10_800.0, 0.6)])
def test_an_early_result_leaves_out_a_glitch_once_it_is_over(hours, hold_s, kwh):
    assert day_of(every_two_hours(0, hours, h28=3000.0), WITHOUT.but(hold_s=hold_s))["kwh"] == pytest.approx(kwh)


@pytest.mark.parametrize("hold_s, max_gap_s, kwh", [(7200.0, 7200.0, 2.2), (7201.0, 7200.0, 8.2), (60.0, 7201.0, 8.2)])
def test_a_glitch_that_a_reading_of_the_next_day_might_have_continued_or_ended_counts(hold_s, max_gap_s, kwh):
    assert day_of(every_two_hours(0, 54, h46=3000.0), WITHOUT.but(hold_s=hold_s, max_gap_s=max_gap_s))["kwh"] == pytest.approx(kwh)


def test_a_reading_at_midnight_that_comes_after_its_day_is_closed_changes_nothing():
    in_order = every_two_hours(0, 54, h46=3000.0)
    late = [*in_order[:24], *in_order[26:], *in_order[24:26]]
    [kwh] = {day_of(bursts, WITHOUT.but(max_jump_s=0.0), sizes=[size])["kwh"] for bursts in (in_order, late) for size in (1, 30)}
    assert kwh == pytest.approx(8.2)


def test_a_glitch_that_holds_into_the_next_day_counts():
    bursts = [b for b in every_two_hours(0, 78, h46=3000.0) if b.start_ms != START_MS + 48 * HOUR_MS]
    bursts.insert(24, burst(START_MS + 48 * HOUR_MS, START_MS + 50 * HOUR_MS, {1: [(START_MS + 49 * HOUR_MS, 100.0)]}))
    assert day_of(bursts, WITHOUT)["kwh"] == pytest.approx(2.2 + 6)
    assert day_of(bursts, WITHOUT, 20)["kwh"] == pytest.approx(2.3 + 3)


def test_daily_energy_alone_finds_none_and_says_so(capsys):
    assert len(alone(Settings())) == 1
    with pytest.raises(SystemExit):
        alone(Settings().but(glitch_energy=False))
    assert capsys.readouterr().err == (
        "smw: SMW_GLITCH_ENERGY=False: the job daily_energy alone finds no glitches; start the job pipeline in its place\n"
    )
