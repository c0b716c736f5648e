"""Sends the readings of past days to Kafka."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from generator.bursts import in_order
from generator.houses import House
from smartmeter import local_days
from smartmeter.errors import UserError
from smartmeter.kafka.producer import Producer
from smartmeter.local_days import midnight_ms
from smartmeter.messages.codec import Burst
from smartmeter.progress import LINE_EVERY_S, ProgressLine
from smartmeter.reports import Progress, report
from smartmeter.settings import Settings

HISTORY_BURST_S = 300


def first_today(houses: Sequence[House]) -> date:
    """The earliest of the houses' present local dates. All days before it are over at every house."""
    now_ms = local_days.now_ms()
    return min(local_days.local_date(now_ms, house.timezone) for house in houses)


@dataclass
class Totals:
    """What has been produced so far, and the time it took."""

    bursts: int = 0
    readings: int = 0
    seconds: float = 0.0


def produce(houses: Sequence[House], first: date, end: date, burst_s: int | None, speed: float, settings: Settings) -> Totals:
    """Send the houses, then their readings of the local days [first, end), at `speed` times real time.

    Shows its progress on standard error. Raises ProducerError, and DatasetError for a fault in the data.
    """
    begun, totals = time.monotonic(), Totals()
    burst_s = burst_s or int(min(max(speed, 1), HISTORY_BURST_S))
    first_end_ms = None
    with Producer(settings) as producer, ProgressLine() as line:
        producer.send_houses(house.record() for house in houses)
        for burst in in_order(houses, first, end, burst_s):
            first_end_ms = first_end_ms or burst.end_ms
            due = begun + (burst.end_ms - first_end_ms) / 1000 / speed
            while (ahead := due - time.monotonic()) > 0:
                producer.wait(min(ahead, LINE_EVERY_S))
            producer.send_burst(burst)
            totals.bursts += 1
            totals.readings += len(burst.watts)
            totals.seconds = time.monotonic() - begun
            if line.is_due():
                line.show(_progress(totals, burst, first_end_ms, end, houses))
    totals.seconds = time.monotonic() - begun
    if not totals.readings:
        raise UserError("the data has no readings in these days: give other days")
    report(progress=replace(_so_far(totals), total=totals.readings, left_s=0.0))
    print(
        f"produced {totals.readings:,} readings of {len(houses)} houses in {totals.bursts:,} bursts, "
        f"{totals.seconds:.1f} s: {totals.readings / totals.seconds:,.0f} readings/s"
    )
    return totals


def _progress(totals: Totals, burst: Burst, first_end_ms: int, end: date, houses: Sequence[House]) -> Progress:
    done_ms = burst.end_ms - first_end_ms
    if end == date.max or not done_ms:
        return _so_far(totals)
    left_ms = max(midnight_ms(end, house.timezone) for house in houses) - burst.end_ms
    return replace(_so_far(totals), left_s=totals.seconds * left_ms / done_ms)


def _so_far(totals: Totals) -> Progress:
    return Progress("readings produced", totals.readings, elapsed_s=totals.seconds, per_s=totals.readings / totals.seconds)
