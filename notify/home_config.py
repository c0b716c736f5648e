"""The table [home_assistant] of the file of routes: the broker of a Home Assistant, and what it is shown. docs/notifications.md has an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from notify.toml_tables import WHICH_ALERTS, Check, Table, text
from smartmeter.certificates import trusted
from smartmeter.errors import UserError
from smartmeter.mqtt_broker import PORTS, Broker


@dataclass(frozen=True)
class HomeAssistant:
    """A Home Assistant. topic: begins all of its topics and ids. houses: which it is shown; empty: all."""

    broker: Broker
    topic: str = "smart_meter_watchdog"
    discovery_prefix: str = "homeassistant"
    houses: frozenset[int] = frozenset()
    min_severity: str = "info"

    name = "home_assistant"
    """Its name among the routes."""

    def __str__(self) -> str:
        """Its address, for a log."""
        return f"mqtt{'s' if self.broker.tls else ''}://{self.broker.host}:{self.broker.port}"


def home_assistant(file: Path, found: Any, environ: Mapping[str, str]) -> HomeAssistant:
    """What a table sets. file: for messages, and for relative paths in it. Raises UserError."""
    if not isinstance(found, dict):
        raise UserError(f"{file}: home_assistant takes keys: begin them with a line [home_assistant]")
    table = Table(file, f"{file}: home_assistant", found, environ)
    table.allow({*OF_BROKER, "password", "password_file", *CHECKS}, ", ".join([*OF_BROKER, "password or password_file", *CHECKS]))
    values = table.values(CHECKS)
    topic = values.get("topic", HomeAssistant.topic)
    return HomeAssistant(_broker(table, f"{topic}_home_assistant"), **values)


def _broker(table: Table, client_id: str) -> Broker:
    values, password = table.values(OF_BROKER), table.secret("password")
    if "url" not in values:
        raise table.mistake("it lacks the key url: write the address of the MQTT broker, such as mqtt://HOST:1883")
    if password and "user" not in values:
        raise table.mistake("it has a password and no user: give it both")
    ca = trusted(str(table.file.parent / values["ca"]), f"{table.where}: ca") if "ca" in values else None
    host, port, tls = values["url"]
    return Broker(host, port, tls, values.get("user", ""), password, ca or "", client_id)


def _address(value: Any) -> tuple[str, int, bool]:
    """(host, port, whether it takes TLS) of an address."""
    url = urlsplit(text(r"mqtts?://[^/@\s]+/?")(value))
    if not url.hostname:
        raise ValueError
    return url.hostname, url.port or PORTS[url.scheme], url.scheme == "mqtts"


A_LEVEL = r"[A-Za-z0-9_-]{1,64}"
OF_BROKER = {
    "url": Check(_address, "an address such as mqtt://HOST:1883 or mqtts://HOST:8883; user and password have their own keys", False),
    "user": Check(text(r"[^\n]{1,1000}"), "the name of a user"),
    "ca": Check(text(r"[^\n]{1,1000}"), "a PEM file of the authorities to trust"),
}
CHECKS = {
    "topic": Check(text(A_LEVEL), "up to 64 letters, digits and _ -"),
    "discovery_prefix": Check(text(rf"{A_LEVEL}(/{A_LEVEL})*"), "the prefix that is set in Home Assistant, letters, digits and _ - /"),
    **WHICH_ALERTS,
}
