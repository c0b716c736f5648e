"""What is shown of a house: the energy of the present day, and its open alerts."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from notify.home import Home, is_history
from notify.home_config import HomeAssistant
from smartmeter.mqtt_broker import Broker
from tests.unit.test_alerts import alert
from tests.unit.test_directory import HOUSE

BROKER = Broker("h", 1883, False)
DAY = (date(2026, 7, 1) - date(1970, 1, 1)).days
NOON_MS = round(datetime(2026, 7, 1, 16, tzinfo=UTC).timestamp() * 1000)
"""Noon in New York."""
DAY_MS = 86_400_000
METERS = [
    {"meter_id": 1, "label": "mains", "kind": "mains", "parent": 0},
    {"meter_id": 2, "label": "fridge", "kind": "appliance", "parent": 0},
    {"meter_id": 3, "label": "roof", "kind": "solar", "parent": 0},
]


@pytest.fixture
def home():
    home = Home(HomeAssistant(BROKER, houses=frozenset([7])))
    home.take_house({**HOUSE, "meters": METERS})
    return home


def energy(meter_id=2, day=DAY, kwh=1.0, exported_kwh=0.0, revision=1, house_id=7):
    return {"house_id": house_id, "meter_id": meter_id, "date": day, "kwh": kwh, "exported_kwh": exported_kwh, "revision": revision}


def shown(home, meter_id=2, now_ms=NOON_MS):
    payload = home.payloads(7, now_ms)[f"smart_meter_watchdog/7/{meter_id}/energy"]
    return payload and json.loads(payload)


def alerts(home):
    return json.loads(home.payloads(7, NOON_MS)["smart_meter_watchdog/7/alerts"])


def test_the_energy_of_the_day_since_local_midnight(home):
    home.take_energy(energy(1, kwh=12.3456, exported_kwh=0.25), NOON_MS)
    home.take_energy(energy(3, kwh=0.001, exported_kwh=7.5), NOON_MS)
    midnight = "2026-07-01T00:00:00-04:00"
    payloads = home.payloads(7, NOON_MS)
    assert payloads["smart_meter_watchdog/7/1/energy"] == f'{{"last_reset": "{midnight}", "import_kwh": 12.346, "export_kwh": 0.25}}'
    assert payloads["smart_meter_watchdog/7/3/energy"] == f'{{"last_reset": "{midnight}", "production_kwh": 7.5}}'
    assert payloads["smart_meter_watchdog/7/2/energy"] == f'{{"last_reset": "{midnight}", "energy_kwh": 0.0}}', "nothing has come of it yet"
    configs = [topic for topic in payloads if topic.endswith("/config")]
    assert len(configs) == 5 and all(json.loads(payloads[topic])["device"] for topic in configs)


def test_a_new_day_begins_at_zero_and_a_late_revision_of_the_old_one_is_left_out(home):
    home.take_energy(energy(kwh=3.0), NOON_MS)
    home.take_energy(energy(1, day=DAY + 1, kwh=0.02), NOON_MS + DAY_MS)  # the house's day turns with its first meter
    home.take_energy(energy(kwh=3.5, revision=9), NOON_MS + DAY_MS)
    assert shown(home, now_ms=NOON_MS + DAY_MS) == {"last_reset": "2026-07-02T00:00:00-04:00", "energy_kwh": 0.0}
    home.take_energy(energy(day=DAY + 1, kwh=0.1), NOON_MS + DAY_MS)
    assert shown(home, now_ms=NOON_MS + DAY_MS)["energy_kwh"] == 0.1


def test_revisions_of_the_day_may_fall_and_older_ones_do_not_count(home):
    for revision, kwh in ((1, 1.0), (3, 0.6), (2, 1.5)):
        home.take_energy(energy(kwh=kwh, revision=revision), NOON_MS)
    assert shown(home)["energy_kwh"] == 0.6


@pytest.mark.parametrize("days, is_shown", [(-1, True), (0, True), (1, True), (-2, False), (-700, False)])
def test_history_that_arrives_is_not_shown(home, days, is_shown):
    home.take_energy(energy(day=DAY + days), NOON_MS)
    assert (shown(home) is not None) == is_shown


def test_a_day_that_has_not_begun_anywhere_hides_no_other(home):
    home.take_energy(energy(day=DAY + 3, kwh=9.0), NOON_MS)
    home.take_energy(energy(kwh=1.0), NOON_MS)
    assert shown(home)["energy_kwh"] == 1.0


def test_nothing_is_known_of_a_day_without_records(home):
    assert shown(home) is None and alerts(home) == {"problem": "OFF", "open_alerts": 0}


def test_an_alert_opens_changes_and_ends(home):
    start = NOON_MS - 60_000
    stated = {"start": start, "reason": "1,431 W, over its limit of 1,310 W"}
    home.take_alert(alert(2, revision=1) | stated)
    assert alerts(home) == {
        "problem": "ON",
        "open_alerts": 1,
        "severity": "warning",
        "kind": "level",
        "meter": "fridge",
        "meter_id": 2,
        "reason": "1,431 W, over its limit of 1,310 W",
        "since": "2026-07-01T11:59:00-04:00",
    }
    home.take_alert(alert(2, revision=2, severity="critical") | stated)
    assert alerts(home)["severity"] == "critical"
    home.take_alert(alert(2, revision=4, is_open=False) | stated)
    home.take_alert(alert(2, revision=3) | stated)  # an older message
    assert alerts(home) == {"problem": "OFF", "open_alerts": 0}
    home.take_alert(alert(2, revision=5) | stated)
    assert alerts(home)["problem"] == "ON"
    home.take_alert(alert(2, revision=6, retracted=True) | stated | {"open": True})
    assert alerts(home)["problem"] == "OFF"


def test_of_several_alerts_the_most_severe_is_shown_and_it_takes_the_last_to_end_them(home):
    home.take_alert(alert(1, severity="critical") | {"start": 1})
    home.take_alert(alert(2) | {"start": 3})
    home.take_alert(alert(0, severity="critical", kind="silent") | {"start": 2, "reason": ""})
    assert (alerts(home)["open_alerts"], alerts(home)["meter"], alerts(home)["kind"], alerts(home)["reason"]) == (
        3,
        "the house",
        "silent",
        "1,431 W",
    )
    home.take_alert(alert(0, is_open=False, revision=9))
    assert (alerts(home)["meter"], alerts(home)["open_alerts"]) == ("mains", 2)
    home.take_alert(alert(1, is_open=False, revision=9))
    home.take_alert(alert(2, is_open=False, revision=9))
    assert alerts(home)["problem"] == "OFF"


def test_alerts_below_the_severity_are_no_problem():
    home = Home(HomeAssistant(BROKER, min_severity="warning"))
    home.take_house(HOUSE)
    home.take_alert(alert(severity="info"))
    assert alerts(home)["problem"] == "OFF"
    home.take_alert(alert(severity="info", meter_id=3))
    home.take_alert(alert(severity="warning", revision=2))
    assert (alerts(home)["problem"], alerts(home)["open_alerts"]) == ("ON", 1)


def test_only_the_houses_of_the_list_are_shown(home):
    assert home.shows(7) and not home.shows(8) and Home(HomeAssistant(BROKER)).shows(8)


def test_an_unknown_and_a_deleted_house_have_no_topics(home):
    assert home.payloads(8, NOON_MS) == {}
    home.forget_house(7)
    home.forget_house(7)
    assert home.payloads(7, NOON_MS) == {}


@pytest.mark.parametrize("field", ["kwh", "exported_kwh"])
def test_an_energy_that_is_no_number_is_left_out(home, field):
    home.take_energy(energy(kwh=1.0), NOON_MS)
    home.take_energy(energy(revision=2) | {field: float("nan")}, NOON_MS)
    assert shown(home)["energy_kwh"] == 1.0


@pytest.mark.parametrize("timezone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("hour", range(0, 24, 5))
def test_no_day_that_is_shown_is_history(timezone, hour):
    now_ms = DAY * DAY_MS + hour * 3_600_000
    for day in range(DAY - 4, DAY + 1):
        home = Home(HomeAssistant(BROKER))
        home.take_house({**HOUSE, "timezone": timezone})
        home.take_energy(energy(day=day), now_ms)
        assert not (shown(home, now_ms=now_ms) and is_history(b"7/2/%d" % day, now_ms))
    assert is_history(b"7/2/%d" % (DAY - 4), now_ms)


@pytest.mark.parametrize("key", [None, b"", b"7", b"7/2/x", b"7/2/-1", b"7/2/99999999999999999999"])
def test_a_key_without_a_day_is_read(key):
    assert is_history(key, NOON_MS) == (key == b"7")
