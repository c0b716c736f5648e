"""Each preset reads what its devices publish, as their makers document it."""

import json

import pytest

from gateway.presets import PRESETS, WATTS_PER_UNIT
from gateway.source import Source

SENT = {
    "shelly": (
        "shellyplus1pm-a8032ab1/status/switch:0",
        {
            "id": 0,
            "source": "MQTT",
            "output": True,
            "apower": 25.7,
            "voltage": 239.7,
            "current": 0.188,
            "aenergy": {"total": 913.252, "by_minute": [404.6, 0, 0], "minute_ts": 1782936360},
        },
        25.7,
    ),
    "shelly-pm": ("shellypmmini-1/status/pm1:0", {"id": 0, "voltage": 230.1, "current": 0.5, "apower": -110.5, "freq": 50}, -110.5),
    "shelly-em1": ("shellyproem50-1/status/em1:0", {"id": 0, "current": 4.1, "voltage": 230, "act_power": 951.2, "aprt_power": 960}, 951.2),
    "shelly-em": ("shellypro3em-1/status/em:0", {"id": 0, "a_act_power": 1, "b_act_power": 2, "total_act_power": -433.1}, -433.1),
    "shelly-gen1": ("shellies/shellyplug-s-1/relay/0/power", 12.34, 12.34),
    "shelly-gen1-em": ("shellies/shellyem-1/emeter/0/power", -250.5, -250.5),
    "tasmota": (
        "tele/kettle/SENSOR",
        {
            "Time": "2024-04-16T09:15:03",
            "ENERGY": {"TotalStartTime": "2021-01-01T00:00:00", "Total": 235.645, "Period": 2, "Power": 24, "Voltage": 230},
        },
        24,
    ),
    "zigbee2mqtt": ("zigbee2mqtt/plug", {"power": 7.5, "energy": 1.2, "voltage": 231, "linkquality": 90, "state": "ON"}, 7.5),
    "esphome": ("node/sensor/power/state", 433.5, 433.5),
    "dsmr-reader": (
        "dsmr/json",
        {"timestamp": "2024-04-16T07:15:03Z", "electricity_currently_delivered": "0.000", "electricity_currently_returned": "1.234"},
        -1234,
    ),
    "homeassistant": ("homeassistant/sensor/washer_power/state", 1890.1, 1890.1),
    "emon": ("emon/emonpi/power1", 655, 655),
}
DEVICES = {
    "homeassistant": "washer_power",
    "emon": "emonpi",
    "zigbee2mqtt": "plug",
    "esphome": "node",
    "dsmr-reader": "dsmr",
    "tasmota": "kettle",
}


def source(name, time=""):
    preset = PRESETS[name]
    topic = SENT[name][0]
    device = DEVICES.get(name) or next(part for part in topic.split("/") if part.startswith("shelly") and part != "shellies")
    own = preset.topic.format(device=device, channel=preset.channel)
    return Source(1, 2, "x", "Europe/Amsterdam", own, preset.power, preset.returned, WATTS_PER_UNIT[preset.unit], time)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_reads_its_devices(name):
    topic, payload, watts = SENT[name]
    found = source(name)
    assert found.topic == topic
    assert found.read(json.dumps(payload).encode()) == (pytest.approx(watts), None)


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.time and name != "zigbee2mqtt"])
def test_a_time_without_a_zone_is_that_of_the_house(name):
    _, at_ms = source(name, PRESETS[name].time).read(json.dumps(SENT[name][1]).encode())
    assert at_ms == 1713251703000
