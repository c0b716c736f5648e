"""The power profile job: topic readings -> topics power_profile, late and dead_letter.

readings --> batches of sections with what each adds to its minutes, a house each (kafka_tables.batches)
         --> PowerProfile: lowest, mean and highest power of each meter and minute, once the minute is settled
             (jobs.core.minutes)
         --> results
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from jobs.core.batches import Wanted
from jobs.core.house_days import HouseDays
from jobs.core.minutes import Minutes, columns, mean_watts
from jobs.core.runs import begins
from jobs.core.stage import Change, Stage
from jobs.core.state import HouseState
from jobs.flink import flow
from smartmeter.arrays import Rows
from smartmeter.local_days import day_of
from smartmeter.messages.records import Result
from smartmeter.settings import MINUTE_MS

MOST_MINUTES = 20_000
"""Most minutes in a record: about 300 kB of the 1 MB that Kafka's producer accepts."""


class PowerProfile(Stage):
    """Emits each meter's minutes once they are settled, or at the end of a bounded topic; later pieces immediately."""

    wanted = Wanted(minutes=True)

    def take(self, change: Change) -> Iterator[Result]:
        """Yield the minutes that the batch settles, and pieces of minutes that were settled before."""
        yield from records(change.house_id, change.house.timezone, change.settled)

    def wake(self, state: HouseState, house: HouseDays, now_ms: int, ended: bool) -> Iterator[Result]:
        """Yield the open minutes at the end of a bounded topic."""
        if ended:
            yield from records(state.house_id, house.timezone, Minutes.from_bytes(state.get("minutes")).open)


def records(house_id: int, timezone: str, minutes: Rows) -> Iterator[Result]:
    """Yield records of minutes (PART, sorted by part, meter and minute): one or more for each part and local day."""
    if not len(minutes):
        return
    ends_ms = np.array([minutes["minute"].min(), minutes["minute"].max()], np.int64) * MINUTE_MS
    first_day, last_day = day_of(timezone, ends_ms).tolist()
    if first_day == last_day and not minutes["part"][-1]:
        yield from records_of_day(house_id, first_day, minutes)
        return
    day = day_of(timezone, minutes["minute"].astype(np.int64) * MINUTE_MS)
    order = np.lexsort((day, minutes["part"]))
    minutes, day = minutes.take(order), day[order]
    for begin, end in pairwise([*begins(minutes["part"], day).tolist(), len(minutes)]):
        yield from records_of_day(house_id, int(day[begin]), minutes[begin:end])


def records_of_day(house_id: int, date: int, minutes: Rows) -> Iterator[Result]:
    """Yield records of schema power_profile, with NumPy arrays, of the minutes (PART, by meter and minute) of one part and local day."""
    for at in range(0, len(minutes), MOST_MINUTES):
        some = minutes[at : at + MOST_MINUTES]
        start, (meter_ids, counts, deltas) = some["minute"].min(), columns(some)
        yield (
            "power_profile",
            {
                "house_id": house_id,
                "date": date,
                "part": int(some["part"][0]),
                "start": int(start) * MINUTE_MS,
                "meter_ids": meter_ids,
                "counts": counts,
                "deltas": deltas,
                "readings": some["readings"],
                "min_watts": some["min_watts"],
                "mean_watts": mean_watts(some),
                "max_watts": some["max_watts"],
            },
        )


if __name__ == "__main__":
    flow.run("power_profile", lambda settings: [PowerProfile()])
