"""Recognises devices by what they publish, and writes a first meters.yaml of them.

Topics decide first: that of a preset with the most fixed text wins. Then the payload must have the preset's power. Of the presets whose payload
is a plain number, the name in the topic must be that of a power.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gateway.config import OF_METER
from gateway.payloads import WATTS_PER_UNIT, Unusable, document, number, watts
from gateway.presets import PRESETS, Preset
from smartmeter.timezones import is_timezone

MOST_TOPICS = 3000
"""Topics that are remembered. So the meters of one house fit into its bursts, which have up to 10,000 channels."""
LONGEST_TOPIC = 500
MOST_SHOWN = 100
"""Topics with plain numbers that a file lists."""
A_POWER = r"(?![^/]*(?i:factor|reactive|apparent|energy|hour|kwh))[^/]*(?i:power|watt)[^/]*"
NAMES = {"esphome": A_POWER, "homeassistant": A_POWER, "emon": A_POWER, "emontx": r"\d+"}
"""Preset whose topics have plain numbers of all kinds -> the channel in the topics of a power, or the device if it has no channel."""
MAINS = ("dsmr-reader",)
WIDEST = 10**9


class Device(NamedTuple):
    """A device that was recognised, and the topic of its power."""

    preset: str
    device: str
    channel: str
    topic: str
    watts: float
    is_retained: bool

    @property
    def has_own_channel(self) -> bool:
        """Whether its channel is not the usual one."""
        return self.channel != PRESETS[self.preset].channel

    @property
    def name(self) -> str:
        """What it is called: the last part of its device, and a channel of its own."""
        name = self.device.rstrip("/").rsplit("/", 1)[-1] or self.device
        return f"{name} {self.channel}" if self.has_own_channel else name

    @property
    def state(self) -> str:
        """What it measured."""
        return f"{self.watts:g} W{', kept by the broker, so it may be old' if self.is_retained else ''}"


@dataclass(frozen=True)
class _Kind:
    """A preset, and the pattern of the topics of its power or of a register."""

    name: str
    preset: Preset
    pattern: re.Pattern[str]
    is_power: bool


def _kinds() -> Iterator[_Kind]:
    """All of them, those with the most fixed text in their topic first."""
    topics = [
        (name, preset, topic, topic == preset.topic)
        for name, preset in PRESETS.items()
        for topic in {preset.topic, *(register.topic for register in (preset.imported, preset.exported) if register and register.topic)}
    ]
    for name, preset, topic, is_power in sorted(topics, key=lambda one: -len(one[2])):
        hole = "channel" if "{channel}" in topic else "device"
        holes = {"device": ".+", "channel": "[^/]+"} | ({hole: NAMES[name]} if name in NAMES else {})
        parts = re.split(r"\{(device|channel)\}", topic)
        pattern = "".join(f"(?P<{part}>{holes[part]})" if i % 2 else re.escape(part) for i, part in enumerate(parts))
        yield _Kind(name, preset, re.compile(pattern), is_power)


KINDS = tuple(_kinds())


class Discovery:
    """What was seen of a broker's messages.

    devices: topic -> what was recognised there. numbers: topic -> a plain number that belongs to none. beyond: messages of topics that were not
    looked at, as there were too many.
    """

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.numbers: dict[str, float] = {}
        self.beyond = 0
        self._seen: set[str] = set()

    @property
    def topics(self) -> int:
        """How many were looked at."""
        return len(self._seen)

    def see(self, topic: str, payload: bytes, is_retained: bool) -> None:
        """Look at a message. is_retained: the broker has kept it for newcomers."""
        if topic not in self._seen and (self.topics >= MOST_TOPICS or len(topic) > LONGEST_TOPIC):
            self.beyond += 1
            return
        self._seen.add(topic)
        try:
            found = document(payload)
        except Unusable:
            found = None
        if device := _recognised(topic, found, is_retained):
            self.devices[topic] = device
            self.numbers.pop(topic, None)
        elif (value := _plain_number(found)) is not None and topic not in self.devices and not _is_register(topic):
            self.numbers[topic] = value


def _recognised(topic: str, found: Any, is_retained: bool) -> Device | None:
    """The device whose power is in the document of a message."""
    for kind in KINDS:
        match = kind.pattern.fullmatch(topic) if kind.is_power else None
        if not match:
            continue
        holes = {"device": kind.preset.device, "channel": kind.preset.channel} | match.groupdict()
        try:
            power = watts(found, kind.preset.power, WATTS_PER_UNIT[kind.preset.unit])
            device, channel = (OF_METER[name].read(holes[name]) for name in ("device", "channel"))
        except ValueError:  # it has no power, or a name that no file may have
            continue
        return Device(kind.name, device, channel, topic, power, is_retained)
    return None


def _is_register(topic: str) -> bool:
    return any(kind.pattern.fullmatch(topic) for kind in KINDS if not kind.is_power)


def _plain_number(found: Any) -> float | None:
    try:
        return float(number(found)) if not isinstance(found, list) else None
    except Unusable:
        return None


def houses_of(discovery: Discovery, timezone: str) -> str:
    """The part `houses` of a meters.yaml: one house with what was recognised. timezone: of the house, as far as is known."""
    lines, labels = ["houses:", "  - id: 1", f"    timezone: {timezone}", "    # zip: 02139", "    meters:"], set[str]()
    for meter_id, device in enumerate(sorted(discovery.devices.values(), key=lambda device: device.preset not in MAINS), 1):
        label = _unique(device.name[:90], labels)
        labels.add(label)
        meter = {"id": meter_id, "label": label, "kind": "mains" if device.preset in MAINS else "appliance", "preset": device.preset}
        meter |= {"device": device.device} | ({"channel": device.channel} if device.has_own_channel else {})
        text = yaml.safe_dump(meter, default_flow_style=True, sort_keys=False, width=WIDEST, allow_unicode=device.topic.isprintable())
        lines.append(f"      - {text.rstrip()}  # {device.state}")
    return "\n".join([*lines, *numbers_of(discovery), ""])


def numbers_of(discovery: Discovery) -> list[str]:
    """The topics with a plain number that belongs to no device, as lines of comments."""
    lines = [f"# {json.dumps(topic)}: {discovery.numbers[topic]:.15g}" for topic in sorted(discovery.numbers)]
    heading = ["# Other topics with a number. A meter takes one by its key topic, import_topic or export_topic:"] if lines else []
    return heading + lines[:MOST_SHOWN] + ([f"# and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else [])


def _unique(name: str, taken: Collection[str]) -> str:
    """A name, with a number if it is taken."""
    names = [name, *(f"{name} {n}" for n in range(2, len(taken) + 2))]
    return next(one for one in names if one not in taken)


def timezone_of_machine(environ: Mapping[str, str] = os.environ, localtime: Path = Path("/etc/localtime")) -> str:
    """The IANA time zone that this machine is set to; UTC if it does not show."""
    names = environ.get("TZ", "").lstrip(":"), str(localtime.resolve()).partition("zoneinfo/")[2]
    return next((name for name in names if is_timezone(name)), "UTC")
