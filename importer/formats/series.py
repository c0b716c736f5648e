"""What every format yields: batches of values of one series, which is one quantity of one meter of a house."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from generator.channels import DatasetError
from generator.houses import Kind
from generator.meter_file import MeterFile, sign_of
from importer.formats.sources import Source
from smartmeter.arrays import Bools, Floats, Ints
from smartmeter.power import MOST_WATTS
from smartmeter.terminal import printable

Quantity = Literal["power", "energy", "import", "export"]
"""power: at an instant, or the mean of an interval; energy: of an interval; import, export: registers, which count energy up."""
Unit = Literal["W", "kW", "Wh", "kWh"]
Stamp = Literal["start", "end"]

PER_UNIT = {"W": 1.0, "kW": 1000.0, "Wh": 1.0, "kWh": 1000.0}
"""W or Wh of a unit."""


@dataclass(frozen=True)
class Series:
    """One quantity of one meter of a house."""

    house: str
    """The file's own name of the house."""
    meter_id: int
    label: str
    kind: Kind
    quantity: Quantity
    unit: Unit
    timezone: str
    """IANA time zone of the house."""
    interval_s: float = 0.0
    """Length of the interval whose mean or energy a value is; 0: a value belongs to an instant."""
    stamp: Stamp = "start"
    """Which end of its interval a time in the file is. The times of a batch are starts."""
    parent: str = ""
    sign: int = 0
    scale: float = 1.0
    """As in generator.meter_file.Stated."""

    @property
    def factor(self) -> float:
        """From a value to what is drawn, in the unit."""
        return sign_of(self.kind, self.sign) * self.scale

    @property
    def register(self) -> Quantity:
        """What a register counts: one that files call import counts what is fed in if the sign turns it, such as that of solar."""
        return "export" if self.quantity == "import" and self.factor < 0 else self.quantity

    @property
    def watts_per_value(self) -> float:
        """Factor from a value to the W that are drawn, for power and energy."""
        return self.factor * PER_UNIT[self.unit] * (3600 / self.interval_s if self.quantity == "energy" else 1.0)


@dataclass(frozen=True, eq=False)
class Batch:
    """n values of a series, in the order of the file."""

    series: Series
    times_ms: Ints  # int64 (n,), of an interval its start
    values: Floats  # float64 (n,), in series.unit
    place: str  # the file
    lines: Ints  # int64 (n,), line of the file, or row of a table without lines, from 1

    def stated(self, meters: MeterFile) -> Batch:
        """The values under what a user states of the meter."""
        own, stated = self.series, meters.of(self.series.house, self.series.meter_id, self.series.label)
        return replace(
            self,
            series=replace(
                own,
                kind=stated.kind or own.kind,
                parent=stated.parent or own.parent,
                sign=stated.sign or own.sign,
                scale=stated.scale * own.scale,
            ),
        )

    def where(self, which: Bools) -> Batch:
        """The values that a mask selects."""
        return Batch(self.series, self.times_ms[which], self.values[which], self.place, self.lines[which])


@dataclass
class Faults:
    """What is wrong with lines. The first one is raised, or each is left out and listed in a file."""

    listed_in: Path | None = None
    """The list of the lines that are left out; None: raise the first."""
    count: int = 0
    first: list[str] = field(default_factory=list)

    MOST_SHOWN = 10

    def add(self, place: str, found: Iterable[tuple[int, str]]) -> None:
        """Report lines of a file: (line, what is wrong with it). Raises DatasetError for the first unless they are left out."""
        sentences = [f"{place}:{line}: {printable(what)}" for line, what in sorted(found)]
        if not sentences:
            return
        if self.listed_in is None:
            raise DatasetError(f"{sentences[0]}; correct the line, or leave such lines out with --skip-bad")
        self.first += sentences[: self.MOST_SHOWN - len(self.first)]
        self.count += len(sentences)
        with self.listed_in.open("a") as out:
            out.writelines(f"{sentence}\n" for sentence in sentences)


@dataclass(frozen=True)
class Request:
    """How files are to be read. timezone: of the houses, or empty: the format's own. Times outside [oldest_ms, newest_ms) are faults."""

    faults: Faults
    oldest_ms: int
    newest_ms: int
    timezone: str = ""
    unit: Unit = "W"
    """Of power in files that do not state it."""


class Format(Protocol):
    """A format of files."""

    @property
    def name(self) -> str:
        """As --format takes it."""

    def recognizes(self, source: Source) -> bool:
        """Whether a file has this format, by its name and its beginning."""

    def read(self, source: Source, request: Request) -> Iterator[Batch]:
        """The values of a file in bounded memory. Raises DatasetError if it cannot be read, or by request.faults."""


def timezone_of(request: Request, own: str, source: Source) -> str:
    """The time zone of the houses of a file. own: the format's, or empty if its files come from many zones. Raises DatasetError."""
    if found := request.timezone or own:
        return found
    raise DatasetError(f"{source.name}: the time zone of its houses is unknown; give it with --timezone, such as --timezone Europe/Berlin")


def checked(batch: Batch, request: Request) -> Batch:
    """The batch without values that no meter has, and times out of range, which go to request.faults."""
    series = batch.series
    early, late = batch.times_ms < request.oldest_ms, batch.times_ms >= request.newest_ms
    factor = series.watts_per_value if series.quantity in ("power", "energy") else 1.0
    absurd = ~(np.abs(batch.values * factor) <= (MOST_WATTS if series.quantity in ("power", "energy") else np.finfo(float).max))
    bad = early | late | absurd
    if not bad.any():
        return batch
    request.faults.add(batch.place, (_fault(batch, row, early[row], late[row]) for row in np.flatnonzero(bad).tolist()))
    return batch.where(~bad)


def _fault(batch: Batch, row: int, early: bool, late: bool) -> tuple[int, str]:
    time = np.datetime64(int(batch.times_ms[row]), "ms").astype("M8[s]")
    if early:
        what = f"the time {time} UTC is before all readings that are accepted; was the clock set?"
    elif late:
        what = f"the time {time} UTC is in the future; is it in the unit, the order of day and month, and the zone that is assumed?"
    else:
        what = f"{batch.series.label}: {batch.values[row]:.12g} {batch.series.unit} is more than any home draws"
    return int(batch.lines[row]), what
