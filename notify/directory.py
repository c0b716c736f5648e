"""What is known of houses, from the topic houses: their time zones, places, and the labels and kinds of their meters."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from smartmeter.messages.records import HouseRecord, MeterKind
from smartmeter.timezones import is_timezone, zone


class House(NamedTuple):
    """What messages state of a house."""

    timezone: str = "UTC"
    city: str = ""
    labels: dict[int, str] = {}  # meter -> label  # noqa: RUF012
    kinds: dict[int, MeterKind] = {}  # meter -> kind  # noqa: RUF012
    updated: int = 0


UNKNOWN = House()


@dataclass
class Directory:
    """The newest record of each house. Unknown houses are in UTC, and have no place and no labels."""

    by_id: dict[int, House] = field(default_factory=dict)

    def take(self, record: HouseRecord) -> None:
        """Take a message of the topic houses."""
        if record["updated"] < self.of(record["house_id"]).updated:
            return
        timezone = record["timezone"] if is_timezone(record["timezone"]) else "UTC"
        labels = {meter["meter_id"]: meter["label"] for meter in record["meters"]}
        kinds = {meter["meter_id"]: meter["kind"] for meter in record["meters"]}
        self.by_id[record["house_id"]] = House(timezone, record["city"], labels, kinds, record["updated"])

    def of(self, house_id: int) -> House:
        """A house."""
        return self.by_id.get(house_id, UNKNOWN)

    def timezone(self, house_id: int) -> str:
        """The time zone of a house."""
        return self.of(house_id).timezone

    def local(self, house_id: int, time_ms: int) -> str:
        """A time as the clock of a house shows it, with its offset to UTC."""
        return f"{datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(zone(self.timezone(house_id))):%Y-%m-%d %H:%M %z}"

    def appliance(self, house_id: int, meter_id: int) -> str:
        """What a meter measures, meter 0 being the whole house; empty while unknown."""
        return "the house" if meter_id == 0 else self.of(house_id).labels.get(meter_id, "")
