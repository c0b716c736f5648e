"""What a route has to deliver of alerts, and when: states worked out by hand, with a clock that is passed in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from notify.addresses import Address
from notify.alerts import COLLECTED_S, FLOOD_S, MOST_IN_DIGEST, Ages, Desk, Entry
from notify.routes import QuietHours, Route

NOON = round(datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp() * 1000)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SOON = NOON + round(1000 * COLLECTED_S)
ROUTE = Route("mail", Address("ntfy://host/topic"))


def alert(meter_id=1, *, revision=1, end=NOON, is_open=True, severity="warning", retracted=False, house_id=7, kind="level"):
    return {
        "alert_id": f"{house_id}/{meter_id}/0",
        "house_id": house_id,
        "meter_id": meter_id,
        "date": 0,
        "start": 0,
        "end": end,
        "open": is_open and not retracted,
        "retracted": retracted,
        "readings": 1,
        "peak_watts": 1431.0,
        "percentile_watts": 1.0,
        "limit_watts": 1310.0,
        "excess_kwh": 0.0,
        "revision": revision,
        "kind": kind,
        "severity": severity,
        "reason": "",
        "ends_when": "",
    }


def desk(first_start_ms=0, **route) -> Desk:
    return Desk(replace(ROUTE, **route), Ages(first_start_ms, DAY_MS))


def due(desk, now_ms, timezone="UTC"):
    """(what, meter) of each event of the next message."""
    return [(event.what, event.entry.alert["meter_id"]) for event in desk.due(now_ms, lambda house_id: timezone)]


def deliver(desk, now_ms):
    """The next message, delivered: as due."""
    events = desk.due(now_ms, lambda house_id: "UTC")
    if events:
        desk.delivered(events, now_ms)
    return [(event.what, event.entry.alert["meter_id"]) for event in events]


def test_opened_worse_over():
    mail = desk()
    assert mail.take(alert(), NOON).pending_ms == NOON
    assert due(mail, NOON) == [], "it waits a moment for others"
    assert deliver(mail, SOON) == [("opened", 1)] and mail.pending() == 0
    assert mail.take(alert(revision=2, end=NOON + 1000), SOON) is None, "only its figures have changed"
    assert mail.take(alert(revision=3, severity="critical"), SOON).pending_ms == SOON
    assert deliver(mail, SOON + 1000) == [("worse", 1)]
    assert mail.take(alert(revision=4, severity="critical", is_open=False), SOON + 1000) is not None
    assert deliver(mail, SOON + 2000) == [("over", 1)] and due(mail, SOON + DAY_MS) == []
    [entry] = mail.entries.values()
    assert (entry.delivered, entry.severity, entry.count) == ("resolved", "critical", 3)


def test_a_severity_that_falls_is_no_news():
    mail = desk()
    mail.take(alert(severity="critical"), NOON)
    deliver(mail, SOON)
    mail.take(alert(revision=2), SOON)
    assert due(mail, SOON + DAY_MS) == []


def test_what_was_over_before_its_first_delivery_is_one_event():
    mail = desk()
    mail.take(alert(), NOON)
    mail.take(alert(revision=2, is_open=False), NOON)
    assert deliver(mail, SOON) == [("over", 1)] and due(mail, SOON + 1000) == []


def test_what_was_withdrawn_before_its_first_delivery_is_no_event():
    mail = desk()
    mail.take(alert(), NOON)
    assert mail.take(alert(revision=2, retracted=True), NOON) is not None and due(mail, SOON) == []
    assert mail.take(alert(2, retracted=True), NOON) is None


def test_a_retracted_alert_resolves():
    mail = desk()
    mail.take(alert(), NOON)
    deliver(mail, SOON)
    mail.take(alert(revision=2, retracted=True), SOON)
    assert deliver(mail, SOON + 1000) == [("withdrawn", 1)]


def test_an_alert_that_goes_on_after_its_end_opens_again():
    mail = desk()
    mail.take(alert(), NOON)
    deliver(mail, SOON)
    mail.take(alert(revision=2, is_open=False), SOON)
    deliver(mail, SOON + 1000)
    mail.take(alert(revision=3), SOON + 1000)
    assert deliver(mail, SOON + 2000) == [("opened", 1)]


def test_an_earlier_revision_changes_nothing():
    mail = desk()
    mail.take(alert(revision=5), NOON)
    assert mail.take(alert(revision=4, is_open=False), NOON) is None and due(mail, SOON) == [("opened", 1)]


def test_what_changes_during_a_delivery_is_delivered_next():
    mail = desk()
    mail.take(alert(), NOON)
    events = mail.due(SOON, lambda house_id: "UTC")
    mail.take(alert(revision=2, is_open=False), SOON)
    [entry] = mail.delivered(events, SOON)
    assert (entry.delivered, entry.pending_ms) == ("firing", SOON) and deliver(mail, SOON + 1000) == [("over", 1)]


@pytest.mark.parametrize("end, is_new", [(NOON - DAY_MS, True), (NOON - DAY_MS - 1, False), (NOON - 10 * DAY_MS, False), (NOON, True)])
def test_an_alert_of_more_than_a_day_ago_is_history(end, is_new):
    assert (desk().take(alert(end=end, is_open=False), NOON) is not None) == is_new


def test_an_alert_before_the_first_start_is_history():
    assert desk(first_start_ms=NOON).take(alert(end=NOON - 1), NOON) is None
    assert desk(first_start_ms=NOON).take(alert(end=NOON), NOON)


def test_a_replay_of_a_known_alert_is_no_news():
    mail = desk()
    mail.take(alert(is_open=False), NOON)
    deliver(mail, SOON)
    assert mail.take(alert(revision=9, is_open=False), NOON + HOUR_MS) is None and due(mail, NOON + 2 * HOUR_MS) == []


def test_an_alert_that_becomes_severe_enough_is_new():
    mail = desk(min_severity="critical")
    assert mail.take(alert(), NOON) is None
    mail.take(alert(revision=2, severity="critical"), NOON)
    assert due(mail, SOON) == [("opened", 1)]


def test_quiet_hours_are_those_of_the_house_and_critical_passes():
    mail = desk(quiet_hours=QuietHours(21 * 60, 7 * 60))
    mail.take(alert(1), NOON)
    mail.take(alert(2, severity="critical"), NOON)
    assert due(mail, SOON, "Asia/Tokyo") == [("opened", 2)], "it is 21:00 there"
    assert due(mail, SOON, "UTC") == [("opened", 1)]


def test_what_waited_through_quiet_hours_is_delivered_at_their_end():
    mail = desk(quiet_hours=QuietHours(11 * 60, 13 * 60))
    mail.take(alert(), NOON)
    mail.take(alert(revision=2, is_open=False), NOON)
    assert due(mail, NOON + HOUR_MS - 1) == [] and due(mail, NOON + HOUR_MS) == [("over", 1)]


def test_a_digest_collects_from_its_first_event_on():
    mail = desk(digest_s=600)
    mail.take(alert(1), NOON)
    mail.take(alert(2), NOON + 500_000)
    assert due(mail, NOON + 599_999) == []
    assert deliver(mail, NOON + 600_000) == [("opened", 1), ("opened", 2)]
    mail.take(alert(3), NOON + 700_000)
    assert due(mail, NOON + 1_299_999) == [] and due(mail, NOON + 1_300_000) == [("opened", 3)]


def test_a_repeat_comes_as_long_as_the_alert_goes_on():
    mail = desk(repeat_s=3600)
    mail.take(alert(), NOON)
    deliver(mail, SOON)
    assert due(mail, SOON + HOUR_MS - 1) == []
    later = SOON + HOUR_MS
    while not (found := deliver(mail, later)):
        later += 500
    assert found == [("repeat", 1)] and later <= SOON + HOUR_MS + 1000 and due(mail, later + HOUR_MS - 1) == []
    assert due(mail, NOON + DAY_MS + HOUR_MS) == [], "its house has sent nothing for a day"
    mail.take(alert(revision=2, end=later, is_open=False), later)
    assert deliver(mail, later + 1000) == [("over", 1)] and due(mail, later + 2 * HOUR_MS) == []


def test_a_flood_is_one_digest():
    mail = desk(flood=3)
    for meter_id in range(100):
        mail.take(alert(meter_id), NOON)
    assert len(deliver(mail, SOON)) == 100 and mail.pending() == 0


def test_a_trickle_that_becomes_a_flood_is_a_digest_too():
    mail, sent = desk(flood=3), []
    for second in range(60):
        now_ms = NOON + 1000 * second
        mail.take(alert(second), now_ms)
        if events := deliver(mail, now_ms):
            sent.append(len(events))
    assert sent[:4] == [1, 1, 1, 4] and len(sent) == 4, "three, a digest, and then none until a minute has passed"
    sent += [len(deliver(mail, NOON + 60_000 + 500 * half)) for half in range(2 * round(FLOOD_S) + 4)]
    assert sum(sent) == 60 and mail.pending() == 0


def test_a_digest_has_a_largest_size():
    mail = desk()
    for meter_id in range(MOST_IN_DIGEST + 7):
        mail.take(alert(meter_id), NOON)
    assert [len(deliver(mail, SOON)), len(deliver(mail, SOON))] == [MOST_IN_DIGEST, 1]


def test_what_no_receiver_took_for_a_day_is_given_up():
    mail = desk()
    mail.take(alert(1), NOON)
    mail.take(alert(2, end=NOON + 1), NOON)
    assert mail.given_up(NOON + DAY_MS) == []
    assert mail.given_up(NOON + DAY_MS + 1) == ["7/1/0"] and mail.pending() == 1
    assert desk(digest_s=7 * 86_400).take(alert(), NOON), "a weekly digest is not given up"


def test_what_is_long_over_is_forgotten_and_stays_history():
    mail = desk()
    mail.take(alert(is_open=False), NOON)
    assert mail.forgotten(NOON + 3 * DAY_MS) == [], "it was not delivered"
    deliver(mail, SOON)
    assert mail.forgotten(NOON + 2 * DAY_MS) == [] and mail.forgotten(NOON + 2 * DAY_MS + 1) == ["7/1/0"]
    assert mail.take(alert(revision=2, is_open=False), NOON + 2 * DAY_MS + 1) is None


def test_an_entry_of_an_earlier_run_goes_on_from_there():
    mail = desk()
    mail.restore(Entry(alert(), "firing", "warning", 1, NOON, 0))
    mail.restore(Entry(alert(2), pending_ms=NOON))
    assert deliver(mail, SOON) == [("opened", 2)]
    mail.take(alert(revision=2, is_open=False), SOON)
    assert deliver(mail, SOON + 1000) == [("over", 1)]
