"""The file of routes (TOML): which alerts go to which receiver, and when. docs/notifications.md has an example.

An error in the file is one sentence with the file, the route, the key, and what to write.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from notify.addresses import Address
from smartmeter.errors import UserError

SEVERITIES = ("info", "warning", "critical")
"""In rising order."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
VARIABLE = re.compile(r"\$\{(\w+)\}", re.ASCII)


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
    if unknown := found.keys() - {"route", "external_url"}:
        raise UserError(f"{file}: there is no key {min(unknown)}: it takes external_url and [[route]]")
    external_url = found.get("external_url", "")
    if not isinstance(external_url, str) or not re.match("https?://.|$", external_url):
        raise UserError(f"{file}: external_url takes the dashboard's address, such as https://meters.example")
    tables = found.get("route", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{file}: it has no route: begin each with a line [[route]]")
    routes = tuple(_Reader(file, number, table, environ).route() for number, table in enumerate(tables, 1))
    names = [route.name for route in routes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{file}: two routes have the name {twice}: give each its own, because what was sent is kept under it")
    return Routes(routes, external_url.rstrip("/"))


class _Reader:
    """Reads one [[route]]."""

    def __init__(self, file: Path, number: int, table: dict[str, Any], environ: Mapping[str, str]):
        self.file, self.table, self.environ = file, table, environ
        name = table.get("name")
        self.where = f"{file}: route {name if isinstance(name, str) and NAME.fullmatch(name) else f'number {number}'}"

    def route(self) -> Route:
        if unknown := self.table.keys() - {"name", "url", "url_file", *CHECKS}:
            raise UserError(f"{self.where}: there is no key {min(unknown)}: it takes name, url or url_file, {', '.join(CHECKS)}")
        name = self.table.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UserError(f"{self.where}: name takes up to 64 letters, digits and _ . -")
        address = self.address()
        values: dict[str, Any] = {}
        for key, (read, takes) in CHECKS.items():
            if key in self.table:
                try:
                    values[key] = read(self.table[key])
                except (TypeError, ValueError):
                    raise UserError(f"{self.where}: {key} = {self.table[key]!r}: it takes {takes}") from None
        return Route(name, address, **values)

    def address(self) -> Address:
        """The receiver's address, from the file, from a file of its own, or with variables in it. Messages never show it."""
        if ("url" in self.table) == ("url_file" in self.table):
            raise UserError(f"{self.where}: give it either url or url_file")
        key = "url" if "url" in self.table else "url_file"
        if not isinstance(text := self.table[key], str):
            raise UserError(f"{self.where}: {key} takes a text in quotes")
        address = Address(self._in_file(text) if key == "url_file" else VARIABLE.sub(self._variable, text))
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*", address.scheme) or not address.url.partition("://")[2]:
            raise UserError(
                f"{self.where}: {key} is no address: write one such as webhook+https://HOST/PATH, mqtt://HOST/TOPIC, mailto://..."
            )
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
            raise UserError(f"{self.where}: {key} has no valid host and port: write them behind {address.scheme}://")
        if address.is_broker and not parts.path.strip("/"):
            raise UserError(
                f"{self.where}: {key} has no topic: write it behind the host, such as {address.scheme}://HOST/smart-meter/alerts"
            )

    def _in_file(self, name: str) -> str:
        file = self.file.parent / name
        try:
            return file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{self.where}: url_file = {name!r}: it takes a file that can be read, with the address in it") from None

    def _variable(self, found: re.Match[str]) -> str:
        if not (value := self.environ.get(found[1])):
            raise UserError(f"{self.where}: url contains ${{{found[1]}}}, and this environment variable is not set: set it")
        return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not 0 <= float(value) < 1e9:
        raise ValueError
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1e6:
        raise ValueError
    return value


def _houses(value: Any) -> frozenset[int]:
    if not isinstance(value, list) or not value or not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        raise ValueError
    return frozenset(value)


def _kinds(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise ValueError
    return frozenset(value)


def _severity(value: Any) -> str:
    if value not in SEVERITIES:
        raise ValueError
    return str(value)


def _quiet_hours(value: Any) -> QuietHours:
    if not (found := SPAN.fullmatch(value)):
        raise ValueError
    hours = [int(text) for text in found.groups()]
    quiet = QuietHours(60 * hours[0] + hours[1], 60 * hours[2] + hours[3])
    if quiet.begin == quiet.end:
        raise ValueError
    return quiet


CHECKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "houses": (_houses, "a list of house numbers, such as [1, 2]; leave it out for all"),
    "kinds": (_kinds, 'a list of kinds of alerts, such as ["level"]; leave it out for all'),
    "min_severity": (_severity, '"info", "warning" or "critical"'),
    "quiet_hours": (_quiet_hours, 'a span of the day such as "22:00-07:00"'),
    "digest_s": (_seconds, "a time in s; 0: none"),
    "repeat_s": (_seconds, "a time in s; 0: never"),
    "flood": (_count, "a number from 1 on"),
}
"""Key -> (reader of its value, what it takes)."""
