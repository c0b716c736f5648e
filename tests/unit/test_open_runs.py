"""Open runs of a meter, minute by minute."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.core.cells import HOUSE, code_of, watts_of
from jobs.core.open_runs import (
    HELD_MINUTES,
    LAST,
    LEVEL_WATTS,
    LEVELS,
    NONE,
    OFF,
    REST,
    SAME,
    SEEN,
    Rule,
    advance,
    goes_on,
    held_rest,
    lasted,
    level_code,
    no_runs,
    rests,
    seen_by,
    silence,
    since,
)
from smartmeter.settings import Settings
from tests.unit.minute_cells import cells_of, cells_of_day

OFF_CODE = int(code_of(np.array(30.0)))
MOST_MISSING = 2


def code(watts: float) -> int:
    return int(code_of(np.array(watts)))


def runs_after(minutes: dict) -> np.ndarray:
    """The open runs of meter 7 after {minute: watts, or (lowest, highest)}, all of them of one day; other meters of the house are silent."""
    cells = cells_of_day(cells_of({7: minutes}), 0, [HOUSE, 7])
    [runs], seen = no_runs(1), seen_by(cells[HOUSE], 0)
    for minute in minutes:
        advance(runs, cells[1, minute], minute, seen[minute], 0, MOST_MISSING, OFF_CODE)
    return runs


def test_the_settings_give_the_rule():
    assert Rule.of(Settings()) == Rule(16, code(30))
    assert Rule.of(Settings().but(max_gap_s=119.0, on_watts=60.0)) == Rule(1, code(60))


def test_the_levels_double_from_30_w_to_31_kw():
    assert [watts_of(level_code(level)) for level in range(LEVELS)] == list(LEVEL_WATTS) == [30 * 2**level for level in range(11)]


def test_a_run_over_a_level_holds_while_the_lowest_reading_is_over_it():
    runs = runs_after({10: 100.0, 11: 130.0, 12: (61.0, 130.0), 13: (59.0, 130.0)})
    assert runs[:LEVELS].tolist() == [10, NONE, *[NONE] * 9]
    runs = runs_after({10: 100.0, 11: 130.0, 12: 130.0})
    assert runs[:LEVELS].tolist() == [10, 10, 11, *[NONE] * 8]
    assert runs_after({10: 30.0})[0] == NONE


def test_a_run_goes_on_over_as_many_missing_minutes_as_a_reading_holds():
    assert runs_after({10: 100.0, 13: 100.0})[0] == 10
    assert runs_after({10: 100.0, 14: 100.0})[0] == 14


def test_a_meter_is_off_while_its_highest_reading_is_no_higher_than_that_of_one_that_is_off():
    assert runs_after({10: 100.0, 11: 30.0, 12: 0.0})[OFF] == 11
    assert runs_after({10: 0.0, 11: (0.0, 33.0)})[OFF] == NONE


@pytest.mark.parametrize(
    "minutes, begun",
    [
        ({10: 90.0, 11: 95.0, 12: 95.0}, 11),
        ({10: 95.0, 11: (95.0, 95.5), 12: 95.0}, 12),
        ({10: 95.0, 12: 95.0}, 10),
        ({10: 95.0, 14: 95.0}, 14),
        ({10: 95.0, 11: 96.0, 12: 95.0}, 12),
        ({10: 20.0, 11: 20.0}, NONE),  # off
    ],
)
def test_a_meter_is_at_one_power_while_its_readings_are_equal_and_over_that_of_one_that_is_off(minutes, begun):
    assert runs_after(minutes)[SAME] == begun


def test_it_knows_the_last_minute_and_how_many_the_house_had():
    runs = runs_after({10: 100.0, 13: 100.0})
    assert (runs[LAST], runs[SEEN]) == (13, 2)
    assert goes_on(runs, 16, MOST_MISSING) and not goes_on(runs, 17, MOST_MISSING)
    assert not goes_on(no_runs(1)[0], 17, MOST_MISSING)


def test_a_silence_counts_the_minutes_in_which_the_house_had_readings():
    block = cells_of({7: {10: 1.0, 20: 1.0}, 8: {9: 1.0, 12: 1.0, 13: 1.0, 15: 1.0}}).block(0)
    seen = seen_by(block.cells[HOUSE], 100)
    assert [seen[minute] for minute in (8, 9, 10, 12, 13, 15, 19, 20)] == [100, 101, 102, 103, 104, 105, 105, 106]
    runs = no_runs(1)[0]
    assert silence(runs, 20, 106) == silence(runs, 20, -1) == 0, "none, before the first reading"
    advance(runs, block.cells[1, 10], 10, seen[10], 0, MOST_MISSING, OFF_CODE)
    assert silence(runs, 20, seen[20]) == 3
    assert silence(runs, 20, -1) == 9, "of the house itself: all minutes"


def test_the_rest_is_what_no_other_meter_measures():
    # The mains, an oven that was last seen the evening before, and a plug that is silent for a while.
    evening, morning = 1430, 1440 + 1429
    cells = cells_of({1: dict.fromkeys((evening, morning, morning + 1, 1440 + 5), 1000.0), 2: {evening: 400.0}, 3: {evening: 90.0}})
    [first, second] = (cells_of_day(cells, day, [HOUSE, 1, 2, 3]) for day in (0, 1))
    none, seen = np.full(4, NONE, np.int32), np.array([evening] * 4, np.int32)
    at_evening = rests(first, none, 0)[:, evening].tolist()
    left = watts_of(code(1000)) - watts_of(code(400)) - watts_of(code(90))
    assert at_evening == [0, code(left), 1, 1]
    alone = rests(second, seen, 1440)[1]
    assert alone[5] == 0, "the oven had a reading less than a day ago, and has none now"
    assert (alone[1429], alone[1430]) == (0, code(1000)), "a day after its last reading an oven does not count any more"


def test_a_rest_is_held_for_some_minutes_on_end():
    runs, codes = no_runs(1)[0], [50, 90, 80, 95, 85, 99, 40]
    [cell] = np.array([(9, 9, 0)], cells_of({7: {0: 1.0}}).block(0).cells.dtype)
    held = []
    for minute, rest in enumerate(codes):
        held.append(int(held_rest(runs, rest, minute > 0)))
        advance(runs, cell, minute, minute, rest, MOST_MISSING, OFF_CODE)
    assert HELD_MINUTES == 5 and held == [0, 0, 0, 0, 50, 80, 40]
    advance(runs, cell, 50, 8, 77, MOST_MISSING, OFF_CODE)
    assert runs[REST : REST + HELD_MINUTES - 1].tolist() == [77, 0, 0, 0], "a pause ends it"


def test_a_run_lasts_from_its_first_minute():
    assert [since(*case) for case in ((5, True, True, 9), (5, True, False, 9), (NONE, True, True, 9), (5, False, True, 9))] == [
        5,
        9,
        9,
        NONE,
    ]
    assert (lasted(5, 9), lasted(9, 9), lasted(NONE, 9)) == (5, 1, 0)
