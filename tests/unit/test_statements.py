"""What an alert states: severity, reason and end, from values worked out by hand."""

import doctest

import numpy as np
import pytest

from jobs.core import statements
from jobs.core.cells import code_of, watts_of
from jobs.core.episodes import EPISODE
from jobs.core.spells import KINDS, SPELL
from jobs.core.statements import SEVERITY, Level, Percentile, apart, duration, of_spell


def episode(peak_watts: float, limit_watts: float, lasted_s: float = 0):
    row = np.zeros(1, EPISODE)
    row["start_ms"], row["end_ms"] = 5000, 5000 + round(1000 * lasted_s)
    row["peak_watts"], row["limit_watts"] = peak_watts, limit_watts
    return row[0]


def test_a_new_episode_states_its_power_its_limit_and_what_ends_it():
    assert Level(60_000).statement(episode(1431, 1310)) == {
        "kind": "level",
        "severity": "warning",
        "reason": "1,431 W, over its limit of 1,310 W",
        "ends_when": "it falls to 1,310 W or less for 60 s",
    }


@pytest.mark.parametrize(
    "hold_ms, words",
    [(0, "it falls to 100 W or less"), (1500, "it falls to 100 W or less for 1.5 s"), (600_000, "it falls to 100 W or less for 600 s")],
)
def test_the_end_names_the_hold_if_there_is_one(hold_ms, words):
    assert Level(hold_ms).statement(episode(150, 100))["ends_when"] == words


@pytest.mark.parametrize(
    "peak, lasted_s, severity",
    [(199.9, 0, "warning"), (200, 0, "critical"), (101, 3599.999, "warning"), (101, 3600, "critical"), (5000, 7200, "critical")],
)
def test_twice_the_limit_or_an_hour_is_critical(peak, lasted_s, severity):
    assert Level(0).statement(episode(peak, 100, lasted_s))["severity"] == severity


def test_over_a_percentile():
    row = episode(1600, 1450, 90)
    row["percentile_watts"] = 450
    assert Percentile(60_000).statement(row) == {
        "kind": "percentile",
        "severity": "warning",
        "reason": "1,600 W, over its limit of 1,450 W, for 1 min 30 s; its percentile is 450 W",
        "ends_when": "it falls to 1,450 W or less for 60 s",
    }
    row["end_ms"] = row["start_ms"] + 999
    assert Percentile(0).statement(row)["reason"] == "1,600 W, over its limit of 1,450 W; its percentile is 450 W"
    assert Percentile(0).statement(row)["ends_when"] == "it falls to 1,450 W or less"


def test_the_reason_states_how_long_it_has_lasted():
    assert Level(0).statement(episode(150, 100, 0.999))["reason"] == "150 W, over its limit of 100 W"
    assert Level(0).statement(episode(150, 100, 4320))["reason"] == "150 W, over its limit of 100 W, for 1 h 12 min"


def test_a_limit_that_is_passed_by_little_is_shown_with_the_decimals_that_show_it():
    assert apart(1431.4, 1310.2) == ("1,431", "1,310")
    assert apart(30.4, 30.1) == ("30.4", "30.1")
    assert apart(30.24, 30.18) == ("30.24", "30.18")
    assert apart(30.0001, 30.0) == ("30.000", "30.000")


def test_a_duration_is_cut_off_to_its_two_largest_units():
    found = [duration(ms) for ms in (999, 1000, 59_999, 60_000, 61_000, 3_599_999, 3_600_000, 3_660_000, 90_000_000)]
    assert found == ["0 s", "1 s", "59 s", "1 min", "1 min 1 s", "59 min 59 s", "1 h", "1 h 1 min", "25 h"]


@pytest.mark.parametrize(
    "kind, severity, reason, ends_when",
    [
        ("run", "warning", "over 60 W for 1 h 30 min; it is seldom over it for longer than 20 min", "it pauses, at 60 W or less"),
        ("band", "warning", "at a power that it seldom draws, for 1 h 30 min", "it draws a power that is usual, or pauses"),
        ("off", "warning", "off for 1 h 30 min; it is seldom off for longer than 20 min", "it draws more than 60 W"),
        (
            "hour",
            "warning",
            "over 60 W beside its other meters for 1 h 30 min: not at this hour",
            "what no other meter measures falls to 60 W or less",
        ),
        ("standby", "info", "over 60 W for 1 h 30 min, without falling to its standby", "it falls to 60 W or less"),
        ("dead", "critical", "under 60 W for 1 h 30 min: the house always draws more", "it draws more than 60 W"),
        ("frozen", "warning", "the same reading for 1 h 30 min; that seldom lasts longer than 20 min", "a reading differs"),
        ("silent", "warning", "no reading for 1 h 30 min; it is seldom silent for longer than 20 min", "it sends a reading"),
    ],
)
def test_an_alert_of_duration_states_how_long_its_condition_has_held(kind, severity, reason, ends_when):
    row = np.zeros(1, SPELL)
    row["kind"], row["since"], row["start"], row["last"], row["usual"] = KINDS.index(kind), 100, 150, 189, 20
    row["limit"] = code_of(np.array(60.0))
    assert of_spell(row[0], watts_of(int(row[0]["limit"]))) == {
        "kind": kind,
        "severity": severity,
        "reason": reason,
        "ends_when": ends_when,
    }


def test_every_kind_has_a_severity():
    assert SEVERITY.keys() == set(KINDS)


def test_the_examples_are_right():
    assert doctest.testmod(statements) == (0, 2)
