"""What a rule of a user may say."""

from __future__ import annotations

import pytest

from jobs.core.spells import KINDS
from smartmeter.messages.rules import HOUSE, OF_DURATION, OF_LEVEL, fault_of, no_rule

RULE = no_rule(1, 2, 60_000, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sensitivity": "high", "limit_watts": 2000.0, "limit_minutes": 0, "longest_on_minutes": 1, "longest_off_minutes": 40_320},
        {"off_from": 1380, "off_to": 0},
        {"off_from": 0, "off_to": 0},
        {"muted_until": 60_001},
        {"normal": [{"kind": kind, "minutes": 5, "watts": 0.0} for kind in OF_LEVEL + OF_DURATION]},
        {"meter_id": HOUSE, "sensitivity": "low", "muted_until": 120_000, "author": "ann@example.org"},
        {"withdrawn": True, "sensitivity": ""},
    ],
)
def test_good_rules(fields):
    assert fault_of(RULE | fields) is None


@pytest.mark.parametrize(
    "fields, fault",
    [
        ({"house_id": -1}, "house and meter: give numbers from 0"),
        ({"valid_from": 60_001}, "valid_from: give the start of a minute"),
        ({"valid_from": 60_001, "withdrawn": True}, "valid_from: give the start of a minute"),
        ({"sensitivity": "loud"}, "sensitivity: give low, normal, high"),
        ({"limit_watts": 0.0}, "limit_watts: give W, more than 0 and at most 1,000,000,000"),
        ({"limit_watts": float("nan")}, "limit_watts: give W, more than 0 and at most 1,000,000,000"),
        ({"limit_minutes": -1}, "limit_minutes: give 0 to 40,320"),
        ({"longest_on_minutes": 0}, "longest_on_minutes: give 1 to 40,320"),
        ({"longest_off_minutes": 40_321}, "longest_off_minutes: give 1 to 40,320"),
        ({"off_from": 5}, "off_from and off_to: give both, in minutes of the day, 0 to 1439"),
        ({"off_from": 5, "off_to": 1440}, "off_from and off_to: give both, in minutes of the day, 0 to 1439"),
        ({"muted_until": 60_000}, "muted_until: give a time after valid_from"),
        ({"normal": [{"kind": "limit", "minutes": 5, "watts": 0.0}]}, f"normal: give kinds of {', '.join(OF_LEVEL + OF_DURATION)}"),
        ({"normal": [{"kind": "run", "minutes": -5, "watts": 0.0}]}, "normal: give 0 to 40,320 minutes, and W from 0 to 1,000,000,000"),
        ({"normal": [{"kind": "run", "minutes": 5, "watts": 0.0}] * 12}, "normal: give 11 kinds at most"),
        ({"meter_id": HOUSE, "limit_watts": 5.0}, "a rule of a house takes a sensitivity and muted_until alone"),
    ],
)
def test_faulty_rules(fields, fault):
    assert fault_of(RULE | fields) == fault


def test_the_kinds_that_can_be_normal_are_those_that_need_something_usual():
    assert KINDS[: len(OF_DURATION)] == OF_DURATION and KINDS[len(OF_DURATION) :] == ("limit", "overrun", "idle", "schedule")
