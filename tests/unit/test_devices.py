"""The simulated devices: the gateway reads from them what the house draws."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from gateway.config import parse
from gateway.payloads import document
from gateway.presets import PRESETS
from generator.devices import MAINS, MODELS, REFRIGERATOR, SPIKE_WATTS, PluggedHouse
from generator.synthetic import STEP_MS, SyntheticHouse
from smartmeter.local_days import day_bounds_ms
from smartmeter.messages.codec import IMPORT, POWER

DAY = date(2026, 3, 8)  # of 23 hours
ZONE = "America/New_York"
START_MS, END_MS = day_bounds_ms(DAY, ZONE)
ROUNDED_W, ROUNDED_MWH = 0.5, 5000
"""As the coarsest device rounds: 1 W, 10 Wh."""


@pytest.fixture(scope="module")
def house():
    return PluggedHouse(ZONE)


def read(house, watts, wh, at_ms=START_MS + 12 * 3_600_000) -> dict[tuple[int, int], float]:
    """(meter, quantity) -> W or mWh that the gateway reads from what the devices publish."""
    config = parse(house.meters_yaml("mqtt://127.0.0.1:1883"), "meters.yaml")
    sent = dict(house.messages(at_ms, watts, wh))
    assert set(sent) == {source.topic for source in config.sources}
    found = {}
    for source in config.sources:
        if source.quantity in (POWER, IMPORT):
            power, register = source.read(document(sent[source.topic].encode()))
            found[source.meter_id, source.quantity] = power if source.quantity == POWER else register
    return found


def test_the_gateway_reads_each_device(house):
    watts = np.linspace(0.5, 2100.25, len(house.devices)).astype(np.float32)
    found = read(house, watts, 1000.0 + watts)
    for meter, power in zip(house.meters, watts.tolist()):
        assert found[meter.meter_id, POWER] == pytest.approx(power, abs=ROUNDED_W)
        assert found[meter.meter_id, IMPORT] == pytest.approx((1000 + power) * 1000, abs=ROUNDED_MWH)
    assert {device.preset for device in house.devices} == set(MODELS) <= set(PRESETS)


def test_the_gateways_file_has_the_houses_meters(house):
    [of_file] = parse(house.meters_yaml("mqtt://127.0.0.1:18"), "meters.yaml").houses
    assert (of_file.house_id, of_file.timezone, list(of_file.meters)) == (house.house_id, ZONE, house.meters)


@pytest.mark.parametrize("preset", ["dsmr-reader", "tasmota", "zigbee2mqtt"])
def test_a_device_sends_its_time_as_the_preset_reads_it(house, preset):
    at_ms = START_MS + 5 * 3_600_000
    device = next(device for device in house.devices if device.preset == preset)
    text = house.meters_yaml("mqtt://x").replace(f"preset: {preset}\n", f"preset: {preset}\n    time: device\n")
    source = next(source for source in parse(text, "meters.yaml").sources if source.topic == device.topic)
    sent = dict(house.messages(at_ms, np.zeros(len(house.devices)), np.zeros(len(house.devices))))
    assert source.time_ms(document(sent[device.topic].encode())) == at_ms


def test_a_day_has_the_sum_of_the_phases_and_each_appliance(house):
    whole, day = SyntheticHouse(house.house_id, 1, ZONE, has_faults=False).day(DAY), house.day(DAY)
    (_, one), (_, other), *plugged = whole.readings
    assert all((np.diff(times) == STEP_MS).all() and times[0] == START_MS and len(times) == 23 * 1200 for times, _ in day.readings)
    assert (day.readings[MAINS][1] == (one + other)[::3]).all()
    assert [meter.label for meter in house.meters[:2]] == ["mains", "refrigerator"]
    assert all((ours == theirs).all() for (_, ours), (_, theirs) in zip(day.readings[1:], plugged, strict=True))


def test_the_power_at_a_time_is_that_of_the_day_and_goes_on_the_next_one(house):
    for at_ms, day, step in ((START_MS + 4_999, DAY, 1), (END_MS - 1, DAY, -1), (END_MS, DAY + timedelta(days=1), 0)):
        expected = [watts[step] for _, watts in house.day(day).readings]
        assert house.watts_at(at_ms).tolist() == expected
    more = house.watts_at(END_MS, has_spike=True) - house.watts_at(END_MS)
    assert more[[MAINS, REFRIGERATOR]].tolist() == pytest.approx([SPIKE_WATTS] * 2, rel=1e-4) and np.count_nonzero(more) == 2


def test_a_spike_is_far_over_what_the_refrigerator_draws(house):
    assert 3 * max(house.day(DAY).readings[REFRIGERATOR][1]) < SPIKE_WATTS
