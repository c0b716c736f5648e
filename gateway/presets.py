"""What kinds of devices publish: the topic, where the power is in the payload, and in which unit."""

from __future__ import annotations

from dataclasses import dataclass

WATTS_PER_UNIT = {"W": 1.0, "kW": 1000.0, "mW": 0.001}


@dataclass(frozen=True)
class Preset:
    """A kind of device.

    topic: with {device} and {channel} in it. power, returned, time: paths in the payload (gateway.payloads); returned is power that is
    fed in, which the device sends apart. channel, device: unless meters.yaml names others; an empty device must be named.
    """

    topic: str
    power: str = ""
    returned: str = ""
    unit: str = "W"
    time: str = ""
    channel: str = "0"
    device: str = ""


PRESETS = {
    "shelly": Preset("{device}/status/switch:{channel}", "apower"),
    "shelly-pm": Preset("{device}/status/pm1:{channel}", "apower"),
    "shelly-em1": Preset("{device}/status/em1:{channel}", "act_power"),
    "shelly-em": Preset("{device}/status/em:{channel}", "total_act_power"),
    "shelly-gen1": Preset("shellies/{device}/relay/{channel}/power"),
    "shelly-gen1-em": Preset("shellies/{device}/emeter/{channel}/power"),
    "tasmota": Preset("tele/{device}/SENSOR", "ENERGY.Power", time="Time"),
    "zigbee2mqtt": Preset("zigbee2mqtt/{device}", "power", time="last_seen"),
    "esphome": Preset("{device}/sensor/{channel}/state", channel="power"),
    "dsmr-reader": Preset(
        "{device}/json", "electricity_currently_delivered", "electricity_currently_returned", unit="kW", time="timestamp", device="dsmr"
    ),
    "homeassistant": Preset("homeassistant/sensor/{device}/state"),
    "emon": Preset("emon/{device}/{channel}", channel="power1"),
}
"""Name in meters.yaml -> kind of device. docs/connect.md lists them."""
