"""Spells: when the rule of each kind is broken, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.core.cells import HOUSE
from jobs.core.spells import (
    BAND_MINUTES,
    HOUR_MINUTES,
    MERGED_MINUTES,
    OFF_FACTOR,
    OVER_HOUR_MINUTES,
    RUN_FACTOR,
    RUN_MINUTES,
    SAME_FACTOR,
    SILENCE_FACTOR,
    STANDBY_MINUTES,
)
from jobs.core.usual import USUAL, Usuals, silence_row
from tests.unit.minute_cells import every_minute
from tests.unit.usual_spells import always, code, longest, spells, starts, usual


def test_a_run_breaks_its_rule_once_it_is_longer_than_it_usually_is():
    allowed = RUN_FACTOR * 20 + RUN_MINUTES
    [found] = spells({7: every_minute(100, 100 + allowed + 3, lambda m: 100.0 + m % 2)}, always(usual(longest=longest(over=20))))
    assert found == {
        "meter_id": 7,
        "kind": "run",
        "start": 100 + allowed,
        "last": 100 + allowed + 2,
        "since": 100,
        "limit": code(60),  # the highest level that it was over for too long
        "usual": 20,
        "peak": code(101),
        "open": False,
    }
    assert not spells({7: every_minute(100, 100 + allowed, 100.0)}, always(usual(longest=longest(over=20))))
    assert not spells({7: every_minute(100, 1000, 100.0)}, always(usual(mains=True, longest=longest(over=20))))


def test_a_run_over_a_higher_level_is_found_by_the_usual_of_that_level():
    row = usual(longest=longest())
    row["longest"][0, 5] = 0  # 960 W
    [found] = spells({7: {**every_minute(100, 200, 100.0), **every_minute(200, 230, 1000.0), **every_minute(230, 300, 100.0)}}, always(row))
    assert (found["start"], found["last"], found["since"], found["limit"]) == (200 + RUN_MINUTES, 229, 200, code(960))


def test_rare_powers_must_be_held_without_another():
    row = usual()
    row["rare"][0, code(500) - 1 : code(500) + 2] = 1
    steady = every_minute(100, 130, lambda m: 500.0 + m % 3)
    assert starts({7: steady}, always(row)) == [("band", 7, 100 + BAND_MINUTES, 129)]
    assert not starts({7: {**steady, **dict.fromkeys(range(105, 130, 6), 250.0)}}, always(row))
    assert not starts({7: {minute: (watts, 900.0) for minute, watts in steady.items()}}, always(row)), (
        "each minute reaches an ordinary power"
    )
    assert not starts({7: every_minute(100, 130, 300.0)}, always(row))
    assert not starts({7: steady}, always(usual(mains=True, rare=row["rare"])))


def test_an_appliance_is_off_for_too_long():
    allowed = OFF_FACTOR * 30 + HOUR_MINUTES
    off = every_minute(200, 200 + allowed + 10, 0.0)
    row = usual(longest=longest(off=30))
    assert starts({7: {199: 100.0, **off}}, always(row)) == [("off", 7, 200 + allowed, 200 + allowed + 9)]
    assert not starts({7: {199: 100.0, **off}}, always(usual(mains=True, longest=longest(off=30))))
    [found] = spells({7: off}, always(row))
    assert (found["limit"], found["usual"], found["since"]) == (code(30), 30, 200)
    for pause, count in ((6 * 60 - 1, 1), (6 * 60, 0)):
        off_for_days = every_minute(0, OFF_FACTOR * pause + HOUR_MINUTES + 10, 0.0)
        assert len(spells({7: off_for_days}, always(usual(longest=longest(off=pause))))) == count


def test_mains_are_over_what_they_reach_at_an_hour():
    hours = np.full(24, code(400))
    hours[2] = code(900)
    mains = usual(mains=True, hour=hours)
    minutes = every_minute(60, 240, lambda m: 600.0 + m % 2)
    assert starts({7: minutes}, always(mains)) == [("hour", 7, 60 + OVER_HOUR_MINUTES, 119), ("hour", 7, 180 + OVER_HOUR_MINUTES, 239)]
    assert [spell["limit"] for spell in spells({7: minutes}, always(mains))] == [code(400)] * 2
    assert not starts({7: minutes}, always(usual(mains=True)))


def test_mains_stay_over_their_standby():
    mains = usual(mains=True, standby=code(100))
    minutes = every_minute(0, STANDBY_MINUTES + 5, lambda m: 150.0 + m % 2)
    assert starts({7: minutes}, always(mains)) == [("standby", 7, STANDBY_MINUTES, STANDBY_MINUTES + 4)]
    assert not starts({7: minutes | {700: 100.0}}, always(mains)), "it falls to it once"


def test_mains_are_dead_under_what_they_always_draw():
    mains = usual(mains=True, dead=code(60))
    minutes = every_minute(100, 100 + HOUR_MINUTES + 5, lambda m: 20.0 + m % 2)
    assert starts({7: minutes}, always(mains)) == [("dead", 7, 100 + HOUR_MINUTES, 100 + HOUR_MINUTES + 4)]
    assert not starts({7: minutes | {130: (20.0, 70.0)}}, always(mains))


def test_mains_that_feed_in_are_not_dead():
    mains = usual(mains=True, dead=code(60))
    at_noon = {99: 100.0, **every_minute(100, 100 + HOUR_MINUTES, -1000.0), **every_minute(100 + HOUR_MINUTES, 300, 10.0)}
    assert starts({7: at_noon}, always(mains)) == [("dead", 7, 100 + 2 * HOUR_MINUTES, 299)]
    assert not starts({7: every_minute(100, 500, lambda m: (-1000.0, -0.5))}, always(mains))


@pytest.mark.parametrize("mains", [False, True])
def test_a_meter_repeats_the_same_reading(mains):
    allowed = SAME_FACTOR * 30 + HOUR_MINUTES
    same = every_minute(100, 100 + allowed + 5, 95.0)
    row = usual(mains=mains, longest=longest(same=30))
    assert starts({7: same}, always(row)) == [("frozen", 7, 100 + allowed, 100 + allowed + 4)]
    assert not starts({7: same | {150: 95.5}}, always(row))
    assert not starts({7: every_minute(100, 400, 0.0)}, always(row)), "it is off"


@pytest.mark.parametrize("run, same, kind", [(10, 0, "run"), (20, 0, "frozen"), (40, 0, "frozen"), (100, 0, "frozen"), (10, 100, "run")])
def test_of_a_run_at_one_power_and_equal_readings_there_is_one_alert_of_what_was_first(run, same, kind):
    row = usual(longest=longest(over=run, same=same))
    begins = min(RUN_FACTOR * run + RUN_MINUTES, SAME_FACTOR * same + HOUR_MINUTES)
    assert starts({7: every_minute(100, 500, 95.0)}, always(row)) == [(kind, 7, 100 + begins, 499)]


def test_a_run_that_goes_on_after_equal_readings_is_an_alert_of_its_own():
    row = usual(longest=longest(over=100, same=0))
    minutes = {**every_minute(100, 400, 95.0), **every_minute(400, 410, lambda m: 96.0 + m % 2)}
    assert starts({7: minutes}, always(row)) == [("run", 7, 400, 409), ("frozen", 7, 100 + HOUR_MINUTES, 399)]


def test_equal_readings_that_go_on_after_a_run_are_an_alert_of_their_own():
    row = usual(longest=longest(same=0))
    row["longest"][0, 5] = 0  # 960 W
    minutes = {**every_minute(100, 150, lambda m: 1000.0 + m % 2), **every_minute(150, 300, 95.0)}
    assert starts({7: minutes}, always(row)) == [("run", 7, 100 + RUN_MINUTES, 149), ("frozen", 7, 150 + HOUR_MINUTES, 299)]


def test_a_meter_is_silent_while_its_house_is_not():
    allowed = SILENCE_FACTOR * 10 + HOUR_MINUTES
    of_house = every_minute(0, 400, 1.0, step=2)
    row = usual(longest=longest(), gap=10)
    found = spells({7: {20: 1.0, 300: 1.0}, 8: of_house}, always(row))
    [silent] = found
    assert (silent["kind"], silent["since"], silent["usual"], silent["limit"], silent["peak"]) == ("silent", 21, 10, 0, 0)
    assert (silent["start"], silent["last"]) == (20 + 2 * (allowed + 1), 298)
    assert not spells({8: of_house}, always(row)), "it was never heard"
    assert not spells({7: {20: 1.0, 300: 1.0}}, always(row)), "the house is silent too"


def test_a_house_was_silent_once_it_sends_again():
    allowed = SILENCE_FACTOR * 10 + HOUR_MINUTES
    usuals = always(silence_row(10))
    assert starts({7: {20: 1.0}, 8: {21: 1.0, 500: 1.0}}, usuals) == [("silent", HOUSE, 22 + allowed, 499)]
    assert not starts({7: {20: 1.0, 21 + allowed: 1.0}}, usuals)
    assert starts({7: {20: 1.0, 22 + allowed: 1.0}}, usuals) == [("silent", HOUSE, 21 + allowed, 21 + allowed)]


def test_conspicuous_minutes_close_to_each_other_are_one_spell():
    # At a rare power from 0, off for a while, at a rare power again: each is too long.
    row, first = usual(rare=np.isin(np.arange(256), [code(100), code(900)])), BAND_MINUTES + 5
    for pause, count in ((MERGED_MINUTES - BAND_MINUTES - 1, 1), (MERGED_MINUTES - BAND_MINUTES, 2)):
        again = first + pause
        meters = {7: {**every_minute(0, first, 100.0), **every_minute(first, again, 0.0), **every_minute(again, again + first, 900.0)}}
        found = spells(meters, always(row))
        assert len(found) == count and found[0]["start"] == BAND_MINUTES and found[-1]["last"] == again + first - 1
        assert found[-1]["peak"] == code(900) and found[0]["since"] == 0 and found[-1]["since"] == (0 if count == 1 else again)


def test_a_spell_is_open_until_no_minute_can_join_it():
    row, last = usual(longest=longest(over=0)), RUN_MINUTES + 9
    meters = {7: every_minute(0, last + 1, 100.0)}
    for clock, is_open in ((last, True), (last + MERGED_MINUTES, True), (last + MERGED_MINUTES + 1, False)):
        assert [spell["open"] for spell in spells(meters, always(row), clock)] == [is_open]


def test_each_minute_is_judged_by_the_version_in_force():
    row = usual(longest=longest(over=0))
    minutes = {7: every_minute(0, 200, 100.0)}
    usuals = Usuals.from_bytes(None).add(100, row).add(150, np.empty(0, USUAL))
    assert starts(minutes, usuals) == [("run", 7, 100, 149)]
    rare = usual()
    rare["rare"][0, code(100)] = 1
    usuals = Usuals.from_bytes(None).add(100, rare).add(120, np.empty(0, USUAL)).add(150, rare)
    assert starts(minutes, usuals) == [("band", 7, 100 + BAND_MINUTES, 119), ("band", 7, 150 + BAND_MINUTES, 199)]
