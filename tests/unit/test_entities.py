"""What Home Assistant is sent of a house's entities, and that its documentation allows it."""

from __future__ import annotations

import re

import pytest

from notify.directory import House
from notify.entities import LONGEST_NAME, Topics, entities
from notify.home_config import HomeAssistant
from smartmeter import __version__
from smartmeter.mqtt_broker import Broker

TOPICS = Topics(HomeAssistant(Broker("h", 1883, False)))
OF_TOPIC = re.compile(r"(?P<component>\w+)/(?:(?P<node_id>[a-zA-Z0-9_-]+)/)?(?P<object_id>[a-zA-Z0-9_-]+)/config")
"""Home Assistant's pattern of a discovery topic, after the prefix (homeassistant/components/mqtt/discovery.py)."""
ALLOWED = {
    "sensor": {
        "name", "unique_id", "state_topic", "value_template", "last_reset_value_template", "device_class", "state_class", "unit_of_measurement",
        "suggested_display_precision", "availability_topic", "device", "origin",
    },
    "binary_sensor": {
        "name", "unique_id", "state_topic", "value_template", "json_attributes_topic", "device_class", "availability_topic", "device", "origin",
    },
}  # fmt: skip
"""Keys that https://www.home-assistant.io/integrations/sensor.mqtt and binary_sensor.mqtt list, as far as they are used."""
HOUSE = House(
    "Europe/Amsterdam",
    "Amsterdam",
    {1: "mains", 2: "roof", 3: "cellar", 4: "fridge", 5: "car"},
    {1: "mains", 2: "solar", 3: "battery", 4: "appliance", 5: "ev"},
)


def of_house(house=HOUSE, external_url=""):
    return entities(TOPICS, 7, house, external_url)


def test_a_sensor_and_the_alerts():
    found = of_house(House("UTC", "Amsterdam", {4: "fridge"}, {4: "appliance"}), "https://meters.example")
    device = {
        "identifiers": ["smart_meter_watchdog_7"],
        "name": "House 7, Amsterdam",
        "manufacturer": "Smart Meter Watchdog",
        "configuration_url": "https://meters.example",
    }
    assert found == {
        "homeassistant/sensor/smart_meter_watchdog/7_4_energy/config": {
            "name": "fridge energy today",
            "unique_id": "smart_meter_watchdog_7_4_energy",
            "state_topic": "smart_meter_watchdog/7/4/energy",
            "value_template": "{{ value_json.energy_kwh }}",
            "last_reset_value_template": "{{ value_json.last_reset }}",
            "device_class": "energy",
            "state_class": "total",
            "unit_of_measurement": "kWh",
            "suggested_display_precision": 2,
            "availability_topic": "smart_meter_watchdog/status",
            "device": device,
            "origin": {"name": "Smart Meter Watchdog", "sw_version": __version__},
        },
        "homeassistant/binary_sensor/smart_meter_watchdog/7_alerts/config": {
            "name": "alerts",
            "unique_id": "smart_meter_watchdog_7_alerts",
            "state_topic": "smart_meter_watchdog/7/alerts",
            "value_template": "{{ value_json.problem }}",
            "json_attributes_topic": "smart_meter_watchdog/7/alerts",
            "device_class": "problem",
            "availability_topic": "smart_meter_watchdog/status",
            "device": device,
            "origin": {"name": "Smart Meter Watchdog", "sw_version": __version__},
        },
    }


def test_the_energies_of_each_kind_of_meter():
    names = [entity["name"] for entity in of_house().values()]
    assert names == [
        "mains import today",
        "mains export today",
        "roof production today",
        "cellar charge today",
        "cellar discharge today",
        "fridge energy today",
        "car energy today",
        "alerts",
    ]
    assert of_house()[TOPICS.config("sensor", "7_1_export")]["value_template"] == "{{ value_json.export_kwh }}"


@pytest.mark.parametrize("label", ["fridge", "{{ states('x') }}", "a/+/#", "~", "x" * 1000, "\u202e\n", ""])
def test_home_assistant_allows_each_description_whatever_the_label(label):
    house = HOUSE._replace(labels=dict.fromkeys(HOUSE.labels, label), city=label)
    plain = of_house()
    found = of_house(house)
    assert found.keys() == plain.keys()
    for topic, entity in found.items():
        component = OF_TOPIC.fullmatch(topic.removeprefix("homeassistant/"))["component"]
        assert entity.keys() == ALLOWED[component]
        assert entity.keys() >= {"state_topic", "unique_id", "availability_topic"}
        texts = {key for key, value in entity.items() if value != plain[topic][key]}
        assert texts <= {"name", "device"}, "the label is nowhere but in names"
        assert entity["device"] | {"name": ""} == plain[topic]["device"] | {"name": ""}
        assert 0 < len(entity["name"]) <= LONGEST_NAME + len(" production today") and 0 < len(entity["device"]["name"]) <= LONGEST_NAME
    ids = [entity["unique_id"] for entity in found.values()]
    assert len(set(ids)) == len(ids)


def test_a_meter_without_a_label_has_its_number():
    found = of_house(House("UTC", "", {4: " "}, {4: "appliance"}))
    entity = found[TOPICS.config("sensor", "7_4_energy")]
    assert (entity["name"], entity["device"]["name"]) == ("meter 4 energy today", "House 7")
