"""The table of places (zips.csv) for multiplied and synthetic houses."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Place:
    """A ZIP code: its centre in degrees north and east, its population, its IANA time zone."""

    zip: str
    city: str
    state: str
    latitude: float
    longitude: float
    population: int
    timezone: str


@lru_cache
def places() -> dict[str, Place]:
    """ZIP code -> place."""
    with open(Path(__file__).with_name("zips.csv"), newline="") as lines:
        rows = [
            Place(
                row["zip"],
                row["city"],
                row["state"],
                float(row["latitude"]),
                float(row["longitude"]),
                int(row["population"]),
                row["timezone"],
            )
            for row in csv.DictReader(lines)
        ]
    return {place.zip: place for place in rows}


def draw_place(rng: np.random.Generator) -> Place:
    """A random place, weighted by population."""
    table = list(places().values())
    people = np.array([place.population for place in table], dtype=float)
    return table[rng.choice(len(table), p=people / people.sum())]
