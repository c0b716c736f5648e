"""Sends the houses of a spool to Kafka: day by day, and within a day house by house, so memory holds one day of one house."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from itertools import filterfalse, zip_longest

import numpy as np

from generator.bursts import bursts_of_day
from generator.channels import note
from generator.history import HISTORY_BURST_S
from importer.spool import SpooledHouse
from smartmeter.kafka.producer import Producer
from smartmeter.local_days import day_bounds_ms
from smartmeter.messages.codec import Burst
from smartmeter.progress import Pace
from smartmeter.settings import DAY_MS, Settings

READINGS_OF_BURST = 60
"""Readings of a meter in a burst, at least. A longer burst would also cover gaps that another file may fill."""


def send_houses(houses: Sequence[SpooledHouse], settings: Settings) -> None:
    """Send the descriptions of the houses. Raises ProducerError."""
    with Producer(settings) as producer:
        producer.send_houses(house.record() for house in houses)


def send(found: Iterable[Burst], readings: int, settings: Settings) -> int:
    """Send bursts with so many readings, as far as is known. Returns the number of readings sent. Raises ProducerError."""
    sent = 0
    with Producer(settings) as producer, Pace("readings sent", readings) as pace:
        for burst in found:
            producer.send_burst(burst)
            of_burst = int(burst.counts.sum())
            sent += of_burst
            pace.add(of_burst)
    return sent


def note_repeated(houses: Sequence[SpooledHouse]) -> None:
    """Note the readings that were left out, once all bursts were made."""
    repeated = sum(house.repeated for house in houses)
    if repeated:
        contradicting = sum(house.contradicting for house in houses)
        note(f"{repeated:,} readings at a time that their meter has a reading of already, {contradicting:,} with another value: left out")


def divided(houses: Sequence[SpooledHouse], max_jump_s: float, newest_ms: dict[int, int]) -> tuple[Iterator[Burst], Iterator[Burst]]:
    """(the bursts that begin before what their houses have sent ends, all others), each in order of their local days.

    newest_ms: house -> the latest end of what it has sent. max_jump_s: see bursts.
    """
    days = [(day, at) for at, house in enumerate(houses) for day in house.dates]
    sent_until = [newest_ms.get(house.house_id, -math.inf) for house in houses]

    def is_older(burst: Burst) -> bool:
        return burst.start_ms < newest_ms.get(burst.house_id, -math.inf)

    older = [(day, at) for day, at in days if day_bounds_ms(day, houses[at].timezone)[0] < sent_until[at]]
    newer = [(day, at) for day, at in days if day_bounds_ms(day, houses[at].timezone)[1] > sent_until[at]]
    return filter(is_older, bursts(houses, older, max_jump_s)), filterfalse(is_older, bursts(houses, newer, max_jump_s))


def bursts(houses: Sequence[SpooledHouse], days: Iterable[tuple[date, int]], max_jump_s: float) -> Iterator[Burst]:
    """The bursts of some days (local day, index of its house), in order of these days.

    max_jump_s: a burst further ahead needs a second one (jobs.core.jumps).
    """
    max_jump_ms = max_jump_s * 1000 or math.inf
    reach_ms: dict[int, float] = {}
    for day, at in sorted(days):
        house = houses[at]
        own = list(bursts_of_day(house, house.day(day), burst_s(house.period_s)))
        for burst, following in zip_longest(own, own[1:]):
            jumps = burst.start_ms > reach_ms.get(at, -math.inf) + max_jump_ms
            reach_ms[at] = burst.end_ms
            if jumps and (following is None or following.start_ms > burst.end_ms + max_jump_ms):
                yield from sorted([burst, _witness(burst, day)], key=lambda each: each.start_ms)
            else:
                yield burst


def _witness(burst: Burst, day: date) -> Burst:
    """A burst without readings: one tick of the local day beside a burst that stands alone."""
    _, midnight_ms = day_bounds_ms(day, burst.timezone)
    start_ms = burst.end_ms if burst.end_ms < midnight_ms else burst.start_ms - burst.tick_ms
    return replace(
        burst,
        start_ms=start_ms,
        end_ms=start_ms + burst.tick_ms,
        counts=np.zeros_like(burst.counts),
        deltas=burst.deltas[:0],
        watts=burst.watts[:0],
        energies=burst.energies[:0],
    )


def burst_s(period_s: float) -> int:
    """Length of the bursts of a house whose readings are period_s apart."""
    return int(np.clip(READINGS_OF_BURST * period_s, HISTORY_BURST_S, DAY_MS // 1000))
