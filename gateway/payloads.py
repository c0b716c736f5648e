"""Reads the power and the time in a payload: a plain number, or JSON with a path to the value.

A path is a row of names and list positions, such as ENERGY.Power or phases.0; the empty one is the payload itself. A list of numbers, as
Tasmota sends for three phases, counts as their sum.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any

from smartmeter.timezones import zone

LARGEST_BYTES = 65_536
MOST_WATTS = 1e9
"""The jobs refuse more, too: avro/reading_burst.avsc."""
NUMBER = re.compile(r"\s*[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?\s*", re.ASCII)
FROM_MS = 1e11
"""A number from here on is a time in ms, below in s: the year 5138, or 1973."""
SHOWN = 40


class Unusable(ValueError):
    """A payload has no usable value. The text is the reason."""


def document(payload: bytes) -> Any:
    """The value of a payload: JSON, or else its text. Raises Unusable."""
    if len(payload) > LARGEST_BYTES:
        raise Unusable(f"it has {len(payload):,} bytes, more than {LARGEST_BYTES:,}")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise Unusable("it is no text in UTF-8") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def value_at(found: Any, path: str) -> Any:
    """The value at a path of a document. Raises Unusable if there is none."""
    for name in path.split(".") if path else ():
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Unusable(f"it has no {path}") from None
    return found


def number(value: Any) -> float:
    """A finite number, also as a text or as a list that adds up. Raises Unusable.

    >>> number("25.7"), number([1, 2.5])
    (25.7, 3.5)
    """
    if isinstance(value, list) and value and not any(isinstance(item, list) for item in value):
        return math.fsum(number(item) for item in value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and NUMBER.fullmatch(value)):
        raise Unusable(f"{str(value)[:SHOWN]!r} is no number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise Unusable(f"{str(found)!r} is no finite number")
    return found


def watts(found: Any, power: str, returned: str, factor: float) -> float:
    """The power in W at a path of a document, less that at `returned` if this is not empty. factor: W in a unit. Raises Unusable."""
    value = number(value_at(found, power)) - (number(value_at(found, returned)) if returned else 0.0)
    if abs(value * factor) > MOST_WATTS:
        raise Unusable(f"{value * factor:g} W is more than a meter can measure")
    return value * factor


def time_ms(value: Any, timezone: str) -> int:
    """A time in ms since 1970: Unix time in s or ms, or a text in ISO 8601, local to the time zone if it names none. Raises Unusable.

    >>> time_ms("2024-04-16T09:15:03", "Europe/Amsterdam"), time_ms(1713251703, "UTC"), time_ms(1713251703000, "UTC")
    (1713251703000, 1713251703000, 1713251703000)
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value < 1e15:
            raise Unusable(f"{str(value)[:SHOWN]} is no time")
        return round(value if value >= FROM_MS else value * 1000)
    try:
        at = datetime.fromisoformat(value)
        return round((at if at.tzinfo else at.replace(tzinfo=zone(timezone))).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        raise Unusable(f"{str(value)[:SHOWN]!r} is no time") from None
