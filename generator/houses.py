"""The interface of every source of readings: a house that describes itself and yields its days."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from generator.places import Place
from smartmeter.arrays import Float32s, Ints
from smartmeter.errors import UserError
from smartmeter.messages.records import HouseRecord, MeterKind
from smartmeter.settings import LONGEST_HOLD_S
from smartmeter.timezones import zone

Readings = tuple[Ints, Float32s]
"""(times_ms int64, watts float32) of one meter, in ascending order of time."""


Kind = MeterKind


@dataclass(frozen=True)
class Meter:
    """One meter of a house. parent: meter_id of the meter that measures this one's power too; 0: none but the mains."""

    meter_id: int
    label: str
    kind: Kind
    parent: int = 0


@dataclass(frozen=True, eq=False)
class HouseDay:
    """A house's readings of one local day [start_ms, end_ms). readings[i] belongs to the house's meters[i]."""

    date: date
    start_ms: int
    end_ms: int
    readings: list[Readings]
    registers: dict[tuple[int, int], tuple[Ints, Ints]] = field(default_factory=dict)
    """(meter_id, quantity) -> (times in ms, mWh) of each register; quantities as in avro/reading_burst.avsc."""


def check_parents(place: str, meters: Sequence[Meter]) -> None:
    """Raise UserError if a meter's parent is no meter of the same house, or if a meter would contain itself. place: of the house."""
    parent_of = {meter.meter_id: meter.parent for meter in meters}
    for meter in meters:
        above = [meter.meter_id]
        while parent := parent_of[above[-1]]:
            if parent not in parent_of:
                raise UserError(
                    f"{place}: the parent of meter {above[-1]} is {parent}, which is no meter of the house; give one of its meters, or 0 if "
                    "only the mains contain it"
                )
            if parent in above:
                circle = " in ".join(map(str, [*above[above.index(parent) :], parent]))
                raise UserError(f"{place}: meter {circle} is a circle of parents; correct the parent of one of them")
            above.append(parent)


def hold_s(period_s: float, max_gap_s: float) -> int:
    """How long a reading at an instant holds at most, in s, where readings are mostly period_s apart; 0 where max_gap_s is long enough.

    Longer than the period by half, as readings are not quite regular.
    """
    return min(math.ceil(1.5 * period_s), LONGEST_HOLD_S) if period_s > max_gap_s else 0


class House(ABC):
    """A house with its meters. Memory is bounded by one day of its readings."""

    def __init__(
        self,
        house_id: int,
        source: str,
        timezone: str,
        meters: list[Meter],
        place: Place | None = None,
        holds_s: Mapping[int, int] = MappingProxyType({}),
    ):
        """holds_s: meter_id -> how long a reading of it holds at most, in s; without one, for SMW_MAX_GAP_S."""
        zone(timezone)
        check_parents(f"house {house_id}", meters)
        self.house_id = house_id
        self.source = source
        self.timezone = timezone
        self.meters = meters
        self.place = place
        self.holds_s = holds_s

    @abstractmethod
    def days(self, first: date, end: date) -> Iterator[HouseDay]:
        """The local days in [first, end) that have readings, in order."""

    def record(self) -> HouseRecord:
        """The house as a record of schema house, stamped with the present time."""
        return description(self.house_id, self.timezone, self.source, self.place.zip if self.place else "", self.place, self.meters)


def description(house_id: int, timezone: str, source: str, zip_code: str, place: Place | None, meters: Sequence[Meter]) -> HouseRecord:
    """The record of schema house of a house, stamped with the present time. place: that of the zip, if it is known."""
    return {
        "house_id": house_id,
        "timezone": timezone,
        "source": source,
        "zip": zip_code,
        "city": place.city if place else "",
        "state": place.state if place else "",
        "latitude": place.latitude if place else None,
        "longitude": place.longitude if place else None,
        "population": place.population if place else None,
        "meters": [{"meter_id": meter.meter_id, "label": meter.label, "kind": meter.kind, "parent": meter.parent} for meter in meters],
        "updated": int(time.time() * 1000),
    }
