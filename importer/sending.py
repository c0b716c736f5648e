"""Sends the houses of a spool to Kafka: day by day, and within a day house by house, so memory holds one day of one house."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from generator.bursts import bursts_of_day
from generator.channels import note
from generator.history import HISTORY_BURST_S
from importer.spool import SpooledHouse
from smartmeter.kafka.producer import Producer
from smartmeter.messages.codec import Burst
from smartmeter.progress import Pace
from smartmeter.settings import DAY_MS, Settings

READINGS_OF_BURST = 60
"""Readings of a meter in a burst, at least. A longer burst would also cover gaps that another file may fill."""


def send(houses: Sequence[SpooledHouse], readings: int, settings: Settings) -> int:
    """Send the houses, then their readings. Returns the number of readings sent. Raises ProducerError."""
    sent = 0
    with Producer(settings) as producer, Pace("readings sent", readings) as pace:
        producer.send_houses(house.record() for house in houses)
        for burst in bursts(houses):
            producer.send_burst(burst)
            sent += len(burst.watts)
            pace.add(len(burst.watts))
    repeated = sum(house.repeated for house in houses)
    if repeated:
        contradicting = sum(house.contradicting for house in houses)
        note(f"{repeated:,} readings at a time that their meter has a reading of already, {contradicting:,} with another value: left out")
    return sent


def bursts(houses: Sequence[SpooledHouse]) -> Iterator[Burst]:
    """The bursts of all houses, in order of their local days."""
    dates = [(day, at) for at, house in enumerate(houses) for day in house.dates]
    for day, at in sorted(dates):
        house = houses[at]
        yield from bursts_of_day(house, house.day(day), burst_s(house.period_s))


def burst_s(period_s: float) -> int:
    """Length of the bursts of a house whose readings are period_s apart."""
    return int(np.clip(READINGS_OF_BURST * period_s, HISTORY_BURST_S, DAY_MS // 1000))
