"""Mappings: what the columns of a table mean. Formats that are tables are a mapping each; a user's own is a TOML file (docs/import.md)."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa

from generator.channels import DatasetError, note
from generator.datasets import kind_of
from generator.houses import Kind
from generator.meter_file import check_statement
from importer.formats import tables
from importer.formats.columns import Clock, LocalClock, TimeReader, numbers, texts
from importer.formats.series import Batch, Faults, Quantity, Request, Series, Stamp, Unit, checked, timezone_of
from importer.formats.sources import Source
from importer.formats.tables import Block
from smartmeter.arrays import Bools, Ints


@dataclass(frozen=True)
class Column:
    """A column with the values of one meter; of all meters, if another column names the meter."""

    name: str
    unit: Unit
    label: str = ""
    """What the meter measures; default: the column's name, or what the column of meters names."""
    kind: Kind | None = None
    """Default: by the label."""
    quantity: Quantity | None = None
    """Default: energy if values belong to intervals and are in Wh or kWh, else power. Registers must be named."""
    interval_s: float = 0.0
    stamp: Stamp = "start"
    parent: str = ""
    sign: int = 0
    scale: float = 1.0
    """As in generator.meter_file.Stated."""


@dataclass(frozen=True)
class Mapping:
    """What the columns of a table mean. time: one column, or a date's and a time's."""

    time: tuple[str, ...]
    columns: tuple[Column, ...]
    time_format: str = ""
    clock: Clock = "local"
    timezone: str = ""
    house: str = ""
    """The name of the only house."""
    house_column: str = ""
    meter_column: str = ""
    decimal: str = "."

    @property
    def wanted(self) -> list[str]:
        """The names of all columns that are read."""
        names = (*self.time, self.house_column, self.meter_column, *(column.name for column in self.columns))
        return [name for name in dict.fromkeys(names) if name]

    def fits(self, source: Source) -> bool:
        """Whether a file is a table with these columns."""
        if tables.is_parquet(source):
            return set(self.wanted) <= set(tables.columns_of_parquet(source))
        return tables.layout_of(source, self.wanted) is not None

    def blocks(self, source: Source, faults: Faults) -> Iterator[Block]:
        """The rows of a file. Raises DatasetError if it lacks one of the columns."""
        if tables.is_parquet(source):
            missing = set(self.wanted) - set(tables.columns_of_parquet(source))
            if not missing:
                return tables.parquet_blocks(source, self.wanted)
        elif layout := tables.layout_of(source, self.wanted):
            return tables.text_blocks(source, layout, self.wanted, faults)
        raise DatasetError(
            f"{source.name}: no header with the columns {', '.join(self.wanted)}; correct the mapping, or leave the file out"
        )

    def read(self, source: Source, request: Request) -> Iterator[Batch]:
        """The values of a file."""
        blocks = self.blocks(source, request.faults)
        reader = Reader(self, source, request)
        try:
            for block in blocks:
                yield from reader.read(block)
        except pa.ArrowException as error:
            raise DatasetError(f"{source.name}: a column has neither numbers, texts nor times ({error}); correct the mapping") from None
        reader.note_missing()


class Reader:
    """Reads the blocks of a file by a mapping."""

    def __init__(self, mapping: Mapping, source: Source, request: Request):
        self.mapping = replace(mapping, timezone=timezone_of(request, mapping.timezone, source))
        self.source, self.request, self.missing = source, request, 0
        self._times = TimeReader(mapping.time_format)
        self._clocks: dict[tuple[str, str], LocalClock] = {}

    def note_missing(self) -> None:
        """Note how many values were missing."""
        if self.missing:
            note(f"{self.source.name}: {self.missing:,} missing values: left out")

    def read(self, block: Block) -> list[Batch]:
        """The values of a block, by house, meter and column. Faults are reported before any of them is used."""
        times, bad, are_utc = self._times.read(_joined([block.columns[name] for name in self.mapping.time]))
        faulty = dict.fromkeys(np.flatnonzero(bad).tolist(), "no time of the form of those before it")
        groups = [
            (house, meter, *self._instants(house, meter, rows, times[rows], are_utc, faulty))
            for house, meter, rows in self._groups(block, np.flatnonzero(~bad))
        ]
        values = [self._values(block, column, bad, faulty) for column in self.mapping.columns]
        self._report(block, faulty)
        return [
            checked(batch, self.request)
            for house, meter, rows, times_ms in groups
            for number, (column, (value, usable)) in enumerate(zip(self.mapping.columns, values), 1)
            if (batch := self._batch(block, self._series(house, meter, number, column), rows, times_ms, value, usable)) is not None
        ]

    def _instants(self, house: str, meter: str, rows: Ints, times_ms: Ints, are_utc: bool, faulty: dict[int, str]) -> tuple[Ints, Ints]:
        """(rows, their instants in ms) of a meter. Adds local times that the clocks skip to faulty."""
        if are_utc:
            return rows, times_ms
        clock = self._clocks.setdefault((house, meter), LocalClock(self.mapping.timezone, self.mapping.clock))
        instants_ms, skipped = clock.instants(times_ms)
        faulty |= dict.fromkeys(rows[skipped].tolist(), "a local time that the clocks skip")
        return rows[~skipped], instants_ms[~skipped]

    def _groups(self, block: Block, rows: Ints) -> Iterator[tuple[str, str, Ints]]:
        """(house, meter, its rows) of a block; the meter is empty if each has a column."""
        mapping = self.mapping
        keys = [texts(block.columns[name]).to_pandas() for name in (mapping.house_column, mapping.meter_column) if name]
        if not keys:
            yield mapping.house, "", rows
            return
        for names, at in pd.DataFrame(dict(enumerate(keys))).iloc[rows].groupby(list(range(len(keys))), sort=False).indices.items():
            found = list(names) if isinstance(names, tuple) else [names]
            house = found.pop(0) if mapping.house_column else mapping.house
            yield str(house), str(found[0]) if found else "", rows[at]

    def _values(self, block: Block, column: Column, bad_time: Bools, faulty: dict[int, str]) -> tuple[Any, Bools]:
        """(values, which are usable) of a column. Adds what is no number to faulty."""
        value, missing, bad = numbers(block.columns[column.name], self.mapping.decimal)
        for row in np.flatnonzero(bad).tolist():
            faulty.setdefault(row, f"{column.name}: {str(block.columns[column.name][row])[:80]!r} is no number")
        if not missing.all():  # an empty column is a meter that the house lacks
            self.missing += int(np.count_nonzero(missing & ~bad_time))
        return value, ~(missing | bad)

    def _report(self, block: Block, faulty: dict[int, str]) -> None:
        shown = [block.columns[name] for name in self.mapping.time]
        self.request.faults.add(
            block.place,
            ((int(block.lines[row]), f"{' '.join(str(part[row]) for part in shown)[:80]!r}: {what}") for row, what in faulty.items()),
        )

    def _series(self, house: str, meter: str, number: int, column: Column) -> Series:
        label = column.label or meter or column.name
        quantity = column.quantity or ("energy" if column.unit in ("Wh", "kWh") else "power")
        kind = column.kind or kind_of(label)
        meter_id = number_of(meter, 2**31) if meter else number
        about = column.interval_s, column.stamp, column.parent, column.sign, column.scale
        return Series(house, meter_id, label, kind, quantity, column.unit, self.mapping.timezone, *about)

    @staticmethod
    def _batch(block: Block, series: Series, rows: Ints, times_ms: Ints, values: Any, usable: Bools) -> Batch | None:
        """The usable values of a series in some rows; None if there are none. Times become those of the intervals' starts."""
        used = usable[rows]
        if not used.any():
            return None
        if series.stamp == "end":
            times_ms = times_ms - round(series.interval_s * 1000)
        return Batch(series, times_ms[used], values[rows[used]], block.place, block.lines[rows[used]])


def _joined(columns: list[pa.Array]) -> pa.Array:
    """A date's and a time's column as one."""
    if len(columns) == 1:
        return columns[0]
    return pa.array(texts(columns[0]).to_pandas() + " " + texts(columns[1]).to_pandas(), pa.string())


def number_of(name: str, end: int) -> int:
    """A number in [1, end) for the name of a house or a meter: its only number, or else one made from its letters. Always the same."""
    digits = re.findall(r"\d+", name)
    if len(digits) == 1 and 0 < int(digits[0]) < end:
        return int(digits[0])
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) % (end - 1) + 1


def read_mapping(path: Path) -> Mapping:
    """The mapping in a TOML file. Raises DatasetError with what is wrong in it."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        columns = tuple(_made(Column, {"unit": "W"} | column) for column in _tables(given.pop("columns", None)))
        time = given.pop("time", None)
        names = (time,) if isinstance(time, str) else tuple(time) if isinstance(time, list) else ()
        if not (0 < len(names) <= 2 and all(isinstance(name, str) for name in names)):
            raise ValueError('time is the name of a column, or a list of two: time = ["Date", "Time"]')
        if "house" in given:
            given["house"] = str(given["house"])
        return _with_sense(_made(Mapping, given | {"time": names, "columns": columns}))
    except OSError as error:
        raise DatasetError(f"{path}: it cannot be read ({error.strerror}); give the file of a mapping") from None
    except (ValueError, TypeError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise DatasetError(f"{path}: {error}; docs/import.md describes mappings") from None


def _tables(given: Any) -> list[dict[str, Any]]:
    if not (isinstance(given, list) and given and all(isinstance(each, dict) for each in given)):
        raise ValueError("it needs a table [[columns]] for each column with values")
    return given


CHOICES: dict[str, tuple[Any, ...]] = {
    "unit": get_args(Unit),
    "quantity": get_args(Quantity),
    "stamp": get_args(Stamp),
    "clock": get_args(Clock),
    "decimal": (".", ","),
}


def _made(made: Any, given: dict[str, Any]) -> Any:
    known = {each.name for each in fields(made)}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{name!r} is not one of {', '.join(sorted(known))}")
        if name in CHOICES and value not in CHOICES[name]:
            raise ValueError(f"{name} = {value!r} is not one of {', '.join(map(str, CHOICES[name]))}")
        if name == "interval_s" and not (isinstance(value, int | float) and value >= 0):
            raise ValueError(f"interval_s = {value!r} is not a number of seconds")
        if name not in (*CHOICES, "interval_s", "time", "columns", "kind", "sign", "scale") and not isinstance(value, str):
            raise ValueError(f"{name} = {value!r} is not a text")
    check_statement(given)
    if made is Column and not given.get("name"):
        raise ValueError("a table [[columns]] has no name, that of its column")
    return made(**given)


def _with_sense(mapping: Mapping) -> Mapping:
    """The mapping. Raises ValueError if its units and intervals do not go together."""
    if mapping.meter_column and len(mapping.columns) > 1:
        raise ValueError("with meter_column, one column has all values; give one table [[columns]]")
    if bool(mapping.house) == bool(mapping.house_column):
        raise ValueError("it needs either house, the number of the only house, or house_column, the column that names it")
    for column in mapping.columns:
        is_energy, is_register = column.unit in ("Wh", "kWh"), column.quantity in ("import", "export")
        if is_energy and not is_register and not column.interval_s:
            raise ValueError(
                f"the column {column.name} is in {column.unit}: give interval_s, the length of the intervals in s, "
                'or quantity = "import" for a register that counts up'
            )
        if not is_energy and column.quantity not in (None, "power"):
            raise ValueError(f"the column {column.name} is {column.quantity} in {column.unit}; that is in Wh or kWh")
        if column.stamp == "end" and not column.interval_s:
            raise ValueError(f"the column {column.name} has stamps at the end of intervals; give interval_s, their length in s")
    return mapping
