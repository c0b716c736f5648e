"""Clean days: local days on which no meter of a house has a long gap."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generator.datasets import MeasuredHouse
from generator.houses import HouseDay, Readings
from smartmeter.settings import DAY_MS

MAX_GAP_S = 1000


def is_clean(day: HouseDay) -> bool:
    """Whether no meter, mains or appliance, has a gap over MAX_GAP_S, including from midnight to its first reading and from its
    last reading to midnight."""
    return all(np.diff(times, prepend=day.start_ms, append=day.end_ms).max() <= MAX_GAP_S * 1000 for times, _ in day.readings)


class CleanDays:
    """The clean days of a measured house, cached in a folder for access in any order. Days of 23 or 25 hours do not count.

    They are found in one pass over the data, which is repeated only when a data file has changed.
    """

    def __init__(self, house: MeasuredHouse, folder: Path):
        self._house = house
        self._folder = folder
        made_from = {
            "timezone": house.timezone,
            "files": [
                [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in (channel.path for channel in house.channels)
            ],
            "watts_per_unit": [channel.watts_per_unit for channel in house.channels],
        }
        index = folder / "index.json"
        if not index.exists() or json.loads(index.read_text()) != made_from:
            self._collect()
            index.write_text(json.dumps(made_from))
        self.dates = sorted(date.fromisoformat(path.stem) for path in folder.glob("*.npz"))

    def _collect(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        for day in self._house.days():
            if is_clean(day) and day.end_ms - day.start_ms == DAY_MS:
                columns: dict[str, NDArray[Any]] = {}
                for meter, (times, watts) in zip(self._house.meters, day.readings):
                    columns[f"times_{meter.meter_id}"] = (times - day.start_ms).astype(np.int32)
                    columns[f"watts_{meter.meter_id}"] = watts
                np.savez(self._folder / f"{day.date}.npz", **columns)

    def load(self, day: date) -> list[Readings]:
        """The readings of a clean day, one item for each meter; times in ms since midnight."""
        with np.load(self._folder / f"{day}.npz") as columns:
            return [(columns[f"times_{meter.meter_id}"], columns[f"watts_{meter.meter_id}"]) for meter in self._house.meters]
