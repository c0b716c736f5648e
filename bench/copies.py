"""Any number of readings at little cost: the bursts of a few synthetic houses are encoded once and sent for many houses and days.

A message has three parts: the house with its time zone; start and end; and the measurements, in ticks since the start. All copies of a
house share the third part, and only the first two are encoded anew. Copies of one house are shifted by some steps.
"""

from __future__ import annotations

import io
from datetime import date

import fastavro
import numpy as np

from generator.bursts import bursts_of_day
from generator.houses import House, HouseDay
from generator.synthetic import SyntheticHouse
from smartmeter.kafka.producer import Producer
from smartmeter.messages.codec import Burst, encode_burst
from smartmeter.messages.schemas import HEADERS
from smartmeter.messages.topics import key

METERS = 20
READINGS_PER_DAY = 2 * 86_400 + 18 * 28_800
"""Of a house with METERS meters: two mains every second, appliances every 3 s."""

ORIGINALS = 10
TIMEZONE = "America/New_York"
DAY = date(2011, 4, 18)
SHIFT_STEPS = 37


class Copies:
    """Houses 1 to `houses`, each with a burst every burst_s. The bursts repeat after the given hours of the original day.

    Each meter has the generator's readings (mains every second, appliances every 3 s). With every_s, it has its latest value every every_s.
    meters: how many of its METERS meters each house has.
    """

    def __init__(self, houses: int, burst_s: int, every_s: int | None = None, hours: range = range(24), meters: int = METERS):
        self.burst_ms = burst_s * 1000
        self.house_ids = range(1, houses + 1)
        days = [part_of_day(house, every_s, hours) for house in houses_of(METERS, min(houses, ORIGINALS))]
        for house, day in days:
            house.meters, day.readings[meters:] = house.meters[:meters], []
        self._measured = [[measured(burst) for burst in bursts_of_day(house, day, burst_s)] for house, day in days]
        self._heads = {house_id: head(house_id) for house_id in self.house_ids}
        self._keys = {house_id: key("readings", {"house_id": house_id}) for house_id in self.house_ids}

    def message(self, house_id: int, step: int, start_ms: int) -> tuple[bytes, int]:
        """A house's encoded burst that starts at start_ms, and its number of readings."""
        steps = self._measured[house_id % len(self._measured)]
        rest, readings = steps[(step + house_id // ORIGINALS * SHIFT_STEPS) % len(steps)]
        return self._heads[house_id] + span(start_ms, start_ms + self.burst_ms) + rest, readings

    def send(self, producer: Producer, house_id: int, message: bytes, start_ms: int) -> None:
        producer.send("readings", self._keys[house_id], message, start_ms)

    def send_step(self, producer: Producer, step: int, start_ms: int) -> int:
        """Send one burst of each house. Returns the number of readings."""
        sent = 0
        for house_id in self.house_ids:
            message, readings = self.message(house_id, step, start_ms)
            self.send(producer, house_id, message, start_ms)
            sent += readings
        return sent


def houses_of(meters: int, count: int) -> list[House]:
    """The first `count` synthetic houses with that many meters."""
    found, house_id = [], 0
    while len(found) < count:
        house_id += 1
        house = SyntheticHouse(house_id, 1, TIMEZONE, has_faults=False)
        if len(house.meters) == meters:
            found.append(house)
    return found


def part_of_day(house: SyntheticHouse, every_s: int | None, hours: range) -> tuple[House, HouseDay]:
    """A house and some hours of its measurements on DAY."""
    day = house.day(DAY)
    start_ms, end_ms = day.start_ms + hours.start * 3_600_000, day.start_ms + hours.stop * 3_600_000
    readings = []
    for times, watts in day.readings:
        inside = np.arange(start_ms, end_ms, every_s * 1000) if every_s else times[(times >= start_ms) & (times < end_ms)]
        readings.append((inside, watts[np.searchsorted(times, inside, side="right") - 1]))
    return house, HouseDay(DAY, start_ms, end_ms, readings)


def measured(burst: Burst) -> tuple[bytes, int]:
    """The part of a burst's message after house, start and end, and its number of readings."""
    return encode_burst(burst).removeprefix(head(burst.house_id) + span(burst.start_ms, burst.end_ms)), len(burst.watts)


def head(house_id: int) -> bytes:
    return HEADERS["reading_burst"] + avro("long", house_id) + avro("string", TIMEZONE)


def span(start_ms: int, end_ms: int) -> bytes:
    return avro("long", start_ms) + avro("long", end_ms)


def avro(kind: str, value: int | str) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, kind, value)
    return out.getvalue()
