"""Makes any number of houses from a few measured ones: clean days in sequence, scaled, at a drawn place.

House k depends only on the seed, k and the measured houses, not on the number of houses. Its draws are kept in a file, so a
later run repeats them even after measured houses have been added.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np

from generator.channels import AS_WATTS, DatasetError, ReadingOptions
from generator.clean_days import MAX_GAP_S, CleanDays
from generator.datasets import MeasuredHouse, measured_houses
from generator.houses import House, HouseDay, Readings
from generator.places import draw_place, places
from smartmeter.arrays import Float32s, Ints
from smartmeter.folders import private_folder
from smartmeter.local_days import dates, day_bounds_ms, wall_clock_pieces
from smartmeter.settings import Rules

HOUSE_SPREAD = 0.20
CHANNEL_SPREAD = 0.05

Sources = dict[str, tuple[MeasuredHouse, CleanDays]]
"""Name of a source -> its house, and the clean days of that."""


@dataclass(frozen=True)
class Assignment:
    """The draws for a house: a measured house, the index of its first clean day, factors, and a place."""

    source: str
    first_day: int
    house_factor: float
    channel_factors: dict[str, float]  # by meter_id
    zip: str


def multiplied_houses(
    data: Path,
    count: int,
    seed: int,
    home: Path,
    timezone: str | None = None,
    options: ReadingOptions = AS_WATTS,
    max_gap_s: float = Rules.max_gap_s,
) -> list[House]:
    """Houses 1 to count from the data set in `data`. Clean days and assignments are kept under `home`.

    timezone: that of the data; the new houses have that of their zip. Raises DatasetError when no measured house has a
    clean day.
    """
    private_folder(home)
    sources: Sources = {}
    for house in measured_houses(data, timezone, options, max_gap_s):
        clean = CleanDays(house, home / "clean_days" / house.source)
        if clean.dates:
            sources[house.source] = (house, clean)
    if not sources:
        raise DatasetError(
            f"{data}: no house has a clean day (each meter with no gap over {MAX_GAP_S} s from midnight "
            "to midnight) to make houses from; leave out --houses to use the houses as they are"
        )
    file = home / "assignments" / f"{data.resolve().name}-seed-{seed}.json"
    assignments = _assignments(file, sources, count, seed)
    return [_build(house_id, assignments[str(house_id)], sources, file) for house_id in range(1, count + 1)]


def _assignments(file: Path, sources: Sources, count: int, seed: int) -> dict[str, Assignment]:
    """House id -> assignment, from the file. Draws missing ones, and adds them to the file."""
    try:
        kept = json.loads(file.read_text()) if file.exists() else {}
    except ValueError as error:
        raise DatasetError(f"{file}: not the JSON that was written ({error}); remove the file to draw again") from None
    drawn = {str(house_id): asdict(_draw(house_id, sources, seed)) for house_id in range(1, count + 1) if str(house_id) not in kept}
    if drawn:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(kept | drawn, indent=1))
    return {house_id: Assignment(**values) for house_id, values in (kept | drawn).items()}


def _draw(house_id: int, sources: Sources, seed: int) -> Assignment:
    rng = np.random.default_rng([seed, house_id])
    source = str(rng.choice(sorted(sources)))
    house, clean = sources[source]
    return Assignment(
        source=source,
        first_day=int(rng.integers(len(clean.dates))),
        house_factor=float(rng.uniform(1 - HOUSE_SPREAD, 1 + HOUSE_SPREAD)),
        channel_factors={str(meter.meter_id): float(rng.uniform(1 - CHANNEL_SPREAD, 1 + CHANNEL_SPREAD)) for meter in house.meters},
        zip=draw_place(rng).zip,
    )


def _build(house_id: int, assignment: Assignment, sources: Sources, file: Path) -> MultipliedHouse:
    source = sources.get(assignment.source)
    if source is None or {str(meter.meter_id) for meter in source[0].meters} != set(assignment.channel_factors):
        raise DatasetError(
            f"{file}: house {house_id} was made from {assignment.source}, which has no clean day with the same "
            "channels any more; remove the file to draw again"
        )
    return MultipliedHouse(house_id, assignment, *source)


class MultipliedHouse(House):
    """A house made of a measured house's clean days."""

    def __init__(self, house_id: int, assignment: Assignment, source: House, clean: CleanDays):
        place = places()[assignment.zip]
        super().__init__(house_id, source.source, place.timezone, source.meters, place)
        self._clean = clean
        self._first_day = assignment.first_day
        self._factors = [assignment.house_factor * assignment.channel_factors[str(meter.meter_id)] for meter in self.meters]

    def days(self, first: date, end: date) -> Iterator[HouseDay]:
        """The local days in [first, end): each repeats a clean day of the measured house."""
        for day in dates(first, end):
            clean_day = self._clean.dates[(day.toordinal() + self._first_day) % len(self._clean.dates)]
            readings = [
                on_day(day, self.timezone, times, np.round(watts * np.float32(factor), 2))
                for (times, watts), factor in zip(self._clean.load(clean_day), self._factors)
            ]
            yield HouseDay(day, *day_bounds_ms(day, self.timezone), readings)


def on_day(day: date, timezone: str, wall_ms: Ints, watts: Float32s) -> Readings:
    """Readings at wall-clock times (ms since 00:00), moved to the same wall-clock times of another day.

    When the clocks change, a skipped hour loses its readings, and a repeated hour has them twice.
    """
    times, pieces = [], []
    for start_ms, end_ms, start_wall_ms in wall_clock_pieces(day, timezone):
        begin, end = np.searchsorted(wall_ms, [start_wall_ms, start_wall_ms + end_ms - start_ms])
        times.append(wall_ms[begin:end].astype(np.int64) - start_wall_ms + start_ms)
        pieces.append(watts[begin:end])
    return np.concatenate(times), np.concatenate(pieces)
