"""A synthetic house with simulated devices: DSMR-reader at its grid connection, and a plug at each appliance.

The devices publish what real ones do, so the gateway's presets read them: plugs of Shelly, Tasmota and zigbee2mqtt in turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import yaml

from generator.houses import House, HouseDay, Meter
from generator.synthetic import FIRST_APPLIANCE, STEP_MS, SyntheticHouse
from smartmeter.arrays import Float32s, Floats
from smartmeter.local_days import dates, local_date
from smartmeter.timezones import zone

HOUSE_ID, SEED = 1, 1
VOLTS = 230.0
SPIKE_WATTS = 3000.0
MAINS, REFRIGERATOR = 0, 1
"""Places of devices in a house."""

Payload = Callable[[datetime, float, float], dict[str, object]]
"""(local time, power in W, register of import in Wh) -> what a device publishes then."""


def dsmr_reader(at: datetime, watts: float, wh: float) -> dict[str, object]:
    """The JSON telegram of DSMR-reader, of a meter with one tariff."""
    return {
        "timestamp": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "electricity_delivered_1": f"{wh / 1000:.3f}",
        "electricity_delivered_2": "0.000",
        "electricity_returned_1": "0.000",
        "electricity_returned_2": "0.000",
        "electricity_currently_delivered": f"{watts / 1000:.3f}",
        "electricity_currently_returned": "0.000",
    }


def shelly(at: datetime, watts: float, wh: float) -> dict[str, object]:
    """The status of the switch of a Shelly plug of the second generation."""
    return {
        "id": 0,
        "output": True,
        "apower": round(watts, 1),
        "voltage": VOLTS,
        "current": round(watts / VOLTS, 3),
        "aenergy": {"total": round(wh, 3), "minute_ts": int(at.timestamp()) // 60 * 60},
    }


def tasmota(at: datetime, watts: float, wh: float) -> dict[str, object]:
    """The telemetry of a Tasmota plug."""
    energy = {"Total": round(wh / 1000, 3), "Power": round(watts), "Voltage": round(VOLTS), "Current": round(watts / VOLTS, 3)}
    return {"Time": f"{at:%Y-%m-%dT%H:%M:%S}", "ENERGY": energy}


def zigbee2mqtt(at: datetime, watts: float, wh: float) -> dict[str, object]:
    """The state of a Zigbee plug."""
    return {
        "state": "ON",
        "power": round(watts, 1),
        "energy": round(wh / 1000, 2),
        "voltage": round(VOLTS),
        "current": round(watts / VOLTS, 2),
        "last_seen": at.isoformat(timespec="seconds"),
        "linkquality": 120,
    }


MODELS: dict[str, tuple[str, Payload]] = {
    "dsmr-reader": ("{}/json", dsmr_reader),
    "shelly": ("{}/status/switch:0", shelly),
    "tasmota": ("tele/{}/SENSOR", tasmota),
    "zigbee2mqtt": ("zigbee2mqtt/{}", zigbee2mqtt),
}
"""Preset of the gateway -> (topic, with the device's name for {}; payload)."""
PLUGS = ("shelly", "tasmota", "zigbee2mqtt")


@dataclass(frozen=True)
class Device:
    """A device, by its meter, its preset in MODELS, and its name."""

    meter: Meter
    preset: str
    name: str

    @property
    def topic(self) -> str:
        """The topic to which it publishes."""
        return MODELS[self.preset][0].format(self.name)

    def payload(self, at: datetime, watts: float, wh: float) -> str:
        """What it publishes at a local time. watts: its power, in W. wh: its register, in Wh."""
        return json.dumps(MODELS[self.preset][1](at, watts, wh))


class PluggedHouse(House):
    """The house of the devices. devices[i] measures meters[i], every STEP_MS. It has no faults but the spikes that a user makes."""

    def __init__(self, timezone: str):
        self._whole = SyntheticHouse(HOUSE_ID, SEED, timezone, has_faults=False)
        mains, plugged = Meter(1, "mains", "mains"), self._whole.meters[FIRST_APPLIANCE - 1 :]
        super().__init__(HOUSE_ID, "synthetic", timezone, [mains, *plugged])
        plugs = [Device(meter, PLUGS[i % len(PLUGS)], f"{meter.label}-{meter.meter_id}") for i, meter in enumerate(plugged)]
        self.devices = [Device(mains, "dsmr-reader", "dsmr"), *plugs]
        self._today: HouseDay | None = None

    def days(self, first: date, end: date) -> Iterator[HouseDay]:
        """See House."""
        for day in dates(first, end):
            yield self.day(day)

    def day(self, day: date) -> HouseDay:
        """The house's readings of a local day. The mains are the sum of both phases."""
        whole = self._whole.day(day)
        (times_ms, one), (_, other), *plugged = whole.readings
        every = STEP_MS // 1000
        return HouseDay(day, whole.start_ms, whole.end_ms, [(times_ms[::every], (one + other)[::every]), *plugged])

    def watts_at(self, at_ms: int, has_spike: bool = False) -> Float32s:
        """The power of each device at a time, in W, float32 (devices,). has_spike: the refrigerator draws SPIKE_WATTS more."""
        if not self._today or not self._today.start_ms <= at_ms < self._today.end_ms:
            self._today = self.day(local_date(at_ms, self.timezone))
        step = (at_ms - self._today.start_ms) // STEP_MS
        watts = np.array([watts[step] for _, watts in self._today.readings], np.float32)
        if has_spike:
            watts[[MAINS, REFRIGERATOR]] += np.float32(SPIKE_WATTS)
        return watts

    def messages(self, at_ms: int, watts: Float32s, wh: Floats) -> Iterator[tuple[str, str]]:
        """(topic, payload) of what the devices publish at a time. watts, wh: the power and the register of each, (devices,)."""
        at = datetime.fromtimestamp(at_ms // 1000, zone(self.timezone))
        for device, power, register in zip(self.devices, watts.tolist(), wh.tolist()):
            yield device.topic, device.payload(at, power, register)

    def meters_yaml(self, url: str) -> str:
        """The gateway's file for these devices at an MQTT broker."""
        meters = [
            {"id": of.meter.meter_id, "label": of.meter.label, "kind": of.meter.kind, "preset": of.preset, "device": of.name}
            for of in self.devices
        ]
        house = {"id": self.house_id, "timezone": self.timezone, "meters": meters}
        return str(yaml.safe_dump({"broker": {"url": url}, "houses": [house]}, sort_keys=False))
