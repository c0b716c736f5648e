"""A file of days that are known to have a fault.

    house,date,meter
    1,2014-03-02,4
    refit2/house_1,2014-03-09

Each line has a house (its number, or folder/house_N), a local date and, if the fault is one meter's, that meter. A header line, empty lines
and lines that begin with # are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.watching.scores import Place
from generator.houses import House
from smartmeter.errors import UserError
from smartmeter.settings import days_since_1970, is_date

FORM = "house,date[,meter]"
HEADER = ["house", "date"]


def labelled_days(path: Path, houses: Sequence[House]) -> list[Place]:
    """The labelled days in a file. Raises UserError for a line (file:line) that is not one."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"{path}: {reason}; give a file with lines {FORM}") from None
    named = _by_name(houses)
    places: list[Place] = []
    for number, line in enumerate(lines, 1):
        fields = [field.strip() for field in line.split(",")]
        if not line.strip() or line.lstrip().startswith("#") or (not places and fields[:2] == HEADER):
            continue
        try:
            places.append(_place(fields, named))
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}; correct the line") from None
    if not places:
        raise UserError(f"{path}: no day in it; it needs lines {FORM}, such as 1,2014-03-02")
    return places


def _by_name(houses: Sequence[House]) -> Mapping[str, list[House]]:
    """The houses with each name: number or source."""
    named = defaultdict(list)
    for house in houses:
        named[house.source].append(house)
        named[str(house.house_id)].append(house)
    return named


def _place(fields: Sequence[str], named: Mapping[str, list[House]]) -> Place:
    """The labelled day in the fields of a line. Raises ValueError."""
    if len(fields) not in (2, 3):
        raise ValueError(f"{','.join(fields)!r} is not {FORM}")
    name, day, meter = (*fields, "")[:3]
    houses = named.get(name, [])
    if len(houses) != 1:
        names = ", ".join(house.source for house in houses)
        raise ValueError(f"house {name!r} may be {names}" if houses else f"there is no house {name!r} in the data")
    if not is_date(day):
        raise ValueError(f"{day!r} is not a date such as 2014-03-02")
    [house] = houses
    meter_ids = {str(known.meter_id): known.meter_id for known in house.meters}
    if meter and meter not in meter_ids:
        raise ValueError(f"{house.source} has no meter {meter!r}")
    return house.source, days_since_1970(day), meter_ids.get(meter)
