"""Green Button: energy of intervals as utilities hand it out, Atom with NAESB's ESPI (https://www.naesb.org, REQ.21). Stamps are starts, UTC.

Lines are the readings of a file, counted from 1. Of readings of one direction the shortest intervals are used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, iterparse

from generator.channels import DatasetError, note
from importer.formats.series import Batch, Quantity, Request, Series, Unit, checked, timezone_of
from importer.formats.sources import Source

ATOM, ESPI = "{http://www.w3.org/2005/Atom}", "{http://naesb.org/espi}"
ELECTRICITY, RECEIVED = 0, 19
"""ServiceCategory kind; flowDirection: from the customer."""
UNITS: dict[int, Unit] = {72: "Wh", 38: "W"}
"""Codes uom of ReadingType."""
REGISTERS = (1, 2, 3, 9)
"""Codes accumulationBehaviour: bulkQuantity, continuousCumulative, cumulative, summation."""


@dataclass
class _Feed:
    """What a file states beside its readings, by the addresses of its entries."""

    usage_points: dict[str, int] = field(default_factory=dict)  # kind of service
    meter_readings: dict[str, list[str]] = field(default_factory=dict)  # related addresses
    reading_types: dict[str, dict[str, int]] = field(default_factory=dict)

    def reading_type(self, meter_reading: str) -> dict[str, int]:
        """The fields of the type of a meter's readings, empty if the file lacks it."""
        return next((self.reading_types[each] for each in self.meter_readings.get(meter_reading, ()) if each in self.reading_types), {})

    def usage_point(self, meter_reading: str) -> str:
        """The address of the usage point of a meter's readings."""
        return _parent(meter_reading, self.usage_points)

    def is_used(self, meter_reading: str) -> bool:
        """Whether readings are of electricity, in a known unit, and the shortest intervals of their direction."""
        own, point = self.reading_type(meter_reading), self.usage_point(meter_reading)
        rivals = [
            self.reading_type(other).get("intervalLength", 0)
            for other in self.meter_readings
            if self.usage_point(other) == point
            and all(self.reading_type(other).get(name) == own.get(name) for name in ("flowDirection", "accumulationBehaviour", "uom"))
        ]
        return (
            self.usage_points.get(point, ELECTRICITY) == ELECTRICITY
            and own.get("uom") in UNITS
            and own.get("intervalLength", 0) == min(rivals, default=0)
        )


class GreenButton:
    """The format."""

    name = "green-button"

    def recognizes(self, source: Source) -> bool:
        """Whether a file uses ESPI's namespace."""
        return ESPI[1:-1].encode() in source.head

    def read(self, source: Source, request: Request) -> Iterator[Batch]:
        """The values of a file."""
        zone, feed = timezone_of(request, "", source), _Feed()
        for links, content in _entries(source):
            _learn(feed, links, content)
        line, left_out = 1, 0
        for links, content in _entries(source):
            blocks = [element for element in content if element.tag == f"{ESPI}IntervalBlock"]
            if not blocks:
                continue
            meter_reading = _parent((links["up"] or links["self"])[0], feed.meter_readings)
            readings = [each for block in blocks for each in block.iter(f"{ESPI}IntervalReading")]
            if feed.is_used(meter_reading):
                for batch in _batches(source, feed, meter_reading, readings, line, zone, request):
                    yield checked(batch, request)
            else:
                left_out += len(readings)
            line += len(readings)
        if left_out:
            note(f"{source.name}: {left_out:,} readings of gas, in other units, or of longer intervals than others: left out")


def _entries(source: Source) -> Iterator[tuple[dict[str, list[str]], list[Any]]]:
    """(addresses by relation, elements in it) of each entry of a feed. Raises DatasetError if it is no XML."""
    with source.open() as stream:
        try:
            root = None
            for event, element in iterparse(stream, events=("start", "end")):
                root = element if root is None else root
                if event == "end" and element.tag == f"{ATOM}entry":
                    links: dict[str, list[str]] = defaultdict(list, {"self": [], "up": []})
                    for link in element.iter(f"{ATOM}link"):
                        links[link.get("rel", "")].append(link.get("href", ""))
                    links["self"] = links["self"] or [""]
                    yield links, [child for content in element.iter(f"{ATOM}content") for child in content]
                    root.clear()
        except (ParseError, DefusedXmlException) as error:
            raise DatasetError(f"{source.name}: it is no whole XML file ({error}); fetch the file again") from None


def _learn(feed: _Feed, links: dict[str, list[str]], content: list[Any]) -> None:
    for element in content:
        if element.tag == f"{ESPI}UsagePoint":
            kind = element.findtext(f"{ESPI}ServiceCategory/{ESPI}kind", str(ELECTRICITY))
            feed.usage_points[links["self"][0]] = int(kind) if kind.isdigit() else -1
        elif element.tag == f"{ESPI}MeterReading":
            feed.meter_readings[links["self"][0]] = links["related"]
        elif element.tag == f"{ESPI}ReadingType":
            numbers = {each.tag.removeprefix(ESPI): (each.text or "").strip() for each in element}
            feed.reading_types[links["self"][0]] = {name: int(text) for name, text in numbers.items() if text.lstrip("-").isdigit()}


def _parent(address: str, known: dict[str, Any]) -> str:
    """The longest known address that an address lies under; the only one if there is one."""
    above = [each for each in known if f"{address}/".startswith(f"{each}/")]
    return max(above, key=len) if above else next(iter(known), "")


def _batches(
    source: Source, feed: _Feed, meter_reading: str, readings: list[Any], first: int, zone: str, request: Request
) -> Iterator[Batch]:
    """The readings of a block, by the length of their intervals."""
    kind = feed.reading_type(meter_reading)
    columns: dict[int, list[tuple[int, float, int]]] = defaultdict(list)
    faulty = []
    sign = -1 if kind.get("flowDirection") == RECEIVED else 1
    for line, reading in enumerate(readings, first):
        start, length, value = (
            reading.findtext(path) for path in (f"{ESPI}timePeriod/{ESPI}start", f"{ESPI}timePeriod/{ESPI}duration", f"{ESPI}value")
        )
        try:
            columns[int(length or kind.get("intervalLength", 0))].append((int(start) * 1000, sign * int(value), line))
        except (TypeError, ValueError):
            faulty.append((line, f"start {start!r}, duration {length!r} and value {value!r} are not three whole numbers"))
    request.faults.add(source.name, faulty)
    for length, rows in columns.items():
        times, values, lines = (np.array(column) for column in zip(*rows))
        scaled = values * 10.0 ** kind.get("powerOfTenMultiplier", 0)
        yield Batch(_series(feed.usage_point(meter_reading), kind, length, zone), times, scaled, source.name, lines)


def _series(house: str, kind: dict[str, int], length: int, zone: str) -> Series:
    received, unit = kind.get("flowDirection") == RECEIVED, UNITS[kind["uom"]]
    quantity: Quantity = "energy" if unit == "Wh" else "power"
    if unit == "Wh" and kind.get("accumulationBehaviour") in REGISTERS:
        quantity, length = ("export" if received else "import"), 0
    return Series(house, 2 if received else 1, "export" if received else "mains", "mains", quantity, unit, zone, length)


GREEN_BUTTON = GreenButton()
