"""What the rules of users must do to a meter's alerts in a minute, worked out in plain Python from docs/rules.md.

It shares nothing with the jobs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

MINUTE_MS = 60_000
HOUSE = 0
FACTORS = {"low": (1.5, 2), "normal": (1, 1), "high": (0.9, 0.75)}
"""Sensitivity -> by how much a limit is raised, and a time is longer."""


@dataclass(frozen=True)
class InForce:
    """What holds for a meter in a minute. own: its own rule, a record of topic rules."""

    sensitivity: str = "normal"
    muted: bool = False
    own: dict | None = None

    def normal(self, kinds: tuple[str, ...], field: str) -> float:
        """The largest figure of what is normal of some kinds; 0 without."""
        return max((one[field] for one in self.own["normal"] if one["kind"] in kinds), default=0) if self.own else 0

    def limit_watts(self, watts: float, kinds: tuple[str, ...]) -> float:
        """The limit of a stage that emits alerts of some kinds, where it is so many W without a rule."""
        return math.inf if self.muted else max(watts * FACTORS[self.sensitivity][0], self.normal(kinds, "watts"))

    def allowed(self, minutes: float, kind: str) -> float:
        """For how long a condition of a kind may hold, where it may for so many minutes without a rule."""
        longer = 1 if kind == "standby" else FACTORS[self.sensitivity][1]
        return math.inf if self.muted else math.floor(longer * minutes) + self.normal((kind,), "minutes")


NOTHING = InForce()


class HouseRules:
    """The rules of a house. records: those of topic rules in the order of the topic, of any house."""

    def __init__(self, records=(), house_id: int = 0, zone: ZoneInfo | None = None):
        by_minute: dict[int, dict[int, dict]] = defaultdict(dict)
        for record in records:
            if record["house_id"] == house_id:
                by_minute[record["meter_id"]][record["valid_from"] // MINUTE_MS] = record
        self.zone = zone
        self.of_meter = {meter: sorted(of.items(), key=lambda item: item[0]) for meter, of in by_minute.items()}

    def record(self, meter: int, minute: int) -> dict | None:
        """What was set for a meter, or the house, and is in force in a minute."""
        records = self.of_meter.get(meter, [])
        at = bisect_right(records, minute, key=lambda item: item[0]) - 1
        return None if at < 0 or records[at][1]["withdrawn"] else records[at][1]

    def at(self, meter: int, minute: int) -> InForce:
        """What holds for a meter, or the house, in a minute."""
        if meter not in self.of_meter and HOUSE not in self.of_meter:
            return NOTHING
        own, of_house = self.record(meter, minute), self.record(HOUSE, minute)
        found = own or of_house
        until = [record["muted_until"] for record in (own, of_house) if record and record["muted_until"] is not None]
        return InForce(found["sensitivity"] if found else "normal", any(ms > minute * MINUTE_MS for ms in until), own)

    def muted_until(self, meter: int, minute: int) -> float:
        """The first minute that is not muted by the rules in force in a minute."""
        records = [record for record in (self.record(meter, minute), self.record(HOUSE, minute)) if record]
        return max((math.ceil(r["muted_until"] / MINUTE_MS) for r in records if r["muted_until"] is not None), default=-math.inf)

    def must_be_off(self, rule: dict, minute: int) -> bool:
        """Whether a meter must be off at a minute's start, by the clock of the house."""
        if rule["off_from"] is None:
            return False
        local = datetime.fromtimestamp(minute * 60, UTC).astimezone(self.zone)
        shown = 60 * local.hour + local.minute
        if rule["off_from"] < rule["off_to"]:
            return rule["off_from"] <= shown < rule["off_to"]
        return shown >= rule["off_from"] or shown < rule["off_to"]
