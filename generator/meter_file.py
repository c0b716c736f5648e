"""What a user states of meters that their files do not: a TOML file with a table [[meters]] for each (docs/data.md).

[[meters]]
label = "garage"
parent = "subpanel"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from generator.houses import Kind, Meter
from smartmeter.errors import UserError


@dataclass(frozen=True)
class Stated:
    """One table of the file. house, meter and label select meters, and the rest states what holds for them."""

    house: str = ""
    """As the files name it; empty: any."""
    meter: int = 0
    """Its number; 0: any."""
    label: str = ""
    """In capital or small letters; empty: any."""
    kind: Kind | None = None
    """None: as the label says."""
    parent: str = ""
    """Label or number of the meter of the same house that measures this one's power too; empty: none but the mains."""
    sign: int = 0
    """1 if the files count what is drawn from the house's wiring as positive, -1 if what is fed into it; 0: by the kind."""
    scale: float = 1.0
    """Factor from the files' values to true ones."""

    def fits(self, house: str, meter_id: int, label: str) -> bool:
        """Whether it holds for a meter."""
        return self.house in ("", house) and self.meter in (0, meter_id) and self.label.casefold() in ("", label.casefold())


class MeterFile:
    """The tables of a file. The first that fits a meter holds for it."""

    def __init__(self, path: Path, tables: Sequence[Stated]):
        self._path, self._tables = path, tables
        self._used: set[Stated] = set()

    def of(self, house: str, meter_id: int, label: str) -> Stated:
        """What is stated of a meter."""
        for table in self._tables:
            if table.fits(house, meter_id, label):
                self._used.add(table)
                return table
        return NOTHING

    def require_used(self) -> None:
        """Raise UserError for a table that fitted no meter."""
        for number, table in enumerate(self._tables, 1):
            if table not in self._used:
                raise UserError(f"{self._path}: the table [[meters]] number {number} fits no meter of the files; correct or remove it")


NOTHING = Stated()
NO_METER_FILE = MeterFile(Path(), ())


def read_meter_file(path: Path | None) -> MeterFile:
    """The tables in a file; none for None. Raises UserError with what is wrong in it."""
    if path is None:
        return NO_METER_FILE
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        tables = given.get("meters")
        if list(given) != ["meters"] or not isinstance(tables, list):
            raise ValueError("it needs a table [[meters]] for each meter, and nothing else")
        return MeterFile(path, [_stated(table) for table in tables])
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror}); give the file with the tables [[meters]]") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UserError(f"{path}: {error}; docs/data.md describes the file") from None


def _stated(table: dict[str, Any]) -> Stated:
    known = [each.name for each in fields(Stated)]
    for name in table:
        if name not in known:
            raise ValueError(f"{name!r} is not one of {', '.join(known)}")
    if not {"meter", "label"} & set(table):
        raise ValueError("a table [[meters]] has neither meter nor label, so it would hold for all meters")
    if not isinstance(number := table.get("meter", 1), int) or number < 1:
        raise ValueError(f"meter = {number!r} is not a number of a meter, from 1")
    table = table | {name: str(table[name]) for name in ("house", "label", "parent") if name in table}
    check_statement(table)
    return Stated(**table)


def check_statement(given: Mapping[str, Any]) -> None:
    """Raise ValueError for a kind, sign or scale that makes no sense."""
    if (kind := given.get("kind")) is not None and kind not in get_args(Kind):
        raise ValueError(f"kind = {kind!r} is not one of {', '.join(get_args(Kind))}")
    if (sign := given.get("sign", 1)) not in (1, -1):
        raise ValueError(f"sign = {sign!r} is not one of 1, -1")
    scale = given.get("scale", 1)
    if not (isinstance(scale, int | float) and 0 < scale < float("inf")):
        raise ValueError(f"scale = {scale!r} is not a number over 0; sign turns the direction")


def sign_of(kind: Kind, stated: int = 0) -> int:
    """The sign that turns a file's values into what is drawn. stated: see Stated.sign; files count what solar produces as positive."""
    return stated or (-1 if kind == "solar" else 1)


def with_parents(place: str, meters: Sequence[Meter], parents: Mapping[int, str]) -> list[Meter]:
    """The meters of a house, under the parents that are stated of some (meter_id -> Stated.parent). place: of the house.

    Raises UserError for a parent that is not exactly one meter of the house.
    """
    found = []
    for meter in meters:
        name = parents.get(meter.meter_id, "")
        named = [other.meter_id for other in meters if other.label.casefold() == name.casefold()]
        named = named or [other.meter_id for other in meters if str(other.meter_id) == name]
        if name and len(named) != 1:
            raise UserError(
                f"{place}: the parent of {meter.label} is {name!r}, which {len(named) or 'no'} meters of the house are called; give the label or "
                "the number of one"
            )
        found.append(replace(meter, parent=named[0]) if name else meter)
    return found
