"""The alerts of users' rules, by hand: the oracle's and the pipeline's."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest

from smartmeter.messages.rules import no_rule
from smartmeter.settings import Settings
from tests.oracle import midnight_ms
from tests.unit.driver import pipeline
from tests.unit.logs import NEW_YORK, START_MS, burst
from tests.unit.outcomes import assert_alerts, judged

MINUTE_MS = 60_000
DAY = 1440
SETTING = Settings().but(max_gap_s=900.0, hold_s=0.0, allowed_lateness_s=0.0, window_days=2, usual_days=2)
"""A meter has a limit and what is usual after two days."""


def hour_of_use(minutes_on):
    """An hour of a fridge in W, of each minute: one reading about every ten minutes, and the first and last of each run and pause."""
    measured = {*range(0, minutes_on, 10), minutes_on - 1, *range(minutes_on, 60, 10), 59}
    return [(100.0 if minute < minutes_on else 1.0) if minute in measured else None for minute in range(60)]


ORDINARY = 48 * hour_of_use(20)
"""Two days of a fridge. Its limit is 1.15 x 100 + 30 W, but for a sketch's 1 %. Its runs last 20 minutes, so it may be over 30 W for
2 x 20 + 20 = 60. The house is silent for 9 minutes, so it may be for 2 x 9 + 60 = 78."""

TWO_DAYS = len(ORDINARY)


def rule(minute=0, meter_id=1, start_ms=START_MS, **fields):
    """A rule from a minute after start_ms on; muted_until likewise in minutes."""
    if "muted_until" in fields:
        fields["muted_until"] = start_ms + round(fields["muted_until"] * MINUTE_MS)
    return no_rule(1, meter_id, start_ms + minute * MINUTE_MS, 0) | fields


def log_of(*meters, start_ms=START_MS, timezone=NEW_YORK):
    """Bursts of 6 h of meters 1, 2, ... with these powers in W, one each minute; None: no reading."""
    bursts = []
    for begin in range(0, max(map(len, meters)), 360):
        within = {
            number: [
                (start_ms + minute * MINUTE_MS, w) for minute, w in enumerate(watts[: begin + 360]) if minute >= begin and w is not None
            ]
            for number, watts in enumerate(meters, 1)
        }
        bursts.append(burst(start_ms + begin * MINUTE_MS, start_ms + (begin + 360) * MINUTE_MS, within, timezone))
    return bursts


def found(bursts, *rules, start_ms=START_MS, setting=SETTING):
    """(kind, meter, first minute, minute of its end) of the oracle's alerts at the end of the topic; the pipeline's must be the same."""
    return [(a.kind, a.meter_id, *((ms - start_ms) / MINUTE_MS for ms in (a.start, a.end))) for a in alerts(bursts, rules, setting)]


def alerts(bursts, rules, setting=SETTING):
    """The oracle's alerts at the end of the topic, by meter, kind and start; the pipeline's must be the same."""
    outcome = judged(bursts, setting, rules)
    results, ended, _ = pipeline(bursts, [1], setting, rules=rules)
    assert_alerts(results, outcome.alerts)
    assert_alerts(ended, outcome.alerts_at_end)
    return sorted(outcome.alerts_at_end.values(), key=lambda a: (a.meter_id, a.kind, a.start))


# A user's own kinds: no history is needed


def test_over_its_own_limit_from_the_first_minute_over_what_the_rule_allows():
    """Minutes 10 to 19 are over 100 W: ten. The upper end of the step of 100 W is 30 x 2 ** (28 / 16) = 100.9 W."""
    bursts = log_of(10 * [1.0] + 10 * [101.0] + 5 * [100.5])
    assert found(bursts, rule(limit_watts=100.0, limit_minutes=9)) == [("limit", 1, 19, 20)]
    assert found(bursts, rule(limit_watts=100.0, limit_minutes=10)) == []
    [alert] = alerts(bursts, [rule(limit_watts=100.0, limit_minutes=0)])
    assert (alert.start, alert.end) == (START_MS + 10 * MINUTE_MS, START_MS + 20 * MINUTE_MS)
    assert (alert.severity, alert.limit_watts, alert.readings, alert.open) == ("warning", 100.0, 0, True)
    assert alert.peak_watts == pytest.approx(30 * 2 ** (29 / 16))
    assert (alert.reason, alert.ends_when) == ("over 100 W for 10 min; its rule allows 0 s", "it falls to 100 W or less")


def test_on_for_longer_than_its_rule_allows():
    bursts = log_of(10 * [30.0] + 70 * [31.4] + 5 * [30.0])
    assert found(bursts, rule(longest_on_minutes=69)) == [("overrun", 1, 79, 80)]
    assert found(bursts, rule(longest_on_minutes=70)) == []
    [alert] = alerts(bursts, [rule(longest_on_minutes=60)])
    assert (alert.start, alert.severity, alert.limit_watts) == (START_MS + 70 * MINUTE_MS, "warning", 30.0)
    assert alert.reason == "on for 1 h 10 min without a pause; its rule allows 1 h"
    assert alert.ends_when == "it pauses, at 30 W or less"


def test_off_for_longer_than_its_rule_allows():
    bursts = log_of(10 * [500.0] + 30 * [30.0] + 5 * [500.0])
    assert found(bursts, rule(longest_off_minutes=29)) == [("idle", 1, 39, 40)]
    assert found(bursts, rule(longest_off_minutes=30)) == []
    [alert] = alerts(bursts, [rule(longest_off_minutes=20)])
    assert (alert.start, alert.severity, alert.limit_watts) == (START_MS + 30 * MINUTE_MS, "warning", 30.0)
    assert (alert.reason, alert.ends_when) == ("off for 30 min; its rule allows 20 min", "it draws more than 30 W")


def test_on_at_a_time_when_it_must_be_off():
    """From 01:00 to 02:00 of the house's clock."""
    bursts = log_of(180 * [500.0])
    assert found(bursts, rule(off_from=60, off_to=120)) == [("schedule", 1, 60, 120)]
    assert found(log_of(60 * [500.0] + 60 * [30.0] + 60 * [500.0]), rule(off_from=60, off_to=120)) == []
    assert found(log_of(119 * [1.0] + [500.0] + 60 * [1.0]), rule(off_from=60, off_to=120)) == [("schedule", 1, 119, 120)]
    [alert] = alerts(bursts, [rule(off_from=60, off_to=120)])
    assert (alert.severity, alert.limit_watts) == ("warning", 30.0)
    assert alert.reason == "on at a time when its rule has it off, for 1 h"
    assert alert.ends_when == "it falls to 30 W or less, or that time is over"


def test_the_time_in_which_it_must_be_off_may_go_over_midnight_or_be_all_day():
    bursts = log_of(2 * DAY * [500.0])
    found_over_midnight = [("schedule", 1, 0, 60), ("schedule", 1, 23 * 60, 25 * 60), ("schedule", 1, 47 * 60, 48 * 60)]
    assert found(bursts, rule(off_from=23 * 60, off_to=60)) == found_over_midnight
    assert found(bursts, rule(off_from=600, off_to=600)) == [("schedule", 1, 0, 2 * DAY)]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (
            date(2011, 3, 13),
            [(90, 150)],
        ),  # 01:30 to 03:30, without the hour from 02:00 to 03:00: one hour, 90 to 150 minutes after midnight
        (date(2011, 11, 6), [(90, 120), (150, 270)]),  # 01:30 to 02:00, and again; then to 03:30, an hour later
    ],
)
def test_the_clock_of_the_house_counts_also_when_it_changes(day, expected):
    start_ms = midnight_ms(ZoneInfo(NEW_YORK), day)
    bursts = log_of(300 * [500.0], start_ms=start_ms)
    spells = [("schedule", 1, *span) for span in expected]
    assert found(bursts, rule(start_ms=start_ms, off_from=90, off_to=210), start_ms=start_ms) == spells


def test_a_rule_that_begins_in_a_run_counts_what_was_before_it_but_for_a_limit():
    """On for 40 minutes from minute 10 on, and the rule from minute 30 on; before it there was no limit to be over."""
    bursts = log_of(10 * [1.0] + 40 * [500.0] + 10 * [1.0])
    begun = rule(30, longest_on_minutes=15, limit_watts=100.0, limit_minutes=15)
    assert found(bursts, begun) == [("limit", 1, 45, 50), ("overrun", 1, 30, 50)]
    assert [a.since for a in alerts(bursts, [begun])] == [START_MS // MINUTE_MS + minute for minute in (30, 10)]
    other = rule(limit_watts=400.0, limit_minutes=20)
    assert found(bursts, other, rule(25, limit_watts=100.0, limit_minutes=18)) == [("limit", 1, 28, 50)]
    assert found(bursts, other, rule(35, limit_watts=600.0)) == [("limit", 1, 30, 35)]


def test_the_limit_stated_is_that_of_the_rule_in_the_first_minute():
    bursts = log_of(30 * [500.0])
    rules = [rule(limit_watts=400.0, limit_minutes=5), rule(20, limit_watts=300.0, limit_minutes=7)]
    [alert] = alerts(bursts, rules)
    assert (alert.start - START_MS, alert.end - START_MS, alert.limit_watts) == (5 * MINUTE_MS, 30 * MINUTE_MS, 400.0)
    assert alert.reason == "over 400 W for 30 min; its rule allows 5 min"


def test_a_rule_withdrawn_or_replaced_holds_no_longer():
    bursts = log_of(60 * [500.0])
    limit = rule(limit_watts=100.0)
    assert found(bursts, limit, rule(20, withdrawn=True, limit_watts=100.0)) == [("limit", 1, 0, 20)]
    assert found(bursts, limit, rule(20)) == [("limit", 1, 0, 20)]
    assert found(bursts, limit, rule(20, withdrawn=True), rule(40, limit_watts=100.0)) == [("limit", 1, 0, 20), ("limit", 1, 40, 60)]
    assert found(bursts, limit, rule()) == [] and found(bursts, rule(), limit) == [("limit", 1, 0, 60)]  # the later message
    assert found(bursts, rule(60, limit_watts=100.0)) == [] and found(bursts, rule(-9000, limit_watts=100.0)) == [("limit", 1, 0, 60)]
    assert found(bursts, limit | {"house_id": 2}, limit | {"meter_id": 2}) == []


def test_own_kinds_are_muted():
    """From the minute that begins at muted_until on, there are alerts again. Sensitivity does not change the rule's own times."""
    bursts = log_of(20 * [500.0] + 40 * [1.0])
    own = {"limit_watts": 100.0, "longest_on_minutes": 8, "longest_off_minutes": 10, "off_from": 0, "off_to": 30, "sensitivity": "low"}
    assert found(bursts, rule(**own, muted_until=10)) == [
        ("idle", 1, 30, 60),
        ("limit", 1, 10, 20),
        ("overrun", 1, 10, 20),
        ("schedule", 1, 10, 20),
    ]
    of_house = rule(meter_id=0, muted_until=40.001)
    assert found(bursts, rule(**own), of_house) == found(bursts, of_house, rule(**own)) == [("idle", 1, 41, 60)]
    assert found(bursts, rule(**own, muted_until=60)) == []


# Sensitivity, mute and what is normal: where something is usual


def spiked(watts, *more):
    """Two ordinary days, and a third whose minutes 5 and 6 have this power."""
    return log_of(ORDINARY + 5 * [100.0] + 2 * [watts] + 13 * [100.0] + 40 * [1.0] + list(more))


def limits(watts, *rules):
    """The limits in W of the alerts of kind level of `spiked`."""
    return [a.limit_watts for a in alerts(spiked(watts), rules) if a.kind == "level"]


def test_sensitivity_changes_a_limit():
    [limit] = limits(300.0)
    assert limit == pytest.approx(145, rel=0.01)
    for sensitivity, factor in (("low", 1.5), ("high", 0.9), ("normal", 1.0)):
        rules = [rule(sensitivity=sensitivity)]
        assert limits(factor * limit + 0.1, *rules) == [factor * limit]
        assert limits(factor * limit - 0.1, *rules) == []
    assert limits(1.4 * limit, rule(TWO_DAYS + 6, sensitivity="low")) == []  # one reading is over its limit, and the next is not
    [alert] = [a for a in alerts(spiked(300.0), [rule(sensitivity="high")]) if a.kind == "level"]
    assert alert.severity == "critical"  # 300 W is 2.3 times 130.5 W


def test_readings_up_to_what_is_normal_are_no_alert():
    [limit] = limits(300.0)
    for kind in ("level", "glitch"):
        normal = [{"kind": kind, "minutes": 0, "watts": 250.0}, {"kind": kind, "minutes": 0, "watts": 280.0}]
        assert limits(280.0, rule(normal=normal)) == []
        assert limits(280.1, rule(normal=normal)) == [280.0]
        assert limits(300.0, rule(normal=[{"kind": kind, "minutes": 500, "watts": 100.0}])) == [limit]
    others = [{"kind": kind, "minutes": 500, "watts": 9000.0} for kind in ("percentile", "run")]
    assert limits(300.0, rule(normal=others)) == [limit]


def test_what_is_normal_of_the_percentile():
    setting = SETTING.but(percentile_watts=50.0)

    def over_percentile(watts, *rules):
        return [a.limit_watts for a in alerts(spiked(watts), rules, setting) if a.kind == "percentile"]

    [limit] = over_percentile(300.0)
    assert limit == pytest.approx(150, rel=0.01)
    assert over_percentile(300.0, rule(sensitivity="low")) == [1.5 * limit]
    normal = [{"kind": "percentile", "minutes": 0, "watts": 290.0}]
    assert over_percentile(300.0, rule(normal=normal)) == [290.0] and over_percentile(290.0, rule(normal=normal)) == []
    assert over_percentile(300.0, rule(normal=[{"kind": "level", "minutes": 0, "watts": 290.0}])) == [limit]


def on_for(minutes):
    """Two ordinary days, and a third that begins with so many minutes on."""
    return log_of(ORDINARY + minutes * [100.0] + 40 * [1.0])


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({}, 60),
        ({"sensitivity": "low"}, 120),
        ({"sensitivity": "high"}, 45),
        ({"normal": [{"kind": "run", "minutes": 7, "watts": 0.0}, {"kind": "run", "minutes": 5, "watts": 9000.0}]}, 67),
        ({"normal": [{"kind": "run", "minutes": 7, "watts": 0.0}], "sensitivity": "high"}, 52),
        ({"normal": [{"kind": "off", "minutes": 500, "watts": 0.0}]}, 60),
    ],
)
def test_sensitivity_and_what_is_normal_change_how_long_a_meter_may_run(fields, allowed):
    rules = [rule(**fields)]
    assert found(on_for(allowed), *rules) == []
    assert found(on_for(allowed + 1), *rules) == [("run", 1, TWO_DAYS + allowed, TWO_DAYS + allowed + 1)]
    [alert] = alerts(on_for(allowed + 1), rules)
    lasted = {61: "1 h 1 min", 121: "2 h 1 min", 46: "46 min", 68: "1 h 8 min", 53: "53 min"}[allowed + 1]
    assert alert.reason == f"over 60 W for {lasted}; it is seldom over it for longer than 20 min"


MAINS = [(210.0 if minute % 20 else 200.0) if minute % 10 == 0 else None for minute in range(2 * DAY)]
"""Two days of mains. They fall to the step of 200 W, up to 202 W, and hold 1.2 kW more in no hour. No two readings are the same, so the same
one may come for 2 x 1 + 60 = 62 minutes."""


@pytest.mark.parametrize(
    ("kind", "ordinary", "watts", "allowed"),
    [
        ("off", [*ORDINARY, 100.0], [1.0, 2.0], {"normal": 140, "low": 280, "high": 105}),  # its pauses last 40 minutes: 2 x 40 + 60
        ("band", ORDINARY + ORDINARY[:DAY], [70.0, 70.1], {"normal": 8, "low": 16, "high": 6}),
        ("hour", MAINS, [1500.0, 1510.0], {"normal": 13, "low": 26, "high": 9}),
        ("standby", MAINS, [400.0, 410.0], {"normal": 1320, "low": 1320, "high": 1320}),
        ("dead", MAINS, [30.0, 31.0], {"normal": 60, "low": 120, "high": 45}),
        ("frozen", MAINS, [300.0, 300.0], {"normal": 62, "low": 124, "high": 46}),
    ],
)
def test_sensitivity_and_what_is_normal_change_how_long_each_kind_may_last(kind, ordinary, watts, allowed):
    def lasting(minutes, **fields):
        back = [100.0, 101.0] if ordinary is not MAINS else [200.0, 210.0]
        fault = [watts[minute % 2] for minute in range(minutes)]
        return [alert for alert in found(log_of(ordinary + fault + 10 * back), rule(**fields)) if alert[0] == kind]

    for sensitivity, most in allowed.items():
        first = len(ordinary) + most
        assert lasting(most, sensitivity=sensitivity) == []
        assert lasting(most + 1, sensitivity=sensitivity) == [(kind, 1, first, first + 1)]
        normal = [{"kind": kind, "minutes": 1, "watts": 0.0}]
        assert lasting(most + 1, sensitivity=sensitivity, normal=normal) == []
        assert lasting(most + 2, sensitivity=sensitivity, normal=normal) == [(kind, 1, first + 1, first + 2)]
    assert lasting(most + 1, sensitivity="high", muted_until=first + 1) == []


def test_times_are_whole_minutes():
    """A fridge that is on for 23 minutes may be for 2 x 23 + 20 = 66, of which high leaves 49.5: 49."""
    ordinary = 48 * hour_of_use(23)
    high = rule(sensitivity="high")
    assert found(log_of(ordinary + 49 * [100.0] + 40 * [1.0]), high) == []
    assert found(log_of(ordinary + 50 * [100.0] + 40 * [1.0]), high) == [("run", 1, TWO_DAYS + 49, TWO_DAYS + 50)]


def test_a_rule_that_begins_in_a_run_counts_from_its_own_minute_on():
    """On for 70 minutes: 60 are allowed; from the minute of the rule on, 45, or 120."""
    assert found(on_for(70), rule(TWO_DAYS + 50, sensitivity="high")) == [("run", 1, TWO_DAYS + 50, TWO_DAYS + 70)]
    assert found(on_for(70), rule(TWO_DAYS + 65, sensitivity="low")) == [("run", 1, TWO_DAYS + 60, TWO_DAYS + 65)]


def test_a_meter_or_its_house_is_muted():
    quiet = found(on_for(70), rule(muted_until=TWO_DAYS + 65))
    assert quiet == found(on_for(70), rule(meter_id=0, muted_until=TWO_DAYS + 65)) == [("run", 1, TWO_DAYS + 65, TWO_DAYS + 70)]
    assert found(on_for(70), rule(muted_until=TWO_DAYS + 69.001)) == []
    assert found(on_for(70), rule(meter_id=0, muted_until=TWO_DAYS + 100), rule()) == []  # a rule of the meter does not undo it
    assert found(on_for(70), rule(meter_id=0, muted_until=TWO_DAYS + 100), rule(1, meter_id=0)) != []
    for meter_id in (0, 1):
        assert limits(300.0, rule(meter_id=meter_id, muted_until=TWO_DAYS + 7)) == []
        assert limits(300.0, rule(meter_id=meter_id, muted_until=TWO_DAYS + 5)) != []


def test_the_rule_of_a_house_holds_for_the_meters_without_their_own():
    low, normal = rule(meter_id=0, sensitivity="low"), rule()
    assert found(on_for(120), low) == [] and found(on_for(121), low) == [("run", 1, TWO_DAYS + 120, TWO_DAYS + 121)]
    assert found(on_for(70), low, normal) == [("run", 1, TWO_DAYS + 60, TWO_DAYS + 70)]
    assert found(on_for(70), low, normal, rule(TWO_DAYS, withdrawn=True)) == []
    two = log_of(ORDINARY + 70 * [100.0] + 40 * [1.0], ORDINARY + 70 * [100.0] + 40 * [1.0])
    assert found(two, low, rule(meter_id=2)) == [("run", 2, TWO_DAYS + 60, TWO_DAYS + 70)]


# Silences


def silent_for(minutes):
    """Two ordinary days of two meters; then the house is silent for so many minutes."""
    watts = ORDINARY + minutes * [None] + 20 * [100.0] + 60 * [1.0]
    return log_of(watts, watts)


@pytest.mark.parametrize(("fields", "allowed"), [({}, 78), ({"sensitivity": "low"}, 156), ({"sensitivity": "high"}, 58)])
def test_sensitivity_changes_how_long_a_house_may_be_silent(fields, allowed):
    """The rule is that of the minute which ends the silence. Of 0.75 x 78 = 58.5 minutes, 58 count."""
    over = [("silent", 0, TWO_DAYS + allowed, TWO_DAYS + allowed + 1)]
    ends_at = TWO_DAYS + allowed + 1
    assert found(silent_for(allowed), rule(meter_id=0, **fields)) == []
    assert found(silent_for(allowed + 1), rule(meter_id=0, **fields)) == over
    assert found(silent_for(allowed + 1), rule(ends_at, meter_id=0, **fields)) == over
    assert found(silent_for(allowed + 1), rule(meter_id=1, sensitivity="low"), rule(meter_id=0, **fields)) == over
    [alert] = alerts(silent_for(allowed + 1), [rule(meter_id=0, **fields)])
    lasted = {79: "1 h 19 min", 157: "2 h 37 min", 59: "59 min"}[allowed + 1]
    assert alert.reason == f"no reading for {lasted}; it is seldom silent for longer than 9 min"


@pytest.mark.parametrize("muted_until, begins", [(78, 78), (79, 79), (89, 89), (90, None), (91, None)])
def test_a_muted_part_of_a_houses_silence_is_no_alert(muted_until, begins):
    """The silence of 90 minutes ends with minute 90 of the third day; after minute 78 it is too long."""
    expected = [] if begins is None else [("silent", 0, TWO_DAYS + begins, TWO_DAYS + 90)]
    assert found(silent_for(90), rule(meter_id=0, muted_until=TWO_DAYS + muted_until)) == expected


def test_a_muted_meter_mutes_no_silence_of_its_house():
    assert found(silent_for(90), rule(meter_id=1, muted_until=TWO_DAYS + 91)) == [("silent", 0, TWO_DAYS + 78, TWO_DAYS + 90)]


def test_the_silence_of_a_meter_in_a_house_that_is_not():
    """Meter 2 is silent from the third day on. It never was while meter 1 was not, so it may be for 60 minutes, with low for 120."""
    bursts = log_of(ORDINARY + 180 * [1.0], ORDINARY)

    def silences(*rules):
        return [alert for alert in found(bursts, *rules) if alert[0] == "silent"]

    assert silences() == [("silent", 2, TWO_DAYS + 60, TWO_DAYS + 180)]
    assert silences(rule(meter_id=0, sensitivity="low")) == [("silent", 2, TWO_DAYS + 120, TWO_DAYS + 180)]
    normal = [{"kind": "silent", "minutes": 5, "watts": 0.0}]
    assert silences(rule(meter_id=2, normal=normal)) == [("silent", 2, TWO_DAYS + 65, TWO_DAYS + 180)]
    assert silences(rule(meter_id=2, muted_until=TWO_DAYS + 100)) == [("silent", 2, TWO_DAYS + 100, TWO_DAYS + 180)]


def test_a_house_with_rules_whose_first_burst_has_no_readings():
    rules = [no_rule(1, 1, START_MS - 86_400_000, 0) | {"limit_watts": 100.0, "limit_minutes": 5}]
    bursts = [burst(START_MS, START_MS + 60_000, {1: []}), burst(START_MS + 60_000, START_MS + 120_000, {1: [(START_MS + 60_000, 9.0)]})]
    _, ended, keyed = pipeline(bursts, [1], Settings(), rules=rules)
    assert not ended.last("dead_letter") and keyed.counted["readings_used"] == 1
