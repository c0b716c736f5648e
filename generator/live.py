"""Synthetic houses in real time: the days up to now at once, then each burst as it ends, without an end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from generator.bursts import in_order
from generator.houses import House
from smartmeter.kafka import connection
from smartmeter.kafka.producer import Producer
from smartmeter.messages.codec import Burst
from smartmeter.messages.topics import topic
from smartmeter.progress import ProgressLine
from smartmeter.reports import Progress
from smartmeter.settings import Settings

BURST_S = 5
TIMEOUT_S = 10
POLL_S = 0.5


def produce_live(houses: Sequence[House], first: date, burst_s: int | None, settings: Settings) -> None:
    """Send the houses and their bursts from where the topic ends, or else from their day `first`, until Ctrl-C.

    The next start may send the last bursts again, which count as duplicates. Raises UserError when Kafka is away.
    """
    with Producer(settings) as producer, ProgressLine() as line:
        begun, readings = time.time(), 0
        producer.send_houses(house.record() for house in houses)
        for burst in bursts_since(houses, first, reached_ms(settings), burst_s or BURST_S):
            while (ahead_s := burst.end_ms / 1000 - time.time()) > 0:
                producer.wait(ahead_s)
            producer.send_burst(burst)
            readings += len(burst.watts)
            if burst.end_ms < begun * 1000 and line.is_due():
                up_to = f"all up to {datetime.fromtimestamp(burst.end_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
                line.show(Progress("readings produced", readings, elapsed_s=line.elapsed_s, per_s=readings / line.elapsed_s, state=up_to))


def bursts_since(houses: Sequence[House], first: date, since_ms: int, burst_s: int) -> Iterator[Burst]:
    """The bursts of all houses that begin at since_ms or later, but not before their local day `first`; without an end."""
    day_before = datetime.fromtimestamp(since_ms / 1000, UTC).date() - timedelta(days=1)  # the house may be a day behind UTC
    bursts = in_order(houses, max(first, day_before), date.max, burst_s)
    return (burst for burst in bursts if burst.start_ms >= since_ms)


def reached_ms(settings: Settings) -> int:
    """The start of the newest burst in the partition of readings that is furthest behind; 0 if all are empty.

    Retries for TIMEOUT_S, as Kafka does not know the offsets of a new topic immediately. Raises UserError when it still does not.
    """
    client, name = connection.admin(settings), topic(settings, "readings")
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            partitions = client.list_topics(name, timeout=TIMEOUT_S).topics[name].partitions
            pending = client.list_offsets(
                {TopicPartition(name, p): OffsetSpec.max_timestamp() for p in partitions}, request_timeout=TIMEOUT_S
            )
            # other producers may send any time, even a future one
            newest = [min(found.result().timestamp, round(time.time() * 1000)) for found in pending.values()]
            return min((time_ms for time_ms in newest if time_ms >= 0), default=0)
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise connection.failure(error, settings) from None
            time.sleep(POLL_S)
