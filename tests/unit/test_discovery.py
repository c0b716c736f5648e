"""Devices are recognised by their topics and payloads, and the file that is written can be used as it is."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import discovery
from gateway.config import parse
from gateway.discovery import Discovery, houses_of, numbers_of, timezone_of_machine
from gateway.presets import PRESETS
from tests.unit.test_presets import DEVICES, SENT, sources

BROKER = "broker: {url: mqtt://x}\n"


def discovered(sent, is_retained=False):
    found = Discovery()
    for topic, payload in sent.items():
        found.see(topic, payload if isinstance(payload, bytes) else json.dumps(payload).encode(), is_retained)
    return found


def house_of(found):
    [house] = parse(BROKER + houses_of(found, "Europe/Amsterdam"), Path("meters.yaml")).houses
    return house


@pytest.mark.parametrize("name", PRESETS)
def test_a_device_of_each_preset(name):
    found = discovered(SENT[name])
    [device] = found.devices.values()
    assert (device.preset, device.device, device.channel) == (name, DEVICES[name], PRESETS[name].channel)
    assert found.numbers == {}, "topics of registers belong to their device"
    assert [(source.topic, source.path, source.factor) for source in house_of(found).sources] == [
        (source.topic, source.path, source.factor) for source in sources(name)
    ]


def test_all_at_once_with_names_of_their_own():
    found = discovered({topic: payload for sent in SENT.values() for topic, payload in sent.items()})
    house = house_of(found)
    assert sorted(device.preset for device in found.devices.values()) == sorted(PRESETS)
    assert house.timezone == "Europe/Amsterdam"
    assert [(meter.meter_id, meter.kind) for meter in house.meters] == [
        (1, "mains"),
        *((n, "appliance") for n in range(2, len(PRESETS) + 1)),
    ]
    assert len({meter.label for meter in house.meters}) == len(PRESETS)


def test_labels():
    found = discovered(
        {
            "home/plugs/shelly-1/status/switch:0": {"apower": 1},
            "shelly-1/status/switch:0": {"apower": 1},
            "shelly-1/status/switch:1": {"apower": 1},
            "zigbee2mqtt/Küche: links": {"power": 1},
        }
    )
    assert [meter.label for meter in house_of(found).meters] == ["shelly-1", "shelly-1 2", "shelly-1 1", "Küche: links"]
    assert "device: 'Küche: links'}  # 1 W\n" in houses_of(found, "UTC")


def test_numbers_that_belong_to_no_device_are_comments():
    found = discovered(
        {"b": 7, "node/sensor/power_factor/state": 0.9, "node/sensor/energy/state": 5.25, "a": "on", "emon/x/Pulse": 3, "c": {}}
    )
    assert numbers_of(found)[1:] == [
        '# "b": 7',
        '# "emon/x/Pulse": 3',
        '# "node/sensor/energy/state": 5.25',
        '# "node/sensor/power_factor/state": 0.9',
    ]
    assert not found.devices and found.topics == 6


def test_a_sensor_that_comes_late_is_recognised_and_what_the_broker_keeps_may_be_old():
    topic = "homeassistant/sensor/washer_power/state"
    found = discovered({topic: b"unavailable"})
    found.see(topic, b"5", is_retained=True)
    assert [device.state for device in found.devices.values()] == ["5 W, kept by the broker, so it may be old"]
    found.see(topic, b"6", is_retained=False)
    found.see(topic, b"unavailable", is_retained=False)
    assert [device.state for device in found.devices.values()] == ["6 W"] and found.topics == 1


def test_a_flood_of_topics_is_bounded(monkeypatch):
    monkeypatch.setattr(discovery, "MOST_TOPICS", 250)
    found = discovered({f"t/{n:03}": n for n in range(300)} | {"x" * 501: 1, "late/status/switch:0": {"apower": 1}})
    assert (found.topics, found.beyond) == (250, 52)
    assert len(numbers_of(found)) == 102 and numbers_of(found)[-1] == "# and 150 more"
    found.see("t/000", b"8", is_retained=False)
    assert found.numbers["t/000"] == 8


TOPIC = st.text(st.characters(codec="utf-8", exclude_characters="+#\0"), min_size=1)


@given(st.dictionaries(TOPIC, st.floats(), min_size=1, max_size=5), TOPIC)
@example({"a\u2028- b\x85": 1.0, "\ufeff": 2.0, " ": 3.0, "{}": 4.0, "yes": 5.0, "a\u2028houses: 5\u2028b": 6.0}, "\x1b[2J")
@example({"a": 1.0}, "a\n- b")
def test_text_from_outside_is_text(numbers, device):
    sent = {f"{name}/status/switch:0": {"apower": power} for name, power in numbers.items()} | {f"n/{name}": 1 for name in numbers}
    found = discovered(sent | {f"shellies/{device}/relay/0/power": 1.5, f"shellies/x/relay/{device}/power": 1.5})
    if not found.devices:
        return
    house = house_of(found)
    assert len(re.split("[\r\n\x85\u2028\u2029]", houses_of(found, "UTC"))) == 6 + len(found.devices) + len(numbers_of(found))
    assert {source.topic for source in house.sources} >= set(found.devices)
    assert len(house.meters) == len(found.devices)


def test_the_time_zone_of_the_machine(tmp_path):
    (folder := tmp_path / "zoneinfo" / "Asia").mkdir(parents=True)
    (folder / "Tokyo").touch()
    (tmp_path / "localtime").symlink_to(folder / "Tokyo")
    assert timezone_of_machine({}, tmp_path / "localtime") == "Asia/Tokyo"
    assert timezone_of_machine({"TZ": ":Europe/London"}, tmp_path / "localtime") == "Europe/London"
    assert timezone_of_machine({"TZ": "EST5EDT4,x"}, tmp_path / "none") == "UTC"
