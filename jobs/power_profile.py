"""The power profile job: topic readings -> topics power_profile, late and dead_letter.

    readings --> batches of sections with what each adds to its minutes, a house each (flow.batches)
             --> PowerProfile: lowest, mean and highest power of each meter and minute, once the minute is settled
                 (jobs.minutes)
             --> results
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from jobs import flow
from jobs.batches import Wanted
from jobs.house import Change, HouseState, Part
from jobs.integral import ARRIVED, HouseDays
from jobs.minutes import MINUTE_MS, PIECE, Minutes, begins, mean_watts, parts, settle
from jobs.readings import day_of

MOST_MINUTES = 20_000
"""In a record: some 300 kB of the 1 MB that Kafka's producer takes."""


class PowerProfile(Part):
    """Each meter's minutes: told once they are settled, those still open at the end of a topic, and what comes later at once."""

    wanted = Wanted(minutes=True)

    def take(self, changes: list[Change]) -> Iterator[tuple[str, dict]]:
        states = [change.state.get("minutes") for change in changes]
        minutes = [Minutes.from_bytes(state) for state in states]
        of_house = np.repeat(np.arange(len(changes)), [len(change.used) for change in changes])
        before_ms, clock_ms = (np.array(times) for times in zip(*((c.clock_before_ms, c.house.clock_ms) for c in changes)))
        arrived, section = parts(
            np.concatenate([c.batch.sections for c in changes], dtype=ARRIVED), np.concatenate([c.batch.minutes for c in changes], dtype=PIECE),
            np.concatenate([c.used for c in changes]), before_ms[of_house])
        house, told = settle(minutes, of_house[section], arrived, clock_ms)
        bounds = np.searchsorted(house, np.arange(len(changes) + 1)).tolist()
        for change, own, state, (begin, end) in zip(changes, minutes, states, pairwise(bounds)):
            yield from records(change.house_id, change.house.timezone, told[begin:end])
            if (new_state := own.to_bytes()) != state:
                change.state.put("minutes", new_state)

    def wake(self, state: HouseState, house: HouseDays, now_ms: int, ended: bool) -> Iterator[tuple[str, dict]]:
        if ended:
            yield from records(state.house_id, house.timezone, Minutes.from_bytes(state.get("minutes")).open)


def records(house_id: int, timezone: str, minutes: np.ndarray) -> Iterator[tuple[str, dict]]:
    """Yield what tells of some minutes (PART, by part, meter and minute): a record for each part and local day, or more."""
    if not len(minutes):
        return
    day = day_of(timezone, minutes["minute"].astype(np.int64) * MINUTE_MS)
    order = np.lexsort((day, minutes["part"]))
    minutes, day = minutes.take(order), day[order]
    for begin, end in pairwise([*begins(minutes["part"], day).tolist(), len(minutes)]):
        for at in range(begin, end, MOST_MINUTES):
            yield "power_profile", record(house_id, int(day[at]), minutes[at:min(at + MOST_MINUTES, end)])


def record(house_id: int, date: int, minutes: np.ndarray) -> dict:
    """A record of schema power_profile, its arrays NumPy's; minutes: PART of one part and local day, by meter and minute."""
    meter_id, minute = minutes["meter_id"], minutes["minute"]
    start, first, deltas = minute.min(), begins(meter_id), minute.copy()
    deltas[1:] -= minute[:-1]
    deltas[first] = minute[first] - start
    return {
        "house_id": house_id, "date": date, "part": int(minutes["part"][0]), "start": int(start) * MINUTE_MS,
        "meter_ids": meter_id[first], "counts": np.diff(first, append=len(minutes)).astype(np.int32), "deltas": deltas,
        "readings": minutes["readings"],
        "min_watts": minutes["min_watts"], "mean_watts": mean_watts(minutes), "max_watts": minutes["max_watts"],
    }


if __name__ == "__main__":
    flow.run("power_profile", lambda settings: [PowerProfile()])
