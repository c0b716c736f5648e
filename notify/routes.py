"""The file of routes (TOML): which alerts go to which receiver, and when. docs/notifications.md has an example.

An error in the file is one sentence with the file, the route, the key, and what to write.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from notify.addresses import Address
from notify.home_config import HomeAssistant, home_assistant
from notify.toml_tables import SEVERITIES, WHICH_ALERTS, Check, Table
from smartmeter.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


@dataclass(frozen=True)
class QuietHours:
    """A span of the local day, in minutes after midnight. It may contain midnight."""

    begin: int
    end: int

    def contain(self, minute: int) -> bool:
        """Whether a minute of the local day is quiet."""
        if self.begin <= self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


@dataclass(frozen=True)
class Route:
    """Which alerts a receiver is sent, and when."""

    name: str
    address: Address
    houses: frozenset[int] = frozenset()  # empty: all
    kinds: frozenset[str] = frozenset()  # empty: all
    min_severity: str = "info"
    quiet_hours: QuietHours | None = None
    digest_s: float = 0.0
    repeat_s: float = 0.0
    flood: int = 10

    def takes(self, house_id: int, kind: str, severity: str) -> bool:
        """Whether an alert goes this way. An unknown severity counts as the highest, so that it is not lost."""
        return (
            (not self.houses or house_id in self.houses)
            and (not self.kinds or kind in self.kinds)
            and rank(severity) >= rank(self.min_severity)
        )


@dataclass(frozen=True)
class Routes:
    """A file of routes."""

    routes: tuple[Route, ...]
    external_url: str = ""  # of the dashboard, for links
    home: HomeAssistant | None = None


def rank(severity: str) -> int:
    """The place of a severity, rising; an unknown one is the highest."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES) - 1


def load(file: Path, environ: Mapping[str, str] = os.environ) -> Routes:
    """The routes in a file. Raises UserError for a file that cannot be read or has a mistake."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise UserError(f"{file} cannot be read ({reason}): set SMW_NOTIFY_ROUTES to the file of routes") from None
    return parse(text, file, environ)


def parse(text: str, file: Path, environ: Mapping[str, str] = os.environ) -> Routes:
    """The routes in a text. file: for messages, and for relative paths in it. Raises UserError."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file}: it is no TOML ({error}): see docs/notifications.md for an example") from None
    top = Table(file, str(file), found, environ)
    top.allow({"route", "external_url", "home_assistant"}, "external_url, [[route]] and [home_assistant]")
    external_url = found.get("external_url", "")
    if not isinstance(external_url, str) or not re.match("https?://.|$", external_url):
        raise top.mistake("external_url takes the dashboard's address, such as https://meters.example")
    home = home_assistant(file, found["home_assistant"], environ) if "home_assistant" in found else None
    tables = found.get("route", [])
    if not isinstance(tables, list) or not (tables or home) or not all(isinstance(table, dict) for table in tables):
        raise top.mistake("it has no route: begin each with a line [[route]]")
    routes = tuple(_Reader(file, number, table, environ).route() for number, table in enumerate(tables, 1))
    names = [route.name for route in routes] + ([home.name] if home else [])
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise top.mistake(f"two routes have the name {twice}: give each its own, because what was sent is kept under it")
    return Routes(routes, external_url.rstrip("/"), home)


class _Reader:
    """Reads one [[route]]."""

    def __init__(self, file: Path, number: int, found: dict[str, Any], environ: Mapping[str, str]):
        name = found.get("name")
        where = f"{file}: route {name if isinstance(name, str) and NAME.fullmatch(name) else f'number {number}'}"
        self.table = Table(file, where, found, environ)

    def route(self) -> Route:
        table = self.table
        table.allow({"name", "url", "url_file", *CHECKS}, f"name, url or url_file, {', '.join(CHECKS)}")
        name = table.found.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise table.mistake("name takes up to 64 letters, digits and _ . -")
        return Route(name, self.address(), **table.values(CHECKS))

    def address(self) -> Address:
        """The receiver's address, from the file, from a file of its own, or with variables in it. Messages never show it."""
        key = "url_file" if "url_file" in self.table.found else "url"
        if key not in self.table.found:
            raise self.table.mistake("give it either url or url_file")
        address = Address(self.table.secret("url"))
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*", address.scheme) or not address.url.partition("://")[2]:
            raise self.table.mistake(f"{key} is no address: write one such as webhook+https://HOST/PATH, mqtt://HOST/TOPIC, mailto://...")
        if address.is_webhook or address.is_broker:
            self._check_host(address, key)
        return address

    def _check_host(self, address: Address, key: str) -> None:
        try:
            parts = urlsplit(address.url)
            complete = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            complete = False
        if not complete:
            raise self.table.mistake(f"{key} has no valid host and port: write them behind {address.scheme}://")
        if address.is_broker and not parts.path.strip("/"):
            raise self.table.mistake(f"{key} has no topic: write it behind the host, such as {address.scheme}://HOST/smart-meter/alerts")


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not 0 <= float(value) < 1e9:
        raise ValueError
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1e6:
        raise ValueError
    return value


def _kinds(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise ValueError
    return frozenset(value)


def _quiet_hours(value: Any) -> QuietHours:
    if not (found := SPAN.fullmatch(value)):
        raise ValueError
    hours = [int(text) for text in found.groups()]
    quiet = QuietHours(60 * hours[0] + hours[1], 60 * hours[2] + hours[3])
    if quiet.begin == quiet.end:
        raise ValueError
    return quiet


CHECKS = {
    "houses": WHICH_ALERTS["houses"],
    "kinds": Check(_kinds, 'a list of kinds of alerts, such as ["level"]; leave it out for all'),
    "min_severity": WHICH_ALERTS["min_severity"],
    "quiet_hours": Check(_quiet_hours, 'a span of the day such as "22:00-07:00"'),
    "digest_s": Check(_seconds, "a time in s; 0: none"),
    "repeat_s": Check(_seconds, "a time in s; 0: never"),
    "flood": Check(_count, "a number from 1 on"),
}
