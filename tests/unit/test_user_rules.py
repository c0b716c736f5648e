"""Which rule of a user holds, and what it makes of limits: by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.core.cells import HOUSE, code_of
from jobs.core.state_version import StateFault
from jobs.core.user_rules import LEAST_LIMITS, LIMITS, NO_USER_RULES, NONE, PERCENTILE, SPIKE, TIMES, USER_RULE, UserRules, no_rules
from smartmeter.messages.rules import OF_DURATION, SENSITIVITIES, no_rule
from smartmeter.settings import MINUTE_MS


def rule(meter_id: int, from_minute: int, **fields):
    return no_rule(7, meter_id, from_minute * MINUTE_MS, 0) | fields


def normal(kind: str, minutes: int = 0, watts: float = 0.0):
    return {"kind": kind, "minutes": minutes, "watts": watts}


def at(rules: UserRules, minute: int, *meter_ids: int):
    return rules.at(np.array(meter_ids, np.int32), minute)


RULES = UserRules.of(
    [
        rule(2, 100, sensitivity="high", longest_on_minutes=30),
        rule(HOUSE, 50, sensitivity="low", muted_until=70 * MINUTE_MS),
        rule(2, 200, withdrawn=True, sensitivity="high"),
        rule(2, 300, limit_watts=2000.0, limit_minutes=4, off_from=1380, off_to=0, muted_until=310 * MINUTE_MS - 1),
    ]
)


@pytest.mark.parametrize(
    "minute, meter_id, times, limits, on_minutes",
    [
        (49, 1, 1, 1, NONE),
        (50, 1, 2, 1.5, NONE),
        (99, 2, 2, 1.5, NONE),
        (100, 2, 0.75, 0.9, 30),
        (199, 2, 0.75, 0.9, 30),
        (200, 2, 2, 1.5, NONE),
        (300, 2, 1, 1, NONE),
        (300, 1, 2, 1.5, NONE),
        (50, HOUSE, 2, 1.5, NONE),
    ],
)
def test_a_meters_own_rule_holds_and_else_that_of_its_house(minute, meter_id, times, limits, on_minutes):
    [row] = at(RULES, minute, meter_id)
    assert (row["meter_id"], row["times"], row["limits"], row["on_minutes"]) == (meter_id, times, limits, on_minutes)


def test_a_muted_house_mutes_its_meters_and_a_part_of_a_minute_is_muted():
    assert at(RULES, 60, HOUSE, 1, 2)["muted_until"].tolist() == [70, 70, 70]
    assert at(RULES, 300, 1, 2)["muted_until"].tolist() == [70, 310]
    assert at(RULES, 49, 1)["muted_until"] < 0


def test_all_fields_of_a_rule():
    [row] = at(RULES, 400, 2)
    assert (row["limit"], row["limit_watts"], row["limit_minutes"]) == (code_of(np.array(2000.0)), 2000, 4)
    assert (row["off_from"], row["off_to"], row["off_minutes"], row["on_minutes"]) == (1380, 0, NONE, NONE)
    [row] = at(UserRules.of([rule(1, 0, normal=[normal("run", 40), normal("run", 90), normal("off", 5), normal("glitch", 9, 80.0)])]), 0, 1)
    assert dict(zip(OF_DURATION, row["extra"].tolist())) == dict.fromkeys(OF_DURATION, 0) | {"run": 90, "off": 5}
    assert row["raised_watts"].tolist() == [80, 0]


def test_without_a_rule_nothing_changes():
    assert at(NO_USER_RULES, 5, 1, 2).tobytes() == no_rules(np.array([1, 2])).tobytes()
    limits = np.array([50.0, np.inf])
    assert NO_USER_RULES.limits(SPIKE, limits, np.array([1, 2]), np.array([0, 1])) is limits
    assert NO_USER_RULES.least_limits == 1


def test_spans_within_which_the_same_rules_hold():
    assert list(RULES.spans(0, 1000)) == [(0, 50), (50, 100), (100, 200), (200, 300), (300, 1000)]
    assert list(RULES.spans(50, 100)) == [(50, 100)]


def test_limits_at_the_time_of_each_reading():
    """Minute 99 and before: low, times 1.5; from minute 100 on high, times 0.9; from 300 on muted to the end of minute 309."""
    times_ms = np.array([99 * MINUTE_MS + 59_999, 100 * MINUTE_MS, 69 * MINUTE_MS, 309 * MINUTE_MS, 310 * MINUTE_MS])
    found = RULES.limits(SPIKE, np.full(5, 1000.0), np.full(5, 2, np.int32), times_ms)
    assert found.tolist() == [1500, 900, np.inf, np.inf, 1000]


def test_what_is_normal_raises_the_limit_of_its_kind():
    rules = UserRules.of([rule(1, 0, normal=[normal("level", watts=3000.0), normal("percentile", watts=1700.0)])])
    limits, meters, times_ms = np.array([2000.0, 4000.0, 2000.0]), np.array([1, 1, 2], np.int32), np.array([1, 2, 3])
    assert rules.limits(SPIKE, limits, meters, times_ms).tolist() == [3000, 4000, 2000]
    assert rules.limits(PERCENTILE, limits, meters, times_ms).tolist() == [2000, 4000, 2000]


def test_no_limit_is_lower_than_what_is_carried_for():
    assert LEAST_LIMITS == min(LIMITS.values()) == 0.9 and LIMITS.keys() == TIMES.keys() == set(SENSITIVITIES)
    assert RULES.least_limits == 0.9
    low = UserRules.of([rule(1, 0, sensitivity="low")])
    assert low.least_limits == 1, "that of the house's other meters"


def test_the_first_minute_that_is_judged_differently():
    fewer = UserRules(RULES.rows[:-1])
    assert RULES.first_difference(fewer) == fewer.first_difference(RULES) == 300
    assert RULES.first_difference(UserRules.from_bytes(RULES.to_bytes())) is None
    assert RULES.first_difference(NO_USER_RULES) == 50


def test_state():
    kept = UserRules.from_bytes(RULES.to_bytes())
    assert kept.rows.tobytes() == RULES.rows.tobytes() and USER_RULE.itemsize == 106
    assert UserRules.from_bytes(None).to_bytes() == b"" == NO_USER_RULES.to_bytes()
    with pytest.raises(StateFault, match="a checkpoint of state version 9"):
        UserRules.from_bytes(b"\x09")
