"""What is due to be published, as houses change, connections begin, and remains of earlier runs are found."""

from __future__ import annotations

import pytest

from notify.entities import Topics
from notify.home_config import HomeAssistant
from notify.retained import Retained
from smartmeter.mqtt_broker import Broker

BASE = "smart_meter_watchdog"
ENERGY, ALERTS, CONFIG = f"{BASE}/7/2/energy", f"{BASE}/7/alerts", f"homeassistant/sensor/{BASE}/7_2_energy/config"


@pytest.fixture
def retained():
    return Retained(Topics(HomeAssistant(Broker("h", 1883, False))))


def test_what_has_changed_is_due_once(retained):
    retained.want(7, {CONFIG: "c", ENERGY: None, ALERTS: "OFF"})
    assert retained.due == {CONFIG: "c", ALERTS: "OFF"}
    retained.published()
    retained.want(7, {CONFIG: "c", ENERGY: "1", ALERTS: "OFF"})
    assert retained.due == {ENERGY: "1"}
    retained.want(7, {CONFIG: "c", ENERGY: "2", ALERTS: "OFF"})
    assert retained.due == {ENERGY: "2"}, "what holds now, and not each step on the way there"


def test_all_is_due_on_a_new_connection(retained):
    retained.want(7, {CONFIG: "c", ENERGY: None})
    retained.published()
    retained.connected()
    assert retained.due == {CONFIG: "c"}


def test_the_topics_of_a_meter_that_is_gone_are_cleared_and_of_a_house(retained):
    retained.want(7, {CONFIG: "c", ENERGY: "1", ALERTS: "OFF"})
    retained.published()
    retained.want(7, {ALERTS: "OFF"})
    assert retained.due == {CONFIG: "", ENERGY: ""}
    retained.connected()
    assert retained.due == {CONFIG: "", ENERGY: "", ALERTS: "OFF"}, "the deletions are still due"
    retained.published()
    retained.want(7, {})
    assert retained.due == {ALERTS: ""}
    retained.published()
    retained.want(7, {CONFIG: "c"})
    assert retained.due == {CONFIG: "c"}


@pytest.mark.parametrize(
    "topic",
    [
        f"{BASE}/8/2/energy",
        f"{BASE}/8/alerts",
        f"{BASE}/7/3/energy",
        f"homeassistant/sensor/{BASE}/8_2_energy/config",
        f"homeassistant/sensor/{BASE}/7_2_production/config",
        f"homeassistant/binary_sensor/{BASE}/8_alerts/config",
    ],
)
def test_what_an_earlier_run_has_left_is_cleared(retained, topic):
    retained.want(7, {CONFIG: "c", ENERGY: None, ALERTS: "OFF"})
    retained.published()
    retained.found(topic)
    assert retained.due == {topic: ""}


@pytest.mark.parametrize(
    "topic",
    [
        CONFIG,
        ENERGY,
        ALERTS,
        f"{BASE}/status",
        f"{BASE}/8/x/energy",
        f"{BASE}/8/2/power",
        f"homeassistant/sensor/{BASE}/temperature/config",
        f"homeassistant/sensor/{BASE}/8_2_power/config",
        f"homeassistant/switch/{BASE}/8_alerts/config",
        "homeassistant/sensor/other/8_2_energy/config",
        f"other/{BASE}/8/alerts",
    ],
)
def test_nothing_else_is_touched(retained, topic):
    retained.want(7, {CONFIG: "c", ENERGY: None, ALERTS: "OFF"})
    retained.published()
    retained.found(topic)
    assert not retained.due


def test_the_patterns_match_all_topics():
    topics = Topics(HomeAssistant(Broker("h", 1883, False), topic="x", discovery_prefix="a/b"))
    assert Retained(topics).patterns == ("a/b/+/x/+/config", "x/+/+/energy", "x/+/alerts")
