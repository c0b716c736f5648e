"""The interface of every source of readings: a house that describes itself and yields its days."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from generator.places import Place
from smartmeter.arrays import Float32s, Ints
from smartmeter.messages.records import HouseRecord
from smartmeter.timezones import zone

Readings = tuple[Ints, Float32s]
"""(times_ms int64, watts float32) of one meter, in ascending order of time."""


@dataclass(frozen=True)
class Meter:
    """One meter of a house; kind is mains or appliance."""

    meter_id: int
    label: str
    kind: Literal["mains", "appliance"]


@dataclass(frozen=True, eq=False)
class HouseDay:
    """A house's readings of one local day [start_ms, end_ms). readings[i] belongs to the house's meters[i]."""

    date: date
    start_ms: int
    end_ms: int
    readings: list[Readings]


class House(ABC):
    """A house with its meters. Memory is bounded by one day of its readings."""

    def __init__(self, house_id: int, source: str, timezone: str, meters: list[Meter], place: Place | None = None):
        zone(timezone)
        self.house_id = house_id
        self.source = source
        self.timezone = timezone
        self.meters = meters
        self.place = place

    @abstractmethod
    def days(self, first: date, end: date) -> Iterator[HouseDay]:
        """The local days in [first, end) that have readings, in order."""

    def record(self) -> HouseRecord:
        """The house as a record of schema house, stamped with the present time."""
        place = self.place
        return {
            "house_id": self.house_id,
            "timezone": self.timezone,
            "source": self.source,
            "zip": place.zip if place else "",
            "city": place.city if place else "",
            "state": place.state if place else "",
            "latitude": place.latitude if place else None,
            "longitude": place.longitude if place else None,
            "population": place.population if place else None,
            "meters": [{"meter_id": meter.meter_id, "label": meter.label, "kind": meter.kind} for meter in self.meters],
            "updated": int(time.time() * 1000),
        }
