"""Reads the readings in the body of a request, JSON or InfluxDB's line protocol, and finds all mistakes in it.

A reading names its meter and has a value for one or more quantities. docs/connect.md lists the names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, NoReturn, TypeVar

from line_protocol_parser import LineFormatError, parse_line

from gateway.config import House
from gateway.payloads import MWH_PER_UNIT, SHOWN, WATTS_PER_UNIT, Unusable, exact, mwh, time_ms, watts
from gateway.source import LONGEST_AHEAD_MS
from smartmeter.messages.codec import EXPORT, IMPORT, POWER

VALUES = {
    "watts": (POWER, WATTS_PER_UNIT["W"]),
    "power": (POWER, WATTS_PER_UNIT["W"]),
    "import_wh": (IMPORT, MWH_PER_UNIT["Wh"]),
    "import_kwh": (IMPORT, MWH_PER_UNIT["kWh"]),
    "export_wh": (EXPORT, MWH_PER_UNIT["Wh"]),
    "export_kwh": (EXPORT, MWH_PER_UNIT["kWh"]),
}
"""Name of a value -> (its quantity, W or mWh in its unit)."""
KEYS = ("house", "meter", "time", *VALUES)
MS_PER = {"ns": 1e-6, "n": 1e-6, "us": 1e-3, "u": 1e-3, "ms": 1, "s": 1000}
"""Precision of the times in line protocol -> ms in a unit. The single letters are those of InfluxDB 1."""
WHOLE = re.compile(r"\d{1,18}", re.ASCII)
Item = TypeVar("Item")


class Reading(NamedTuple):
    """A value of a channel: W of a power, or whole mWh of a register. time_ms: None if it has the time of its arrival."""

    meter_id: int
    quantity: int
    time_ms: int | None
    value: float


class Mistakes(ValueError):
    """Why a body cannot be used, in one sentence. by_position: position of a reading, or number of a line, from 1 -> its mistake."""

    def __init__(self, sentence: str, by_position: Mapping[int, str] | None = None):
        super().__init__(sentence)
        self.by_position = by_position or {}


class ForeignHouse(Exception):
    """A reading is of another house."""


class Reader:
    """Reads the bodies of one house's requests. Times must be in [oldest_ms, now_ms + LONGEST_AHEAD_MS]."""

    def __init__(self, house: House, oldest_ms: int, now_ms: int):
        self._house, self._oldest_ms, self._latest_ms = house, oldest_ms, now_ms + LONGEST_AHEAD_MS

    def in_json(self, body: bytes) -> list[Reading]:
        """The readings in a JSON object, or in a list of them. Raises Mistakes or ForeignHouse."""
        try:
            found = json.loads(body, parse_float=exact, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise Mistakes(f"the body is no JSON: {error}") from None
        return _all(enumerate(found if isinstance(found, list) else [found], 1), self._of_object, "readings")

    def in_lines(self, body: bytes, precision: str) -> list[Reading]:
        """The readings in line protocol, whose times have a precision of MS_PER. Raises Mistakes or ForeignHouse."""
        if precision not in MS_PER:
            raise Mistakes(f"precision {precision[:SHOWN]!r}: it is one of {', '.join(MS_PER)}")
        try:
            lines = body.decode().split("\n")
        except UnicodeDecodeError as error:
            raise Mistakes(f"the body is no UTF-8: byte {error.start + 1} is wrong") from None
        filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        return _all(filled, lambda line: self._of_line(line, precision), "lines")

    def _of_object(self, found: Any) -> list[Reading]:
        if not isinstance(found, dict):
            raise Unusable(f"it is no object with {', '.join(KEYS)}")
        if unknown := [key for key in found if key not in KEYS]:
            raise Unusable(f"it has no key {unknown[0][:SHOWN]!r}: a reading takes {', '.join(KEYS)}")
        for key in ("house", "meter"):
            if isinstance(found.get(key, 0), bool) or not isinstance(found.get(key, 0), int):
                raise Unusable(f"{key}: {str(found[key])[:SHOWN]!r} is no whole number")
        at_ms = time_ms(found["time"], self._house.timezone) if found.get("time") is not None else None
        return self._readings(found.get("house"), found.get("meter"), at_ms, found)

    def _of_line(self, line: str, precision: str) -> list[Reading]:
        try:
            point = parse_line(line)
        except LineFormatError as error:
            raise Unusable(f"it is no line protocol: {error}") from None
        if point is None:  # a comment
            return []
        house, meter = (_number_of_tag(point["tags"], name) for name in ("house", "meter"))
        at = point["time"]
        return self._readings(house, meter, None if at is None else round(at * MS_PER[precision]), point["fields"])

    def _readings(self, house_id: int | None, meter_id: int | None, at_ms: int | None, values: Mapping[str, Any]) -> list[Reading]:
        """The readings of a meter at a time, by the names of VALUES. Other names are left alone."""
        if house_id is not None and house_id != self._house.house_id:
            raise ForeignHouse
        if meter_id is None:
            raise Unusable("it has no meter")
        if meter_id not in self._house.by_http:
            is_known = any(meter.meter_id == meter_id for meter in self._house.meters)
            raise Unusable(f"meter {meter_id}: " + ("its readings come by MQTT" if is_known else "the house has none of this number"))
        if at_ms is not None and not self._oldest_ms <= at_ms <= self._latest_ms:
            raise Unusable(f"its time lies {'in the future' if at_ms > self._latest_ms else 'before SMW_OLDEST_DATE'}: check the clock")
        given = [name for name in VALUES if values.get(name) is not None]
        if not given:
            raise Unusable(f"it has no value: give one of {', '.join(VALUES)}")
        if len({VALUES[name][0] for name in given}) < len(given):
            raise Unusable(f"it has two values of one quantity: {', '.join(given)}")
        return [Reading(meter_id, VALUES[name][0], at_ms, _value(name, values)) for name in given]


def _all(items: Iterable[tuple[int, Item]], read: Callable[[Item], list[Reading]], what: str) -> list[Reading]:
    """The readings in all items, which have their positions. Raises Mistakes, with each."""
    readings, mistakes, number = list[Reading](), dict[int, str](), 0
    for position, item in items:
        number += 1
        try:
            readings += read(item)
        except Unusable as error:
            mistakes[position] = str(error)
    if mistakes:
        raise Mistakes(f"{len(mistakes)} of {number} {what} cannot be used, so nothing was taken", mistakes)
    if not readings:
        raise Mistakes("there is no reading in the body")
    return readings


def _value(name: str, values: Mapping[str, Any]) -> float:
    """The value of a name in W, or in whole mWh. Raises Unusable."""
    quantity, factor = VALUES[name]
    try:
        return watts(values, name, factor) if quantity == POWER else mwh(values, name, factor)
    except Unusable as error:
        raise Unusable(f"{name}: {error}") from None


def _number_of_tag(tags: Mapping[str, str], name: str) -> int | None:
    if (text := tags.get(name)) is None:
        return None
    if not WHOLE.fullmatch(text):
        raise Unusable(f"{name}: {text[:SHOWN]!r} is no whole number")
    return int(text)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
