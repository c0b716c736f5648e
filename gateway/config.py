"""meters.yaml: broker and http, the houses, their meters, and where the readings of each come from. docs/connect.md has an example.

All mistakes are reported at once, each as one sentence with its line and column.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args
from urllib.parse import urlsplit

import yaml

from gateway.payloads import MWH_PER_UNIT, WATTS_PER_UNIT
from gateway.presets import PRESETS, Preset
from gateway.source import Source
from generator.houses import Meter
from smartmeter.errors import UserError
from smartmeter.messages.codec import EXPORT, IMPORT, POWER
from smartmeter.messages.records import MeterKind
from smartmeter.mqtt_broker import PORTS, Broker
from smartmeter.serving import why_no_certificate
from smartmeter.terminal import printable
from smartmeter.timezones import is_timezone

T = TypeVar("T")

ARRIVAL, DEVICE = "arrival", "device"
SILENT_S = 600.0
LONGEST_HOLD_S = 90_000
"""A reading holds no longer (docs/design.md, "Energy")."""
VARIABLE = re.compile(r"\$\{(\w+)\}", re.ASCII)


@dataclass(frozen=True)
class Http:
    """Where readings are taken by HTTP. certificate, key: PEM files; empty: without TLS."""

    address: str = "127.0.0.1"
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True)
class House:
    """A house, its meters, and the sources of their readings.

    by_http: meter -> its source, without a topic, if its readings come by HTTP. token: what these requests must have; empty: none are taken.
    """

    house_id: int
    timezone: str
    zip: str
    meters: tuple[Meter, ...]
    sources: tuple[Source, ...]
    by_http: Mapping[int, Source] = field(default_factory=dict)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Config:
    """A file meters.yaml. It has a broker, http or both. burst_s: how long readings are gathered."""

    broker: Broker | None
    houses: tuple[House, ...]
    burst_s: float = 1.0
    http: Http | None = None

    @property
    def sources(self) -> list[Source]:
        """Those of all houses, by MQTT."""
        return [source for house in self.houses for source in house.sources]

    @property
    def meters(self) -> list[Source]:
        """The first source of each meter: of its power, if that is taken."""
        all_sources = [*self.sources, *(source for house in self.houses for source in house.by_http.values())]
        return list({(source.house_id, source.meter_id): source for source in reversed(all_sources)}.values())[::-1]


class ConfigError(UserError):
    """A file has mistakes. The message has a line for each."""


def load(file: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in a file. Raises ConfigError, or UserError for a file that cannot be read."""
    return parse(text_of(file), file, environ)


def text_of(file: Path) -> str:
    """The text of a file. Raises UserError if it cannot be read."""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise UserError(f"{file} cannot be read ({reason}): give the file of the meters; docs/connect.md has an example") from None


def parse(text: str, file: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in a text. file: for messages, and for relative paths in it. Raises ConfigError."""
    return _read(_Reader.config, text, file, environ)


def parse_broker(text: str, file: Path, environ: Mapping[str, str] = os.environ) -> Broker:
    """The broker in a text that has no houses yet. Raises ConfigError."""
    return _read(_Reader.only_broker, text, file, environ)


def _read(read: Callable[[_Reader, yaml.Node], T | None], text: str, file: Path, environ: Mapping[str, str]) -> T:
    reader = _Reader(file, environ)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        reader.mistake(error.problem_mark, f"it is no YAML: {error.problem}")
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"{file}: it is no YAML: see docs/connect.md for an example") from None
    else:
        if not root:
            raise ConfigError(f"{file}: it is empty: see docs/connect.md for an example")
        found = read(reader, root)
        if found and not reader.mistakes:
            return found
    raise ConfigError("\n".join(reader.mistakes))


class Check(NamedTuple):
    """How to read the text of a value, and what it takes, for a message."""

    read: Callable[[str], Any]
    takes: str


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        if not low <= (value := float(text)) <= high:
            raise ValueError
        return value

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return read


def _one_of(names: Collection[str]) -> Check:
    return Check(lambda text: {name: name for name in names}[text], f"one of {', '.join(names)}")


def _timezone(text: str) -> str:
    if not is_timezone(text):
        raise ValueError
    return text


def _text(pattern: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return read


TOPIC = Check(_text(r"[^+#\0\n]{1,1000}"), "the topic of one device, without the wildcards + and #")
PATH = Check(
    _text(r"[^\n]{0,200}"), "a row of names and list positions in the JSON, such as ENERGY.Power, or some with + or - between them"
)
OF_FILE = ("broker", "http", "houses", "burst_s")
OF_BROKER = {
    "url": Check(
        _text(r"mqtts?://[^/@\s]+/?"), "an address such as mqtt://HOST:1883 or mqtts://HOST:8883; user and password have their own keys"
    ),
    "user": Check(_text(r".{1,1000}"), "the name of a user"),
    "password": Check(_text(r".{1,1000}"), "a password, or ${NAME} for that of an environment variable"),
    "password_file": Check(_text(r".{1,1000}"), "a file with the password"),
    "ca": Check(_text(r".{1,1000}"), "a PEM file of the authorities to trust"),
    "client_id": Check(_text(r"[\w.-]{1,64}"), "up to 64 letters, digits and _ . -"),
}
FILE = Check(_text(r".{1,1000}"), "a PEM file")
OF_HTTP = {
    "address": Check(_text(r"[\w.:-]{1,253}"), "an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"),
    "certificate": FILE,
    "key": FILE,
}
TOKEN = re.compile(r"[!-~]{16,200}")
OF_HOUSE = {
    "id": Check(_whole(1, 2**53), "a whole number from 1 on"),
    "timezone": Check(_timezone, "an IANA time zone such as Europe/London"),
    "zip": Check(_text(r".{1,20}"), "a postal code"),
    "token": Check(_text(r".{1,1000}"), "a token, or ${NAME} for that of an environment variable"),
    "token_file": Check(_text(r".{1,1000}"), "a file with the token"),
}
OF_METER = {
    "id": Check(_whole(1, 2**31 - 1), "a whole number from 1 on"),
    "label": Check(_text(r".{1,100}"), "a name such as mains or fridge"),
    "kind": _one_of(get_args(MeterKind)),
    "parent": Check(_whole(1, 2**31 - 1), "the id of another meter of the house"),
    "preset": _one_of(PRESETS),
    "device": Check(_text(r"[^+#\0\n]{1,500}"), "the name of the device in its topic"),
    "channel": Check(_text(r"[^+#\0\n]{1,500}"), "the name of the channel in its topic"),
    "topic": TOPIC,
    "power": PATH,
    "unit": _one_of(WATTS_PER_UNIT),
    "import": PATH,
    "import_topic": TOPIC,
    "export": PATH,
    "export_topic": TOPIC,
    "energy_unit": _one_of(MWH_PER_UNIT),
    "sign": _one_of(("1", "-1")),
    "time": Check(_text(r"[^\n]{1,200}"), f"{ARRIVAL}, {DEVICE} (of a preset whose payload has a time), or a row of names in the JSON"),
    "holds_s": Check(_whole(1, LONGEST_HOLD_S), f"a whole number of s, up to {LONGEST_HOLD_S} (25 h)"),
    "silent_s": Check(_number(0, 1e9), "a time in s; 0: never"),
}
OF_METER_BY_HTTP = ("id", "label", "kind", "parent", "holds_s", "silent_s")
BURST_S = Check(_number(0.1, 3600), "a time in s, from 0.1 to 3600")
UNKNOWN = 0
"""Stands for the id of a house or meter whose own has a mistake."""
REGISTERS = {IMPORT: "import", EXPORT: "export"}
"""Quantity -> its key in a meter."""


class _Value(NamedTuple):
    """Where a channel of a meter is: see Source."""

    quantity: int
    topic: str
    path: str
    factor: Decimal = Decimal(1)
    is_optional: bool = False


class _Reader:
    """Reads the nodes of a YAML document, and collects its mistakes. All values are read from their text, so that no zip becomes octal.

    What has a mistake is read on with what stands for it, so that all other mistakes are found, too. sources: where in the file, and what.
    """

    def __init__(self, file: Path, environ: Mapping[str, str]):
        self.file, self.environ, self.mistakes = file, environ, list[str]()
        self.sources: list[tuple[yaml.Node, Source]] = []

    def mistake(self, place: yaml.Node | yaml.Mark | None, sentence: str) -> None:
        mark = place.start_mark if isinstance(place, yaml.Node) else place
        self.mistakes.append(printable(f"{self.file}{f':{mark.line + 1}:{mark.column + 1}' if mark else ''}: {sentence}"))

    def config(self, root: yaml.Node) -> Config | None:
        found = self.fields(root, "the file", OF_FILE, needed=("houses",))
        broker = self.broker(found["broker"]) if "broker" in found else None
        http = self.http(found["http"]) if "http" in found else None
        read = [(node, house) for node in self.items(found.get("houses"), "houses") if (house := self.house(node))]
        houses = [house for _, house in read]
        self.once([(node, house.house_id) for node, house in read], "two houses have the id {}: give each its own")
        self.topics_once()
        self.ways(root, found, houses)
        self.tokens([(node, house) for node, house in read if house.token])
        burst_s = self.value(found["burst_s"], "burst_s", BURST_S) if "burst_s" in found else 1.0
        return Config(broker, tuple(houses), burst_s, http) if burst_s else None

    def ways(self, root: yaml.Node, found: Collection[str], houses: Sequence[House]) -> None:
        """Readings come by MQTT, by HTTP, or both."""
        is_certain = not self.mistakes  # that a part is not used: what has a mistake may use it
        for key, uses, what in (
            ("broker", [house for house in houses if house.sources], "meters by MQTT"),
            ("http", [house for house in houses if house.token], "a token"),
        ):
            if uses and key not in found:
                self.mistake(root, f"house {uses[0].house_id} has {what}, and the file has no {key}: add it")
            elif key in found and not uses and is_certain:
                self.mistake(root, f"{key}: no house has {what}: leave it out, or see docs/connect.md for an example")

    def tokens(self, houses: Sequence[tuple[yaml.Node, House]]) -> None:
        seen = set[str]()
        for node, house in houses:
            if not TOKEN.fullmatch(house.token):
                self.mistake(node, "token: it takes 16 to 200 letters, digits and signs without a blank: openssl rand -hex 16 makes one")
            if house.token in seen:
                self.mistake(node, f"token: house {house.house_id} has that of another house: give each its own")
            seen.add(house.token)

    def only_broker(self, root: yaml.Node) -> Broker | None:
        found = self.fields(root, "the file", OF_FILE, needed=("broker",))
        if "houses" in found:
            self.mistake(found["houses"], "the file has houses already: give --config a new file, and copy from it what you need")
        return self.broker(found["broker"]) if "broker" in found else None

    def broker(self, node: yaml.Node) -> Broker | None:
        found = self.values(node, "broker", OF_BROKER, needed=("url",))
        password = self.secret(node, "password", found)
        ca = str(self.file.parent / found["ca"]) if "ca" in found else ""
        if ca:
            self.in_file(node, "ca", found["ca"])
        if password and "user" not in found:
            self.mistake(node, "broker: it has a password and no user: give it both")
        try:
            url = urlsplit(found.get("url", ""))
            host, port = url.hostname or "", url.port or PORTS.get(url.scheme, 0)
        except ValueError:
            self.mistake(node, "broker: url has no valid host and port: write one such as mqtt://HOST:1883")
            return None
        client_id = found.get("client_id", Broker.client_id)
        return Broker(host, port, url.scheme == "mqtts", found.get("user", ""), password, ca, client_id) if host else None

    def http(self, node: yaml.Node) -> Http:
        found = self.values(node, "http", OF_HTTP, needed=())
        certificate, key = (str(self.file.parent / found[name]) if name in found else "" for name in ("certificate", "key"))
        if (certificate or key) and (reason := why_no_certificate(certificate, key)):
            self.mistake(node, f"http: set certificate and key to PEM files that belong together ({reason})")
        return Http(found.get("address", Http.address), certificate, key)

    def house(self, node: yaml.Node) -> House | None:
        found = self.fields(node, "a house", (*OF_HOUSE, "meters"), needed=("id", "timezone", "meters"))
        if not found:
            return None
        values = self.valid(found, OF_HOUSE)
        token, has_token = self.secret(node, "token", values), bool(found.keys() & {"token", "token_file"})
        house_id, timezone = values.get("id", UNKNOWN), values.get("timezone", "UTC")
        read = [(meter, *self.meter(meter, house_id, timezone, has_token)) for meter in self.items(found.get("meters"), "meters")]
        self.once([(meter, of.meter_id) for meter, of, _ in read], "two meters of the house have the id {}: give each its own")
        self.parents([(meter, of) for meter, of, _ in read])
        meters, sources = tuple(of for _, of, _ in read), [source for _, _, some in read for source in some]
        by_mqtt, by_http = tuple(source for source in sources if source.topic), {of.meter_id: of for of in sources if not of.topic}
        return House(house_id, timezone, values.get("zip", ""), meters, by_mqtt, by_http, token)

    def meter(self, node: yaml.Node, house_id: int, timezone: str, has_token: bool) -> tuple[Meter, list[Source]]:
        before = len(self.mistakes)
        nodes = self.fields(node, "a meter", OF_METER, needed=("id", "label"))
        has_fields = len(self.mistakes) == before
        found = self.valid(nodes, OF_METER)
        meter = Meter(found.get("id", UNKNOWN), found.get("label", ""), found.get("kind", "appliance"), found.get("parent", 0))
        if not has_fields or nodes.keys() - found.keys() - set(OF_METER_BY_HTTP):
            return meter, []  # where its readings come from has a mistake
        preset = PRESETS[found["preset"]] if "preset" in found else Preset("")
        is_by_http = has_token and not found.keys() & {"preset", "topic", "import_topic", "export_topic"}
        values = self.without_topic(node, found) if is_by_http else self.channels(node, found, preset)
        time = found.get("time", ARRIVAL)
        if time == DEVICE and not preset.time:
            self.mistake(node, "time: device takes a preset whose payload has a time, such as tasmota: write the row of names in the JSON")
        holds_s = found.get("holds_s", 0)
        sources = [
            Source(
                house_id,
                meter.meter_id,
                meter.label,
                timezone,
                value.topic,
                value.path,
                value.factor,
                {ARRIVAL: "", DEVICE: preset.time}.get(time, time) if value.topic == values[0].topic else "",
                holds_s if value.quantity == POWER else 0,
                found.get("silent_s", max(SILENT_S, holds_s)),
                value.quantity,
                value.is_optional,
            )
            for value in values
        ]
        self.sources += [(node, source) for source in sources if source.topic]
        return meter, sources

    def without_topic(self, node: yaml.Node, found: Collection[str]) -> list[_Value]:
        """What stands for a meter whose readings come by HTTP."""
        if others := [key for key in found if key not in OF_METER_BY_HTTP]:
            self.mistake(node, f"{others[0]}: a meter by HTTP takes {', '.join(OF_METER_BY_HTTP)}; one by MQTT has a preset or a topic")
        return [_Value(POWER, "", "")]

    def channels(self, node: yaml.Node, found: Mapping[str, Any], preset: Preset) -> list[_Value]:
        """Where the power and the registers of a meter are; one or more, unless there is a mistake."""
        sign, topic = int(found.get("sign", "1")), found.get("topic") or self.topic(node, found, preset)
        registers = [value for quantity in REGISTERS if (value := self.register(quantity, topic, found, preset))]
        if not topic and (not registers or any(not value.topic for value in registers)):
            self.mistake(
                node, "a meter has neither preset nor topic: write where its readings come from, or give its house a token for HTTP"
            )
        unit = found.get("energy_unit", preset.energy_unit)
        if registers and not unit:
            self.mistake(node, f"energy_unit is missing: write in what the register counts, one of {', '.join(MWH_PER_UNIT)}")
            return []
        values = [value._replace(factor=MWH_PER_UNIT[unit]) for value in registers]
        if sign < 0:
            values = [value._replace(quantity=IMPORT + EXPORT - value.quantity) for value in values]
        if topic and ("power" in found or preset.topic or all(value.topic != topic for value in values)):
            factor = WATTS_PER_UNIT[found.get("unit", preset.unit)] * sign
            values.insert(0, _Value(POWER, topic, found.get("power", preset.power), factor))
        return values

    def register(self, quantity: int, topic: str, found: Mapping[str, Any], preset: Preset) -> _Value | None:
        """Where a register of a meter is, if it has one. topic: that of the meter.

        A preset's registers are those of its power, so not of a power at another place, such as that of a phase.
        """
        key, known = REGISTERS[quantity], preset.imported if quantity == IMPORT else preset.exported
        if key in found or f"{key}_topic" in found:
            return _Value(quantity, found.get(f"{key}_topic", topic), found.get(key, ""))
        if not known or "power" in found or (known.topic and not found.get("device", preset.device)):
            return None
        return _Value(quantity, self.filled(known.topic, found, preset) or topic, known.path, is_optional=not known.topic)

    def topic(self, node: yaml.Node, found: Mapping[str, Any], preset: Preset) -> str:
        """The topic of a preset's device; empty without a preset."""
        if preset.topic and not found.get("device", preset.device):
            self.mistake(node, f"preset {found['preset']} takes the device: write its name in the topic {preset.topic}")
        return self.filled(preset.topic, found, preset)

    def filled(self, topic: str, found: Mapping[str, Any], preset: Preset) -> str:
        """A topic of a preset, with the device and the channel of a meter."""
        return topic.format(device=found.get("device", preset.device), channel=found.get("channel", preset.channel))

    def parents(self, meters: Sequence[tuple[yaml.Node, Meter]]) -> None:
        parent_of = {meter.meter_id: meter.parent for _, meter in meters}
        if UNKNOWN in parent_of:
            return
        for node, meter in meters:
            above = [meter.meter_id]
            while parent := parent_of.get(above[-1], 0):
                if parent not in parent_of:
                    self.mistake(node, f"parent: {parent} is no meter of the house: give the id of one, or leave it out")
                    break
                if parent in above:
                    self.mistake(node, f"parent: meter {meter.meter_id} would contain itself: correct the parent of one of these meters")
                    break
                above.append(parent)

    def once(self, ids: Sequence[tuple[yaml.Node, int]], sentence: str) -> None:
        seen = set[int]()
        for node, number in ids:
            if number in seen:
                self.mistake(node, sentence.format(number))
            elif number != UNKNOWN:
                seen.add(number)

    def topics_once(self) -> None:
        """No value may count for two meters."""
        seen: dict[tuple[str, str], tuple[yaml.Node, Source]] = {}
        repeated = set[yaml.Node]()
        for node, source in self.sources:
            above, other = seen.setdefault((source.topic, source.path), (node, source))
            if other is not source and node not in repeated:
                repeated.add(node)
                line = above.start_mark.line + 1
                self.mistake(
                    node,
                    f"{source.label} has the same value of the topic {source.topic} as {other.label} in line {line}: give each its own",
                )

    def fields(self, node: yaml.Node, what: str, takes: Collection[str], needed: Sequence[str]) -> dict[str, yaml.Node]:
        """The values of a mapping, by their keys."""
        if not isinstance(node, yaml.MappingNode):
            self.mistake(node, f"{what} takes keys and values: {', '.join(takes)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name not in takes:
                self.mistake(key, f"{what} has no key {name}: it takes {', '.join(takes)}")
            elif name in found:
                self.mistake(key, f"{what} has the key {name} twice: leave one out")
            else:
                found[name] = value
        for name in needed:
            if name not in found:
                self.mistake(node, f"{what} lacks the key {name}")
        return found

    def values(self, node: yaml.Node, what: str, checks: Mapping[str, Check], needed: Sequence[str]) -> dict[str, Any]:
        """The valid values of a mapping of texts and numbers."""
        return self.valid(self.fields(node, what, checks, needed), checks)

    def valid(self, nodes: Mapping[str, yaml.Node], checks: Mapping[str, Check]) -> dict[str, Any]:
        """The valid values of some nodes, by their keys; those without a check are left alone."""
        read = {key: self.value(node, key, checks[key]) for key, node in nodes.items() if key in checks}
        return {key: value for key, value in read.items() if value is not None}

    def value(self, node: yaml.Node, key: str, check: Check) -> Any:
        """The value of a text or a number; None after a mistake."""
        if isinstance(node, yaml.ScalarNode):
            try:
                return check.read(node.value)
            except (ValueError, KeyError):
                pass
        shown = "" if key.startswith(("password", "token")) else f" {node.value[:60]}" if isinstance(node, yaml.ScalarNode) else ""
        self.mistake(node, f"{key}:{shown}: it takes {check.takes}")
        return None

    def items(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.mistake(node, f"{what} takes a list: begin each of its items with -")
            return []
        return list(node.value)

    def secret(self, node: yaml.Node, key: str, found: Mapping[str, Any]) -> str:
        """A password or token: its text, from environment variables in it, or from a file; empty if there is none."""
        if key in found and f"{key}_file" in found:
            self.mistake(node, f"give it either {key} or {key}_file")
        if f"{key}_file" in found:
            return self.in_file(node, f"{key}_file", found[f"{key}_file"]) or ""
        return VARIABLE.sub(lambda name: self.variable(node, key, name[1]), found.get(key, ""))

    def variable(self, node: yaml.Node, key: str, name: str) -> str:
        if not (value := self.environ.get(name)):
            self.mistake(node, f"{key} contains ${{{name}}}, and this environment variable is not set: set it")
        return value or ""

    def in_file(self, node: yaml.Node, key: str, name: str) -> str | None:
        try:
            return (self.file.parent / name).read_text().strip()
        except (OSError, UnicodeDecodeError):
            self.mistake(node, f"{key}: {name}: it takes a file that can be read")
            return None
