"""Readings on their way from files to the topics: on disk, by house and local day, so that files may be of any size and in any order."""

from __future__ import annotations

import math
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np

from generator.channels import DatasetError, note
from generator.datasets import DRAWING_SOLAR, MOST_KILOWATTS
from generator.houses import House, HouseDay, Meter, Readings, hold_s
from generator.meter_file import with_parents
from importer.formats.mapping import number_of
from importer.formats.series import Series
from importer.sendable import QUANTITIES
from smartmeter.arrays import Float32s, Floats, Ints, Rows
from smartmeter.local_days import EPOCH, day_of

ROW = np.dtype([("meter_id", "<i4"), ("quantity", "i1"), ("time_ms", "<i8"), ("value", "<f8")])
"""A reading: of power (quantity 0) in W, of a register in whole mWh."""
MOST_HOUSE_ID = 2**53


@dataclass
class OfMeter:
    """What is known of a meter while it is read."""

    meter: Meter
    parent: str = ""  # Series.parent
    readings: int = 0
    sum_watts: float = 0.0  # of all readings
    period_s: float = 0.0
    """Median time between its first readings; 0: unknown."""
    register_period_s: float = 0.0
    """The same of its register."""
    interval_s: float = 0.0
    """Length of the intervals whose mean its readings are, the longest of several; 0: they are of instants."""

    def hold_s(self, max_gap_s: float) -> int:
        """How long a reading holds at most, in s; 0: max_gap_s."""
        return math.ceil(self.interval_s) or hold_s(self.period_s, max_gap_s)


@dataclass
class OfHouse:
    """What is known of a house while it is read."""

    house_id: int
    name: str
    timezone: str
    format_name: str
    meters: dict[int, OfMeter] = field(default_factory=dict)
    highest_mains_watts: float = 0.0
    is_fractional: bool = False


class Spool:
    """Collects readings in one temporary file, and gives them back by house. Use it in a with statement."""

    def __init__(self, folder: Path, house_id: int | None = None):
        """folder: of the file. house_id: number of the only house, whatever the file's name of it."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, it lives as long as the spool
        self._house_id = house_id
        self._houses: dict[int, OfHouse] = {}
        self._pieces: dict[int, list[array[int]]] = {}  # house_id -> [day], [first row], [rows] of its pieces of the file
        self._by_day: dict[int, list[Ints]] = {}  # the same, by day
        self._rows = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def readings(self) -> int:
        """The readings in it, repeated ones included."""
        return self._rows

    def add(self, format_name: str, series: Series, times_ms: Ints, watts: Float32s) -> None:
        """Add n readings of a meter. Raises DatasetError if two houses or meters have one number."""
        if not len(times_ms):
            return
        house = self._house(format_name, series)
        meter = self._meter(house, series)
        meter.readings += len(watts)
        meter.period_s = meter.period_s or _period_s(times_ms)
        meter.interval_s = max(meter.interval_s, series.interval_s)
        meter.sum_watts += float(watts.sum(dtype=np.float64))
        if series.kind == "mains":
            house.highest_mains_watts = max(house.highest_mains_watts, float(watts.max()))
            house.is_fractional |= bool((watts % 1 != 0).any())
        self._write(house, series, 0, times_ms, watts)

    def add_register(self, format_name: str, series: Series, times_ms: Ints, mwh: Floats) -> None:
        """Add n readings of a register, in whole mWh. Raises as add does."""
        if len(times_ms):
            house = self._house(format_name, series)
            meter = self._meter(house, series)
            meter.readings += len(mwh)
            meter.register_period_s = meter.register_period_s or _period_s(times_ms)
            self._write(house, series, QUANTITIES[series.register], times_ms, mwh)

    def _write(self, house: OfHouse, series: Series, quantity: int, times_ms: Ints, values: Float32s | Floats) -> None:
        days = day_of(series.timezone, times_ms)
        order = np.argsort(days, kind="stable")
        rows = np.empty(len(order), ROW)
        rows["meter_id"], rows["quantity"], rows["time_ms"], rows["value"] = series.meter_id, quantity, times_ms[order], values[order]
        self._file.write(rows.tobytes())
        cuts = np.flatnonzero(np.diff(days[order], prepend=-1))
        for kept, index in zip(self._pieces[house.house_id], (days[order][cuts], self._rows + cuts, np.diff(cuts, append=len(order)))):
            kept.frombytes(index.astype(np.int64).tobytes())
        self._rows += len(order)

    def _house(self, format_name: str, series: Series) -> OfHouse:
        house_id = self._house_id or number_of(series.house, MOST_HOUSE_ID)
        found = self._houses.setdefault(house_id, OfHouse(house_id, series.house, series.timezone, format_name))
        self._pieces.setdefault(house_id, [array("q") for _ in range(3)])
        if (found.format_name, found.name) != (format_name, series.house):
            raise DatasetError(
                f"{found.format_name}/{found.name} and {format_name}/{series.house} would both be house {house_id}; import them apart, each "
                "with its own --house"
            )
        if found.timezone != series.timezone:
            raise DatasetError(f"house {found.name} is both in {found.timezone} and {series.timezone}; give its zone with --timezone")
        return found

    def _meter(self, house: OfHouse, series: Series) -> OfMeter:
        found = house.meters.setdefault(series.meter_id, OfMeter(Meter(series.meter_id, series.label, series.kind), series.parent))
        if found.meter.label != series.label:
            raise DatasetError(
                f"house {house.name}: {found.meter.label} and {series.label} are both meter {series.meter_id}; leave one out with --without"
            )
        return found

    def houses(self, max_gap_s: float) -> list[SpooledHouse]:
        """The houses, by number. Nothing is added after that. max_gap_s: how long a reading holds whose meter has no hold of its own."""
        self._file.flush()
        for house_id, kept in self._pieces.items():
            pieces = [np.array(values, np.int64) for values in kept]
            order = np.argsort(pieces[0], kind="stable")
            self._by_day[house_id] = [values[order] for values in pieces]
        self._pieces.clear()
        return [SpooledHouse(self, self._houses[house_id], max_gap_s) for house_id in sorted(self._houses)]

    def days_of(self, house_id: int) -> Ints:
        """The local days (since 1970-01-01) that have readings of a house, rising."""
        return np.unique(self._by_day[house_id][0])

    def rows_of(self, house_id: int, day: int) -> Rows:
        """The readings of a house and day, dtype ROW, in the order in which they were added."""
        days, firsts, counts = self._by_day[house_id]
        pieces = []
        for piece in range(*np.searchsorted(days, [day, day + 1]).tolist()):
            self._file.seek(int(firsts[piece]) * ROW.itemsize)
            pieces.append(np.frombuffer(self._file.read(int(counts[piece]) * ROW.itemsize), ROW))
        return np.concatenate(pieces)


class SpooledHouse(House):
    """A house of a spool. Of several readings of a meter at one time, the first is kept."""

    def __init__(self, spool: Spool, known: OfHouse, max_gap_s: float):
        parents = {meter_id: meter.parent for meter_id, meter in sorted(known.meters.items())}
        meters = with_parents(f"house {known.name}", [known.meters[meter_id].meter for meter_id in parents], parents)
        holds_s = {meter_id: hold for meter_id, meter in known.meters.items() if (hold := meter.hold_s(max_gap_s))}
        super().__init__(known.house_id, f"{known.format_name}/{known.name}", known.timezone, meters, holds_s=holds_s)
        self.known = known
        self._repeats: dict[date, tuple[int, int]] = {}
        self._spool = spool

    @property
    def repeated(self) -> int:
        """Readings at a time that their meter has another one of, in the days that were read so far."""
        return sum(repeated for repeated, _ in self._repeats.values())

    @property
    def contradicting(self) -> int:
        """How many of these have another value."""
        return sum(contradicting for _, contradicting in self._repeats.values())

    @property
    def dates(self) -> list[date]:
        """The local days that have readings, rising."""
        return [EPOCH.date() + timedelta(days=int(day)) for day in self._spool.days_of(self.house_id)]

    @property
    def period_s(self) -> float:
        """The shortest time between readings of its meters, in s; 0 if no meter has two."""
        periods = [meter.period_s or meter.register_period_s for meter in self.known.meters.values()]
        return min((period_s for period_s in periods if period_s > 0), default=0.0)

    def days(self, first: date = date.min, end: date = date.max) -> Iterator[HouseDay]:
        """The local days in [first, end) that have readings, in order."""
        return (self.day(day) for day in self.dates if first <= day < end)

    def day(self, day: date) -> HouseDay:
        """A local day, from its first reading to its last: what lies around them may still come, in another file."""
        rows = self._spool.rows_of(self.house_id, (day - EPOCH.date()).days)
        rows = rows[np.lexsort((rows["time_ms"], rows["quantity"], rows["meter_id"]))]
        same = np.logical_and.reduce([np.diff(rows[name]) == 0 for name in ("meter_id", "quantity", "time_ms")])
        self._repeats[day] = int(np.count_nonzero(same)), int(np.count_nonzero(same & (np.diff(rows["value"]) != 0)))
        rows = rows[np.append(True, ~same)]
        power, of_registers = rows[rows["quantity"] == 0], rows[rows["quantity"] > 0]
        cuts = [*np.searchsorted(power["meter_id"], [meter.meter_id for meter in self.meters]).tolist(), len(power)]
        readings: list[Readings] = [
            (power["time_ms"][begin:end].astype(np.int64), power["value"][begin:end].astype(np.float32)) for begin, end in pairwise(cuts)
        ]
        registers = {}
        for channel in np.unique(of_registers[["meter_id", "quantity"]]):
            own = of_registers[of_registers[["meter_id", "quantity"]] == channel]
            registers[channel.tolist()] = own["time_ms"].astype(np.int64), own["value"].astype(np.int64)
        start_ms, last_ms = int(rows["time_ms"].min()), int(rows["time_ms"].max())
        tick_ms = 1000 if (rows["time_ms"] % 1000 == 0).all() else 1
        return HouseDay(day, start_ms, last_ms + tick_ms, readings, registers)


def _period_s(times_ms: Ints) -> float:
    """Median time between readings, in s; 0 of one."""
    return float(np.median(np.abs(np.diff(times_ms)))) / 1000 if len(times_ms) > 1 else 0.0


def note_doubts(houses: Sequence[SpooledHouse]) -> None:
    """Note what may surprise: power that looks like kW, no mains, solar that draws, intervals with gaps between them. One line each."""
    in_kilowatts = [house for house in houses if 0 < house.known.highest_mains_watts < MOST_KILOWATTS and house.known.is_fractional]
    _note(in_kilowatts, f"the power of the mains looks like kW, not W: it stays under {MOST_KILOWATTS}")
    without_mains = [house for house in houses if not any(meter.kind == "mains" for meter in house.meters)]
    _note(without_mains, "no meter is labelled mains, so the energy of the house is the sum of its meters")
    drawing = [
        house for house in houses if any(meter.meter.kind == "solar" and meter.sum_watts > 0 for meter in house.known.meters.values())
    ]
    _note(drawing, DRAWING_SOLAR)
    apart = {house: [meter for meter in house.known.meters.values() if 0 < meter.interval_s < meter.period_s] for house in houses}
    sparse = [house for house in houses if apart[house]]
    for meter in [meter for house in sparse[:1] for meter in apart[house][:1]]:
        _note(
            sparse,
            f"the readings of {meter.meter.label} are {meter.period_s:,.0f} s apart, and each is of {meter.interval_s:,.0f} s, so energy is "
            "missing; is the length of the intervals right?",
        )


def _note(houses: Sequence[SpooledHouse], doubt: str) -> None:
    if houses:
        more = f" and {len(houses) - 1:,} more" if len(houses) > 1 else ""
        note(f"{houses[0].source}{more}: {doubt}")
