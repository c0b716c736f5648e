"""Reads the numbers and the time in a payload: a plain number, or JSON with a path to the value. Numbers are exact, as registers are long.

A path is a row of names and list positions, such as ENERGY.Power or phases.0; the empty one is the payload itself. A list of numbers, as
Tasmota sends for three phases, counts as their sum. Paths with + or - between them add up: `low + high - fed_in`. One that ends in ? counts
as 0 where the payload lacks it.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from smartmeter.timezones import zone

LARGEST_BYTES = 65_536
WATTS_PER_UNIT = {"W": Decimal(1), "kW": Decimal(1000), "mW": Decimal("0.001")}
MWH_PER_UNIT = {"mWh": Decimal(1), "Wh": Decimal(1000), "kWh": Decimal(10**6), "MWh": Decimal(10**9), "Wmin": Decimal(50) / 3}
"""Wmin: the watt-minutes of Shelly's first generation."""
MOST_WATTS = 10**9
"""The jobs refuse more, too: avro/reading_burst.avsc."""
MOST_MWH = 10**18
"""A thousand TWh: no register shows more."""
LARGEST = Decimal("1e30")
NUMBER = re.compile(r"\s*[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?\s*", re.ASCII)
FROM_MS = 1e11
"""A number from here on is a time in ms, below in s: the year 5138, or 1973."""
SHOWN = 40


class Unusable(ValueError):
    """A payload has no usable value. The text is the reason."""


class Missing(Unusable):
    """A payload has nothing at a path."""


def document(payload: bytes) -> Any:
    """The value of a payload: JSON, or else its text. Raises Unusable."""
    if len(payload) > LARGEST_BYTES:
        raise Unusable(f"it has {len(payload):,} bytes, more than {LARGEST_BYTES:,}")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise Unusable("it is no text in UTF-8") from None
    try:
        return json.loads(text, parse_float=exact)
    except (ValueError, RecursionError):
        return text


def exact(text: str) -> Decimal:
    """A number of JSON; infinite if its exponent is too large for any."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("inf")


def value_at(found: Any, path: str) -> Any:
    """The value at a path of a document. Raises Missing if there is none."""
    for name in path.split(".") if path else ():
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Missing(f"it has no {path}") from None
    return found


def number(value: Any) -> Decimal:
    """A finite number, also as a text or as a list that adds up. Raises Unusable.

    >>> number("25.70"), number([1, 2])
    (Decimal('25.70'), Decimal('3'))
    """
    if isinstance(value, list) and value and not any(isinstance(item, list) for item in value):
        return sum((number(item) for item in value), Decimal(0))
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and NUMBER.fullmatch(value)):
        raise Unusable(f"{str(value)[:SHOWN]!r} is no number")
    found = Decimal(value)
    if not found.is_finite() or found.copy_abs() > LARGEST:
        raise Unusable(f"{str(value)[:SHOWN]} is no finite number, or larger than any meter shows")
    return found


@lru_cache
def _terms(path: str) -> list[tuple[int, str, bool]]:
    """(sign, path, whether the payload may lack it) of what a path adds up."""
    signs_and_paths = ["+", *re.split(r" ([+-]) ", path)]
    return [
        (-1 if sign == "-" else 1, term.removesuffix("?"), term.endswith("?"))
        for sign, term in zip(signs_and_paths[::2], signs_and_paths[1::2])
    ]


def total(found: Any, path: str) -> Decimal:
    """The number at a path of a document. Raises Unusable, or Missing.

    >>> total({"low": 1, "high": 2.5, "all": [1, 2]}, "low + high - all + none?")
    Decimal('0.5')
    """
    value = Decimal(0)
    for sign, term, may_lack in _terms(path):
        try:
            value += sign * number(value_at(found, term))
        except Missing:
            if not may_lack:
                raise
    return value


def watts(found: Any, path: str, factor: Decimal) -> float:
    """The power in W at a path of a document. factor: W in a unit. Raises Unusable, or Missing."""
    value = total(found, path) * factor
    if abs(value) > MOST_WATTS:
        raise Unusable(f"{float(value):g} W is more than a meter can measure")
    return float(value)


def mwh(found: Any, path: str, factor: Decimal) -> int:
    """What a register shows at a path of a document, in whole mWh. factor: mWh in a unit. Raises Unusable, or Missing."""
    value = total(found, path) * factor
    if not 0 <= value <= MOST_MWH:
        raise Unusable(f"{float(value) / 1e6:g} kWh is {'less than 0' if value < 0 else 'more than a register can show'}")
    return int(value.to_integral_value())


def time_ms(value: Any, timezone: str) -> int:
    """A time in ms since 1970: Unix time in s or ms, or a text in ISO 8601, local to the time zone if it names none. Raises Unusable.

    >>> time_ms("2024-04-16T09:15:03", "Europe/Amsterdam"), time_ms(1713251703, "UTC"), time_ms(1713251703000, "UTC")
    (1713251703000, 1713251703000, 1713251703000)
    """
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        if not 0 <= value < 1e15:
            raise Unusable(f"{str(value)[:SHOWN]} is no time")
        return round(value if value >= FROM_MS else value * 1000)
    try:
        at = datetime.fromisoformat(value)
        return round((at if at.tzinfo else at.replace(tzinfo=zone(timezone))).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        raise Unusable(f"{str(value)[:SHOWN]!r} is no time") from None
