"""What kinds of devices publish: the topics, where power and registers are in the payload, and in which unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Register:
    """Where a register of energy is. topic: with {device} and {channel} in it; empty: that of the power, whose messages may lack it."""

    path: str = ""
    topic: str = ""


@dataclass(frozen=True)
class Preset:
    """A kind of device.

    topic: with {device} and {channel} in it. power, time: paths in the payload (gateway.payloads). imported, exported: of its
    registers; None: it has none, or their place is not known. channel, device: unless meters.yaml names others; an empty device must be named.
    """

    topic: str
    power: str = ""
    imported: Register | None = None
    exported: Register | None = None
    unit: str = "W"
    energy_unit: str = ""
    time: str = ""
    channel: str = "0"
    device: str = ""


SHELLY_IMPORT, SHELLY_EXPORT = Register("aenergy.total - ret_aenergy.total?"), Register("ret_aenergy.total")
"""Shelly's `aenergy` counts what is returned, too."""
PRESETS = {
    "shelly": Preset("{device}/status/switch:{channel}", "apower", SHELLY_IMPORT, SHELLY_EXPORT, energy_unit="Wh"),
    "shelly-pm": Preset("{device}/status/pm1:{channel}", "apower", SHELLY_IMPORT, SHELLY_EXPORT, energy_unit="Wh"),
    "shelly-em1": Preset(
        "{device}/status/em1:{channel}",
        "act_power",
        Register("total_act_energy", "{device}/status/em1data:{channel}"),
        Register("total_act_ret_energy", "{device}/status/em1data:{channel}"),
        energy_unit="Wh",
    ),
    "shelly-em": Preset(
        "{device}/status/em:{channel}",
        "total_act_power",
        Register("total_act", "{device}/status/emdata:{channel}"),
        Register("total_act_ret", "{device}/status/emdata:{channel}"),
        energy_unit="Wh",
    ),
    "shelly-gen1": Preset(
        "shellies/{device}/relay/{channel}/power", "", Register("", "shellies/{device}/relay/{channel}/energy"), energy_unit="Wmin"
    ),
    "shelly-gen1-em": Preset(
        "shellies/{device}/emeter/{channel}/power",
        "",
        Register("", "shellies/{device}/emeter/{channel}/total"),
        Register("", "shellies/{device}/emeter/{channel}/total_returned"),
        energy_unit="Wh",
    ),
    "tasmota": Preset(
        "tele/{device}/SENSOR", "ENERGY.Power", Register("ENERGY.Total"), Register("ENERGY.ExportActive"), energy_unit="kWh", time="Time"
    ),
    "zigbee2mqtt": Preset(
        "zigbee2mqtt/{device}", "power", Register("energy"), Register("produced_energy"), energy_unit="kWh", time="last_seen"
    ),
    "esphome": Preset("{device}/sensor/{channel}/state", channel="power"),
    "dsmr-reader": Preset(
        "{device}/json",
        "electricity_currently_delivered - electricity_currently_returned",
        Register("electricity_delivered_1 + electricity_delivered_2"),
        Register("electricity_returned_1 + electricity_returned_2"),
        unit="kW",
        energy_unit="kWh",
        time="timestamp",
        device="dsmr",
    ),
    "homeassistant": Preset("homeassistant/sensor/{device}/state"),
    "emon": Preset("emon/{device}/{channel}", channel="power1"),
    "emontx": Preset("emon/{device}/P{channel}", "", Register("", "emon/{device}/E{channel}"), energy_unit="Wh", channel="1"),
}
"""Name in meters.yaml -> kind of device. docs/connect.md lists them."""
