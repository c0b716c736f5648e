"""A message as text and as Alertmanager's JSON."""

from __future__ import annotations

import pytest

from notify.alerts import Entry, Event
from notify.directory import Directory
from notify.messages import LINES_SHOWN, message
from tests.unit.test_alerts import ROUTE, alert
from tests.unit.test_directory import HOUSE

START = 1_555_200_000_123


@pytest.fixture
def houses():
    houses = Directory()
    houses.take(HOUSE)
    return houses


def event(what="opened", meter_id=2, count=0, **changes) -> Event:
    record = alert(meter_id, is_open=what not in ("over", "withdrawn"), retracted=what == "withdrawn", end=START + 6000)
    stated = {"start": START, "reason": "1,431 W, over its limit of 1,310 W", "ends_when": "it falls to 1,310 W or less for 60 s"}
    return Event(what, Entry(record | stated | changes, count=count))


def test_a_new_alert_in_alertmanagers_format(houses):
    assert message(ROUTE, [event()], houses, "https://meters.example").document == {
        "version": "4",
        "groupKey": '{}/{route="mail"}:{alertname="level",house="7",meter="2"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "mail",
        "groupLabels": {"alertname": "level", "house": "7", "meter": "2"},
        "commonLabels": (
            labels := {
                "alertname": "level",
                "severity": "warning",
                "house": "7",
                "meter": "2",
                "alert_id": "7/2/0",
                "appliance": "fridge",
                "city": "Cambridge",
            }
        ),
        "commonAnnotations": (
            annotations := {
                "summary": "house 7, Cambridge, fridge: new (warning, level): 1,431 W, over its limit of 1,310 W. Since 2019-04-13 20:00 -0400. "
                "It ends when it falls to 1,310 W or less for 60 s.",
                "reason": "1,431 W, over its limit of 1,310 W",
                "ends_when": "it falls to 1,310 W or less for 60 s",
                "event": "opened",
            }
        ),
        "externalURL": "https://meters.example",
        "alerts": [
            {
                "status": "firing",
                "labels": labels,
                "annotations": annotations,
                "startsAt": "2019-04-14T00:00:00.123Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://meters.example/alerts?alert=7%2F2%2F0",
                "fingerprint": "a09187ab1b10fa8b",
            }
        ],
    }


@pytest.mark.parametrize(
    "what, title, state",
    [
        ("opened", "Warning: house 7, Cambridge, fridge", "new (warning, level)"),
        ("worse", "Now critical: house 7, Cambridge, fridge", "now critical (critical, level)"),
        ("repeat", "Still on: house 7, Cambridge, fridge", "still on (warning, level)"),
        ("over", "Over: house 7, Cambridge, fridge", "over (warning, level)"),
        ("withdrawn", "Withdrawn: house 7, Cambridge, fridge", "withdrawn (warning, level): later readings have shown"),
    ],
)
def test_the_title_and_text_of_one_alert(houses, what, title, state):
    found = message(ROUTE, [event(what, severity="critical" if what == "worse" else "warning")], houses)
    assert found.title == title and f"house 7, Cambridge, fridge: {state}" in found.text
    assert found.is_over == (what in ("over", "withdrawn"))
    if what == "over":
        assert found.text.endswith("From 2019-04-13 20:00 -0400 to 2019-04-13 20:00 -0400.")
        assert found.document["status"] == "resolved" and found.document["alerts"][0]["endsAt"] == "2019-04-14T00:00:06.123Z"


def test_a_digest(houses):
    found = message(ROUTE, [event(), *(event("over", meter_id) for meter_id in range(10, 40))], houses, "https://meters.example")
    assert found.title == "31 alerts: 1 new, 30 over" and found.document["status"] == "firing" and not found.is_over
    lines = found.text.splitlines()
    assert len(lines) == LINES_SHOWN + 2 and lines[-2:] == ["... and 11 more", "https://meters.example/alerts"]
    assert found.document["groupKey"] == '{}/{route="mail"}:{}' and len(found.document["alerts"]) == 31
    assert found.document["commonLabels"] == {"alertname": "level", "severity": "warning", "house": "7", "city": "Cambridge"}


def test_a_house_that_is_unknown_and_an_alert_without_words():
    found = message(ROUTE, [event(reason="", ends_when="")], Directory())
    assert found.text == "house 7, meter 2: new (warning, level): 1,431 W. Since 2019-04-14 00:00 +0000."


def test_an_alert_of_the_whole_house(houses):
    found = message(ROUTE, [event(meter_id=0, kind="silent", reason="no reading for 2 h")], houses)
    assert found.title == "Warning: house 7, Cambridge, the house"
    assert found.text.startswith("house 7, Cambridge, the house: new (warning, silent): no reading for 2 h. Since ")
    labels = found.document["alerts"][0]["labels"]
    assert (labels["alertname"], labels["meter"], labels["appliance"]) == ("silent", "0", "the house")


def test_the_key_is_that_of_the_delivery(houses):
    def key_of(*events):
        return message(ROUTE, list(events), houses).key

    assert key_of(event()) == key_of(event(peak_watts=9.0)) != key_of(event(count=1))
    assert len({key_of(event()), key_of(event("over")), key_of(event(meter_id=3)), key_of(event(), event(meter_id=3))}) == 4
