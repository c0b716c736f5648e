"""Limits for messages to be stored: their size, and the values that ClickHouse can represent. docs/schemas.md lists them."""

from __future__ import annotations

import json
from datetime import date
from typing import Any, NamedTuple, cast

from smartmeter.messages.records import AnyRecord, RuleRecord
from smartmeter.messages.rules import fault_of
from smartmeter.messages.schemas import SCHEMA_DIR, CodecError, Schema
from smartmeter.messages.topics import SCHEMA_OF
from smartmeter.settings import DAY_MS

MOST_BYTES = {"houses": 512 << 10, "acknowledgements": 64 << 10, "rules": 64 << 10}
"""Topic that others may write -> largest message. Decoded, a message takes up to 200 times as much memory."""
MOST_METERS = 10_000
LONGEST_TEXT = 1000
LONGEST_NOTE = 10_000

FIRST_DAY, LAST_DAY = ((day - date(1970, 1, 1)).days for day in (date(1900, 1, 1), date(2299, 12, 31)))
"""Range of ClickHouse's Date32 and DateTime64."""
FIRST_MS, LAST_MS = FIRST_DAY * DAY_MS, (LAST_DAY + 1) * DAY_MS - 1
RANGE_OF = {"date": (FIRST_DAY, LAST_DAY), "timestamp-millis": (FIRST_MS, LAST_MS)}
"""Logical type -> lowest and highest value."""
MOST_DEGREES = {"latitude": 90, "longitude": 180}


class Limits(NamedTuple):
    """The limits of a record's fields."""

    ranges: list[tuple[str, int, int]]  # (field, lowest, highest)
    texts: list[tuple[str, int]]  # (field, most characters)
    nested: list[tuple[str, Limits]]  # (field that is an array of records, limits of each)
    arrays: list[tuple[str, int, int]]  # (field that is an array of times, lowest, highest)


def check_size(name: str, size: int) -> None:
    """Raise CodecError for a message of topic `name` that is too large to be decoded."""
    if size > MOST_BYTES.get(name, size):
        raise CodecError(f"it has {size:,} bytes: at most {MOST_BYTES[name]:,} are accepted")


def fit(name: str, record: AnyRecord) -> AnyRecord:
    """A record of topic `name` in a form that can be stored. Raises CodecError if there is none, or if it is a rule that no job uses.

    Coordinates that do not exist become NULL. The time of a dead letter is moved to the nearest valid one.
    """
    if name == "dead_letter":
        return record | {"received": nearest_ms(record["received"])}
    if name == "houses":
        record |= {field: None for field, most in MOST_DEGREES.items() if not abs(record[field] or 0) <= most}
    if len(record.get("meters", ())) > MOST_METERS:
        raise CodecError(f"it has {len(record['meters']):,} meters: at most {MOST_METERS:,} are accepted")
    _check(LIMITS_OF[name], record)
    if name == "daily_energy":
        _check_hours(record)
    if name == "rules" and (fault := fault_of(cast(RuleRecord, record))):
        raise CodecError(fault)
    return record


def nearest_ms(time_ms: int) -> int:
    """The nearest time that ClickHouse can represent."""
    return min(max(time_ms, FIRST_MS), LAST_MS)


def _check_hours(record: AnyRecord) -> None:
    """Raise CodecError for hours of a day that the view energy_by_hour cannot split, as it would fail for all days."""
    lengths = [len(record[field]) for field in ("hour_starts", "hours", "hour_kwh", "hour_covered_s")]
    if len(set(lengths)) > 1:
        raise CodecError(f"hour_starts, hours, hour_kwh and hour_covered_s have {lengths} entries: the numbers must be equal")
    if record["hour_exported_kwh"] and len(record["hour_exported_kwh"]) != len(record["hours"]):
        raise CodecError(
            f"hour_exported_kwh has {len(record['hour_exported_kwh'])} entries and hours {len(record['hours'])}: the numbers must be equal, "
            "or hour_exported_kwh empty"
        )
    if not all(0 <= hour < 24 for hour in record["hours"]):
        raise CodecError(f"hours are {record['hours']}: each lies from 0 to 23")


def _check(limits: Limits, record: AnyRecord) -> None:
    for field, lowest, highest in limits.ranges:
        if record[field] is not None and not lowest <= record[field] <= highest:
            raise CodecError(f"{field} is {record[field]}: it lies in the years 1900 to 2299")
    for field, most in limits.texts:
        if len(record[field]) > most:
            raise CodecError(f"{field} has {len(record[field]):,} characters: at most {most:,} are accepted")
    for field, of_each in limits.nested:
        for item in record[field]:
            _check(of_each, item)
    for field, lowest, highest in limits.arrays:
        if not all(lowest <= item <= highest for item in record[field]):
            raise CodecError(f"{field} are {record[field]}: each lies in the years 1900 to 2299")


def _limits(fields: list[Schema]) -> Limits:
    limits = Limits([], [], [], [])
    for field in fields:
        name, kind = field["name"], _without_null(field["type"])
        if kind == "string":
            limits.texts.append((name, LONGEST_NOTE if name == "note" else LONGEST_TEXT))
        elif isinstance(kind, dict) and (bounds := RANGE_OF.get(kind.get("logicalType", ""))):
            limits.ranges.append((name, *bounds))
        elif (
            isinstance(kind, dict)
            and isinstance(items := kind.get("items"), dict)
            and (bounds := RANGE_OF.get(items.get("logicalType", "")))
        ):
            limits.arrays.append((name, *bounds))
        elif isinstance(kind, dict) and isinstance(kind.get("items"), dict):
            limits.nested.append((name, _limits(kind["items"]["fields"])))
    return limits


def _without_null(kind: Any) -> Any:
    """The other type of a field that may be null; a type that may not, as it is."""
    return next(other for other in kind if other != "null") if isinstance(kind, list) else kind


LIMITS_OF = {name: _limits(json.loads((SCHEMA_DIR / f"{schema}.avsc").read_text())["fields"]) for name, schema in SCHEMA_OF.items()}
