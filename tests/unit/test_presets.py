"""Each preset reads what its devices publish, as their makers document it."""

import json

import pytest

from gateway.config import parse
from gateway.payloads import Missing, document
from gateway.presets import PRESETS
from smartmeter.messages.codec import EXPORT, IMPORT, POWER

DEVICES = {
    "shelly": "shellyplus1pm-a8032ab1",
    "shelly-pm": "shellypmmini-1",
    "shelly-em1": "shellyproem50-1",
    "shelly-em": "shellypro3em-1",
    "shelly-gen1": "shellyplug-s-1",
    "shelly-gen1-em": "shellyem-1",
    "tasmota": "kettle",
    "zigbee2mqtt": "plug",
    "esphome": "node",
    "dsmr-reader": "dsmr",
    "homeassistant": "washer_power",
    "emon": "emonpi",
    "emontx": "emonTx4",
}
SENT = {
    "shelly": {
        "shellyplus1pm-a8032ab1/status/switch:0": {
            "id": 0,
            "source": "MQTT",
            "output": True,
            "apower": 25.7,
            "voltage": 239.7,
            "current": 0.188,
            "aenergy": {"total": 913.252, "by_minute": [404.6, 0, 0], "minute_ts": 1782936360},
        }
    },
    "shelly-pm": {
        "shellypmmini-1/status/pm1:0": {
            "id": 0,
            "voltage": 230.1,
            "current": 0.5,
            "apower": -110.5,
            "freq": 50,
            "aenergy": {"total": 1500.5, "by_minute": [0, 0, 0], "minute_ts": 1782936360},
            "ret_aenergy": {"total": 1200.25, "by_minute": [0, 0, 0], "minute_ts": 1782936360},
        }
    },
    "shelly-em1": {
        "shellyproem50-1/status/em1:0": {"id": 0, "current": 4.1, "voltage": 230, "act_power": 951.2, "aprt_power": 960},
        "shellyproem50-1/status/em1data:0": {"id": 0, "total_act_energy": 123456.78, "total_act_ret_energy": 9.5},
    },
    "shelly-em": {
        "shellypro3em-1/status/em:0": {"id": 0, "a_act_power": 1, "b_act_power": 2, "total_act_power": -433.1},
        "shellypro3em-1/status/emdata:0": {"id": 0, "a_total_act_energy": 1, "total_act": 35.01, "total_act_ret": 7.25},
    },
    "shelly-gen1": {"shellies/shellyplug-s-1/relay/0/power": 12.34, "shellies/shellyplug-s-1/relay/0/energy": 61},
    "shelly-gen1-em": {
        "shellies/shellyem-1/emeter/0/power": -250.5,
        "shellies/shellyem-1/emeter/0/total": 1268868.6,
        "shellies/shellyem-1/emeter/0/total_returned": 1390938.0,
    },
    "tasmota": {
        "tele/kettle/SENSOR": {
            "Time": "2024-04-16T09:15:03",
            "ENERGY": {
                "TotalStartTime": "2021-01-01T00:00:00",
                "Total": 235.645,
                "Period": 2,
                "Power": [10, 14],
                "ExportActive": [0.5, 0.25],
                "Voltage": 230,
            },
        }
    },
    "zigbee2mqtt": {"zigbee2mqtt/plug": {"power": 7.5, "energy": 1.2, "voltage": 231, "linkquality": 90, "state": "ON"}},
    "esphome": {"node/sensor/power/state": 433.5},
    "dsmr-reader": {
        "dsmr/json": {
            "timestamp": "2024-04-16T07:15:03Z",
            "electricity_delivered_1": "1234.567",
            "electricity_delivered_2": "7654.321",
            "electricity_returned_1": "0.001",
            "electricity_returned_2": "0.000",
            "electricity_currently_delivered": "0.000",
            "electricity_currently_returned": "1.234",
        }
    },
    "homeassistant": {"homeassistant/sensor/washer_power/state": 1890.1},
    "emon": {"emon/emonpi/power1": 655},
    "emontx": {"emon/emonTx4/P1": 655, "emon/emonTx4/E1": 12345},
}
"""Topic -> payload of each."""
READ = {
    "shelly": {POWER: 25.7, IMPORT: 913_252},
    "shelly-pm": {POWER: -110.5, IMPORT: 300_250, EXPORT: 1_200_250},
    "shelly-em1": {POWER: 951.2, IMPORT: 123_456_780, EXPORT: 9_500},
    "shelly-em": {POWER: -433.1, IMPORT: 35_010, EXPORT: 7_250},
    "shelly-gen1": {POWER: 12.34, IMPORT: 1_017},
    "shelly-gen1-em": {POWER: -250.5, IMPORT: 1_268_868_600, EXPORT: 1_390_938_000},
    "tasmota": {POWER: 24, IMPORT: 235_645_000, EXPORT: 750_000},
    "zigbee2mqtt": {POWER: 7.5, IMPORT: 1_200_000},
    "esphome": {POWER: 433.5},
    "dsmr-reader": {POWER: -1234, IMPORT: 8_888_888_000, EXPORT: 1_000},
    "homeassistant": {POWER: 1890.1},
    "emon": {POWER: 655},
    "emontx": {POWER: 655, IMPORT: 12_345_000},
}
"""W and mWh in these."""


def sources(name, more=""):
    device = f"{{id: 1, label: x, preset: {name}, device: {DEVICES[name]}{more}}}"
    return parse(f"broker: {{url: mqtt://x}}\nhouses: [{{id: 1, timezone: Europe/Amsterdam, meters: [{device}]}}]", "meters.yaml").sources


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_reads_its_devices(name):
    found = {}
    for source in sources(name):
        document_of_it = document(json.dumps(SENT[name][source.topic]).encode())
        try:
            watts, mwh = source.read(document_of_it)
        except Missing:
            assert source.is_optional
        else:
            found[source.quantity] = watts if source.quantity == POWER else mwh
    assert found == READ[name]
    assert set(SENT[name]) == {source.topic for source in sources(name)}


@pytest.mark.parametrize("at", ["2024-04-16T09:15:03", "2024-04-16T07:15:03Z", "2024-04-16T09:15:03+02:00"])
@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.time])
def test_a_time_without_a_zone_is_that_of_the_house_whatever_the_machines(name, at):
    [payload] = SENT[name].values()
    sent = payload | {PRESETS[name].time: at}
    assert {source.time_ms(sent) for source in sources(name, ", time: device")} == {1713251703000}
