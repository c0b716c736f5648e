"""Rules of users in words, which of them holds at a time, and what "This is normal" changes, by hand."""

from __future__ import annotations

from datetime import date, time
from zoneinfo import ZoneInfo

import pytest

from dashboard import meter_rules
from dashboard.meter_rules import entered, from_then, holding, in_force, next_from, own_rule, proposed, sentences, wall_clock, with_normal
from smartmeter.messages.records import RuleRecord
from smartmeter.messages.rules import fault_of, no_rule

LONDON = ZoneInfo("Europe/London")
NOON = 1_792_929_600_000  # 2026-10-25 12:00 UTC, and in London
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def rule(meter_id: int = 3, valid_from: int = NOON, **changed: object) -> RuleRecord:
    return {**no_rule(1, meter_id, valid_from, 5), **changed}  # type: ignore[typeddict-item]


# Which one holds

OF_HOUSE = rule(0, NOON - HOUR, sensitivity="low", muted_until=NOON + DAY)
FIRST = rule(3, NOON - HOUR, limit_watts=500.0)
SECOND = rule(3, NOON, sensitivity="high")
WITHDRAWN = rule(3, NOON + HOUR, withdrawn=True)
RECORDS = [OF_HOUSE, FIRST, SECOND, WITHDRAWN]
BY_HOUSE = rule(3, NOON - HOUR, sensitivity="low")


@pytest.mark.parametrize(
    "meter_id, at_ms, found",
    [
        (3, NOON - HOUR - 1, None),
        (3, NOON - HOUR, FIRST),
        (3, NOON - 1, FIRST),
        (3, NOON, SECOND),
        (3, NOON + HOUR - 1, SECOND),
        (3, NOON + HOUR, BY_HOUSE),
        (4, NOON, BY_HOUSE | {"meter_id": 4}),
        (4, NOON - HOUR - 1, None),
        (0, NOON, OF_HOUSE),
        (0, NOON - HOUR - 1, None),
    ],
)
def test_a_meter_has_its_own_rule_else_the_sensitivity_of_its_house(meter_id, at_ms, found):
    for records in (RECORDS, RECORDS[::-1], iter(RECORDS)):
        assert in_force(records, meter_id, at_ms) == found


def test_a_withdrawn_rule_is_none():
    assert own_rule(RECORDS, 3, NOON) == SECOND
    assert own_rule(RECORDS, 3, NOON + HOUR) is None and own_rule(RECORDS, 4, NOON) is None


def test_a_rule_holds_until_the_next_one_of_its_meter_or_its_withdrawal():
    assert [next_from(RECORDS, 3, at_ms) for at_ms in (NOON - 1, NOON, NOON + HOUR)] == [NOON, NOON + HOUR, None]
    assert next_from(RECORDS, 4, NOON) is None


def test_of_two_of_the_same_time_the_later_message_holds():
    again = rule(3, NOON, sensitivity="low", written=4)
    assert own_rule([SECOND, again], 3, NOON) == again
    assert own_rule([again, SECOND], 3, NOON) == SECOND
    assert own_rule([SECOND, again | {"withdrawn": True}], 3, NOON) is None


@pytest.mark.parametrize(
    "meter_id, at_ms, found",
    [
        (3, NOON, [meter_rules.SENSITIVE["high"], "By the rule of the whole house: No alerts until 2026-10-26 12:00."]),
        (
            4,
            NOON,
            [
                "There is no rule.",
                f"By the rule of the whole house: {meter_rules.SENSITIVE['low']}",
                "By the rule of the whole house: No alerts until 2026-10-26 12:00.",
            ],
        ),
        (4, NOON + DAY, ["There is no rule.", f"By the rule of the whole house: {meter_rules.SENSITIVE['low']}"]),
        (0, NOON, [meter_rules.SENSITIVE["low"], "No alerts until 2026-10-26 12:00."]),
        (3, NOON - DAY, ["There is no rule."]),
    ],
)
def test_what_holds_by_the_meters_rule_and_by_that_of_its_house(meter_id, at_ms, found):
    assert holding(RECORDS, meter_id, at_ms, LONDON) == found


# From when on


@pytest.mark.parametrize(
    "now_ms, valid_from",
    [(NOON, NOON + 2 * MINUTE), (NOON + 1, NOON + 3 * MINUTE), (NOON + MINUTE - 1, NOON + 3 * MINUTE), (NOON + MINUTE, NOON + 3 * MINUTE)],
)
def test_a_live_house_has_two_full_minutes(now_ms, valid_from):
    for newest_ms in (None, now_ms, now_ms - 15 * MINUTE, now_ms + HOUR):
        assert proposed(newest_ms, now_ms) == valid_from and meter_rules.is_live(newest_ms, now_ms)


def test_a_house_that_is_not_live_goes_on_after_its_newest_reading():
    assert proposed(NOON, NOON + 15 * MINUTE + 1) == NOON and not meter_rules.is_live(NOON, NOON + 15 * MINUTE + 1)
    assert proposed(NOON + 1, NOON + 9 * DAY) == NOON + MINUTE


# This is normal


def alert(kind: str, duration_s: float = 1200, peak_watts: float = 3000.5, meter_id: int = 3) -> dict[str, object]:
    return {"alert_kind": kind, "duration_s": duration_s, "peak_watts": peak_watts, "meter_id": meter_id}


def normal(kind: str, minutes: int, watts: float) -> dict[str, object]:
    return {"kind": kind, "minutes": minutes, "watts": watts}


@pytest.mark.parametrize(
    "before, of, after",
    [
        ([], alert("level"), [normal("level", 0, 3000.5)]),
        ([], alert("glitch"), [normal("level", 0, 3000.5)]),
        ([], alert("percentile"), [normal("percentile", 0, 3000.5)]),
        ([], alert("level", peak_watts=2e9), [normal("level", 0, 1e9)]),
        ([normal("level", 0, 4000.0)], alert("level"), [normal("level", 0, 4000.0)]),
        ([normal("level", 0, 2000.0)], alert("level"), [normal("level", 0, 3000.5)]),
        ([normal("percentile", 0, 4000.0)], alert("level"), [normal("percentile", 0, 4000.0), normal("level", 0, 3000.5)]),
        ([], alert("run"), [normal("run", 20, 0)]),
        ([], alert("off", 1201), [normal("off", 21, 0)]),
        ([normal("run", 15, 0.0), normal("off", 5, 0.0)], alert("run"), [normal("run", 35, 0), normal("off", 5, 0)]),
        ([normal("run", 40_000, 0.0)], alert("run", 86_400), [normal("run", 40_320, 0)]),
        ([normal("run", 15, 0.0), normal("run", 5, 7.0)], alert("run"), [normal("run", 35, 7.0)]),  # of two, the larger figures count
    ],
)
def test_an_alert_adds_to_what_is_normal(before, of, after):
    rule_before = rule(limit_watts=500.0, normal=before)
    assert with_normal(rule_before, of) == rule(limit_watts=500.0, normal=after)
    assert rule_before["normal"] == before and fault_of(with_normal(rule_before, of)) is None


def test_which_alerts_can_be_normal():
    kinds = ("level", "glitch", "percentile", "run", "silent", "limit", "overrun", "idle", "schedule", "new")
    assert [kind for kind in kinds if meter_rules.can_be_normal(alert(kind))] == ["level", "glitch", "percentile", "run", "silent"]
    assert not meter_rules.can_be_normal(alert("silent", meter_id=0))  # a rule of a house has nothing normal


def test_a_rule_goes_on_under_another_time():
    muted = rule(limit_watts=500.0, muted_until=NOON + HOUR)
    assert from_then(muted, NOON + MINUTE, "eve", 9) == muted | {"valid_from": NOON + MINUTE, "author": "eve", "written": 9}
    assert from_then(muted, NOON + HOUR, "eve", 9)["muted_until"] is None


# In words


def test_each_field_has_its_sentence():
    of_all = rule(
        sensitivity="low",
        limit_watts=2000.5,
        limit_minutes=10,
        longest_on_minutes=240,
        longest_off_minutes=90,
        off_from=1320,
        off_to=365,
        muted_until=NOON,
        normal=[normal("level", 0, 3500.0), normal("run", 40, 0.0)],
    )
    assert sentences(of_all, ZoneInfo("America/New_York")) == [
        "Low sensitivity: limits are 1.5 times as high, and times twice as long.",
        "An alert when it is over 2,000.5 W for longer than 10 min.",
        "An alert when it is on, over 30 W, for longer than 4 h without a pause.",
        "An alert when it is off for longer than 1 h 30 min.",
        "An alert when it is on between 22:00 and 06:05.",
        "No alerts until 2026-10-25 08:00.",
        "Normal: readings up to 3,500 W (level).",
        "Normal: 40 min more than otherwise (run).",
    ]


def test_rules_that_do_nothing_and_no_rule():
    assert sentences(rule(), LONDON) == ["It changes nothing."]
    assert sentences(None, LONDON) == sentences(rule(withdrawn=True, limit_watts=5.0), LONDON) == ["There is no rule."]
    assert sentences(rule(limit_watts=800.0), LONDON) == ["An alert when it is over 800 W for a minute."]


@pytest.mark.parametrize(
    "changed, field, sentence",
    [
        ({"limit_watts": 0.0}, "limit_watts", "Give W, more than 0 and at most 1,000,000,000."),
        ({"limit_minutes": -1}, "limit_minutes", "Give 0 to 40,320 minutes."),
        ({"longest_on_minutes": 0}, "longest_on_minutes", "Give 1 to 40,320 minutes."),
        ({"longest_off_minutes": 40_321}, "longest_off_minutes", "Give 1 to 40,320 minutes."),
        ({"off_from": 5}, "off_from and off_to", "Give both times, or none."),
        ({"muted_until": NOON}, "muted_until", "Give a time after “valid from”."),
        ({"house_id": -1}, "", "house and meter: give numbers from 0"),
    ],
)
def test_what_is_wrong_is_stated_for_the_field_of_the_form(changed, field, sentence):
    fault = fault_of(rule(**changed))
    assert fault is not None and meter_rules.fault_in_words(fault) == (field, sentence)


# The house's clock

TWICE = NOON - 10 * HOUR - 30 * MINUTE  # 01:30 in London for the second time on that day


def test_times_are_entered_by_the_houses_clock():
    assert wall_clock(NOON + 59_999, LONDON).isoformat() == "2026-10-25T12:00:00"
    assert entered(date(2026, 10, 25), time(12, 1), NOON, LONDON) == NOON + MINUTE
    assert entered(date(2026, 6, 1), time(12), None, LONDON) == 1_780_311_600_000  # 11:00 UTC
    assert meter_rules.minute_of(None) is None and meter_rules.minute_of(meter_rules.clock_of(1439)) == 1439


def test_a_time_that_the_clock_shows_twice_is_the_first_unless_the_second_was_offered():
    assert wall_clock(TWICE, LONDON) == wall_clock(TWICE - HOUR, LONDON)
    assert entered(date(2026, 10, 25), time(1, 30), NOON, LONDON) == TWICE - HOUR
    assert entered(date(2026, 10, 25), time(1, 30), TWICE, LONDON) == TWICE
