"""The interface of every source of readings: a house that describes itself and yields its days."""

from __future__ import annotations

import heapq
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np

from generator.bursts import bursts_of_day
from generator.places import Place
from smartmeter.messages.codec import Burst
from smartmeter.timezones import zone

Readings = tuple[np.ndarray, np.ndarray]
"""(times_ms int64, watts float32) of one meter, in ascending order of time."""


@dataclass(frozen=True)
class Meter:
    """One meter of a house; kind is mains or appliance."""

    meter_id: int
    label: str
    kind: str


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

    def bursts(self, first: date, end: date, burst_s: int) -> Iterator[Burst]:
        """The readings of the local days [first, end) as bursts of burst_s seconds, in order of time."""
        for day in self.days(first, end):
            yield from bursts_of_day(self, day, burst_s)

    def record(self) -> dict:
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
            "meters": [asdict(meter) for meter in self.meters],
            "updated": int(time.time() * 1000),
        }


def in_order(houses: Sequence[House], first: date, end: date, burst_s: int) -> Iterator[Burst]:
    """The bursts of all houses, in order of their start."""
    return heapq.merge(*(house.bursts(first, end, burst_s) for house in houses), key=lambda burst: burst.start_ms)
