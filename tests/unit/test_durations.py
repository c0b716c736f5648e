"""Alerts of duration: when each rule is broken, by hand, and the state between two scans."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import lz4.block
import numpy as np
import pytest

from jobs.core.cells import HOUSE, Cells, code_of
from jobs.core.durations import (
    BAND_MINUTES,
    HOUR_MINUTES,
    KINDS,
    LONG_PAUSE_MINUTES,
    MERGED_MINUTES,
    OFF_FACTOR,
    OVER_HOUR_MINUTES,
    RUN_FACTOR,
    RUN_MINUTES,
    SAME_FACTOR,
    SILENCE_FACTOR,
    STANDBY_MINUTES,
    Durations,
    Usuals,
    hours_since_midnight,
)
from jobs.core.open_runs import LEVELS, OFF, SAME, Rule
from jobs.core.state_version import StateFault
from jobs.core.user_rules import NO_USER_RULES
from jobs.core.usual import USUAL, silence_row
from smartmeter.settings import Settings
from tests.oracle import midnight_ms
from tests.unit.minute_cells import cells_of, every_minute

LONG = 10_000
RULE = Rule(15, int(code_of(np.array(30.0))))


def code(watts: float) -> int:
    return int(code_of(np.array(watts)))


def usual(meter_id: int = 7, mains: bool = False, **columns) -> np.ndarray:
    """USUAL (1,) of a meter that breaks no rule, but for these columns."""
    row = np.zeros(1, USUAL)
    row["meter_id"], row["mains"], row["longest"], row["gap"] = meter_id, mains, LONG, LONG
    for name, value in columns.items():
        row[name] = value
    return row


def longest(**minutes: int) -> list[int]:
    """The column `longest`: over=..., off=..., same=..., and LONG elsewhere. over: of all levels."""
    row = [minutes.get("over", LONG)] * LEVELS + [LONG] * 2
    row[OFF], row[SAME] = minutes.get("off", LONG), minutes.get("same", LONG)
    return row


def always(*rows: np.ndarray) -> Usuals:
    """What is usual in every minute."""
    return Usuals.from_bytes(None).add(0, np.concatenate(rows))


def spells_at(durations: Durations, cells: Cells, usuals: Usuals, clock_minute: int = 2000) -> np.ndarray:
    """SPELL: what a scan finds from the last closed day on."""
    return durations.closed.go_on(cells, usuals, "UTC", clock_minute + 1, RULE, NO_USER_RULES).all_spells(clock_minute)


def spells(meters: dict, usuals: Usuals, clock_minute: int = 10_000) -> list[dict]:
    """The spells in the cells of some meters, as dicts of their columns."""
    found = spells_at(Durations(), cells_of(meters), usuals, clock_minute)
    return [dict(zip(found.dtype.names, row)) | {"kind": KINDS[row["kind"]]} for row in found]


def starts(meters: dict, usuals: Usuals) -> list[tuple]:
    """(kind, meter, start, last) of each spell."""
    return [(s["kind"], s["meter_id"], s["start"], s["last"]) for s in spells(meters, usuals)]


def test_the_settings_give_the_rule():
    assert Rule.of(Settings()) == Rule(16, code(30))
    assert Rule.of(Settings().but(max_gap_s=119.0, on_watts=60.0)) == Rule(1, code(60))


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
    for pause, count in ((LONG_PAUSE_MINUTES - 1, 1), (LONG_PAUSE_MINUTES, 0)):
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


@pytest.mark.parametrize("mains", [False, True])
def test_a_meter_repeats_the_same_reading(mains):
    allowed = SAME_FACTOR * 30 + HOUR_MINUTES
    same = every_minute(100, 100 + allowed + 5, 95.0)
    row = usual(mains=mains, longest=longest(same=30))
    assert starts({7: same}, always(row)) == [("frozen", 7, 100 + allowed, 100 + allowed + 4)]
    assert not starts({7: same | {150: 95.5}}, always(row))
    assert not starts({7: every_minute(100, 400, 0.0)}, always(row)), "it is off"


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


@pytest.mark.parametrize("day, hours", [(date(2011, 3, 13), 23), (date(2011, 4, 18), 24), (date(2011, 11, 6), 25)])
def test_hours_count_from_midnight(day, hours):
    begin = midnight_ms(ZoneInfo("America/New_York"), day) // 60_000
    found = hours_since_midnight("America/New_York", np.arange(begin, begin + 60 * hours + 60, 30, dtype=np.int32)).tolist()
    assert found == [min(half // 2, 23) for half in range(2 * hours)] + [0, 0]


EVERYTHING = {
    7: {**every_minute(0, 300, lambda m: 100.0 + m % 3), **every_minute(300, 700, 0.0), **every_minute(700, 1500, 95.0)},
    8: {**every_minute(0, 500, 40.0, step=2), **every_minute(900, 1500, 10.0)},
}
USUALS = always(
    usual(7, longest=longest(over=20, off=30, same=30), rare=np.isin(np.arange(256), [*range(code(95), code(101) + 1)])),
    usual(8, mains=True, dead=code(20), gap=10),
    silence_row(5),
)


def closed_at(*minutes: int) -> Durations:
    """The state after closing days that end with these minutes; each goes through its bytes."""
    durations, cells = Durations(), cells_of(EVERYTHING)
    for minute in minutes:
        durations.close(cells, USUALS, "UTC", minute, RULE, NO_USER_RULES)
        durations = Durations.from_bytes(durations.to_bytes())
        cells.drop_before(minute)
    return durations


@pytest.mark.parametrize("ends", [(1,), (299,), (300, 301), (333, 480), (650, 1000, 1200), (1440,), (1480,)])
def test_what_lies_before_a_closed_day_may_be_forgotten(ends):
    whole = spells_at(Durations(), cells_of(EVERYTHING), USUALS)
    assert {KINDS[kind] for kind in whole["kind"]} == {"run", "band", "off", "dead", "frozen", "silent"}
    later = Cells(cells_of(EVERYTHING).state)
    later.drop_before(ends[-1])
    found = spells_at(closed_at(*ends), later, USUALS)
    assert found.tolist() == [spell for spell in whole.tolist() if spell[3] + MERGED_MINUTES >= ends[-1]]


def test_durations_are_what_their_bytes_give():
    durations = closed_at(480)
    durations.sent = spells_at(durations, cells_of(EVERYTHING), USUALS)
    again = Durations.from_bytes(durations.to_bytes())
    assert again.sent.tolist() == durations.sent.tolist() and again.to_bytes() == durations.to_bytes()
    for kept, progress in ((again.closed, durations.closed), (again.ahead, durations.ahead)):
        assert (kept.minute, kept.meter_ids.tolist()) == (480, [HOUSE, 7, 8]) and (kept.runs == progress.runs).all()
        assert kept.spells.tobytes() == progress.spells.tobytes() and kept.spells.shape == (3, len(KINDS))
    empty = Durations.from_bytes(None)
    assert (len(empty.closed.runs), len(empty.sent)) == (0, 0) and Durations.from_bytes(empty.to_bytes()).to_bytes() == empty.to_bytes()


def test_a_scan_goes_on_from_where_it_was_and_begins_again_with_a_late_minute():
    cells, durations = cells_of(EVERYTHING), Durations()
    durations.close(cells, USUALS, "UTC", 333, RULE, NO_USER_RULES)
    durations.ahead = durations.ahead.go_on(cells, USUALS, "UTC", 700, RULE, NO_USER_RULES)
    durations.changed_from(700)
    assert durations.ahead.minute == 700
    found = durations.ahead.go_on(cells, USUALS, "UTC", 2001, RULE, NO_USER_RULES).all_spells(2000)
    assert found.tolist() == spells_at(durations, cells, USUALS).tolist()
    durations.changed_from(699)
    assert durations.ahead is durations.closed and durations.closed.minute == 333


def test_spells_that_were_sent_are_kept_while_they_may_change():
    durations = Durations()
    durations.sent = spells_at(durations, cells_of(EVERYTHING), USUALS)
    before = len(durations.sent)
    durations.close(cells_of(EVERYTHING), USUALS, "UTC", 1000, RULE, NO_USER_RULES)
    assert durations.sent["last"].min() + MERGED_MINUTES >= 1000 and len(durations.sent) < before


@pytest.mark.parametrize("kind", [Usuals, Durations])
def test_state_of_another_version_is_refused(kind):
    with pytest.raises(StateFault, match="state version 9"):
        kind.from_bytes(lz4.block.compress(np.array([9, 0, 0], np.int32).tobytes()))
