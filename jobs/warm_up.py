"""Compiles all compiled loops before the first job needs them: python -P -m jobs.warm_up.

Three days of two houses go through the same functions as in a job, with a dictionary in place of Flink's state.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Any, Self

import numpy as np
from pyflink.common import Row

from jobs.core.batches import house_batches
from jobs.core.overlaps import Horizon
from jobs.core.readings import read
from jobs.core.watch import Watch
from jobs.daily_energy import DailyEnergy
from jobs.flink.operator import END_OF_TIME_MS, Houses
from jobs.power_profile import PowerProfile
from jobs.spikes import Spikes
from jobs.thresholds import Thresholds
from smartmeter.messages.codec import IMPORT, POWER, Burst, encode_burst
from smartmeter.settings import Settings

HOUR_MS = 3_600_000
HOURS = 75
SPIKE_HOUR, GLITCH_HOUR = 60, 64
OVERLAPPING_HOUR = HOURS - 0.5


class Flink(dict[str, bytes]):
    """Replaces Flink for a keyed function: its state is a dictionary, its timers never fire, its counters do not count."""

    put = dict.__setitem__

    def remove(self, key: str) -> None:
        self.pop(key, None)

    def get_map_state(self, descriptor: object) -> Self:
        return self

    def get_metrics_group(self) -> Self:
        return self

    def add_group(self, *name: str) -> Self:
        return self

    def gauge(self, name: str, value: object) -> None: ...

    def counter(self, name: str) -> Self:
        return self

    def inc(self, number: int) -> None: ...

    def get_current_key(self) -> int:
        return 0

    def timer_service(self) -> Self:
        return self

    def current_processing_time(self) -> int:
        return 0

    def register_processing_time_timer(self, time_ms: int) -> None: ...

    def register_event_time_timer(self, time_ms: int) -> None: ...


def burst(hour: float, house_id: int) -> bytes:
    """A message with an hour of two meters, a reading a minute; in house 1 also two readings of a register."""
    watts = np.full(120, 20_000 if hour == SPIKE_HOUR else 100, np.float32)
    watts[30] = 20_000 if hour == GLITCH_HOUR else watts[30]
    deltas = np.tile(np.append(np.int32(0), np.full(59, 60, np.int32)), 2)
    start_ms = 1_303_099_200_000 + round(hour * HOUR_MS)
    zone, two, counts = "America/New_York", np.array([1, 2], np.int32), np.array([60, 60], np.int32)
    of_power = Burst(house_id, zone, start_ms, start_ms + HOUR_MS, 1000, two, counts, deltas, watts)
    if house_id != 1:
        return encode_burst(of_power)
    with_register = replace(
        of_power,
        meter_ids=np.array([1, 2, 1], np.int32),
        counts=np.array([60, 60, 2], np.int32),
        deltas=np.append(deltas, np.array([0, 1800], np.int32)),
        quantities=np.array([POWER, POWER, IMPORT], np.int32),
        energies=np.array([1000 * round(hour), 500]),
    )
    return encode_burst(with_register)


def main() -> int:
    """Returns the number of messages that the job would send."""
    settings = Settings().but(glitch_energy=False, usual_days=2)
    flink: Any = Flink()
    stages = [Thresholds(settings), Spikes(settings), Watch(settings), DailyEnergy(settings), PowerProfile()]
    houses = Houses(settings, stages)
    houses.open(flink)
    horizon, wanted = Horizon(houses.rules.allowed_lateness_ms, houses.max_jump_ms), reduce(or_, (stage.wanted for stage in stages))
    messages = 0
    for hours in np.array_split(np.append(np.arange(HOURS), OVERLAPPING_HOUR), 5):
        readings, _ = read([burst(hour, house_id) for hour in hours.tolist() for house_id in (1, 2)], 2**60)
        places = np.zeros(2 * len(hours), int), np.arange(2 * len(hours))
        batches = house_batches(readings, *places, 1_000_000, wanted, horizon.passed(readings.bursts, *places))
        for _, body in batches.by_shard(1):
            messages += sum(1 for _ in houses.process_element(Row(body, None), flink))
    return messages + sum(1 for _ in houses.on_timer(END_OF_TIME_MS, flink))


if __name__ == "__main__":
    main()
