"""Reads the messages between two offsets of each partition, one partition after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.offsets import Place
from smartmeter.progress import Pace
from smartmeter.settings import Settings

STALLED_S = 60
MESSAGES_AT_A_TIME = 10_000


def messages(settings: Settings, group_id: str, ranges: dict[Place, tuple[int, int]], what: str) -> Iterator[tuple[Place, list[Message]]]:
    """The messages of each place in [from, to), many at a time, in order of partition and offset.

    The bounds need not be offsets of messages. what: what the progress line counts, such as "messages read". Raises UserError if Kafka
    cannot be used.
    """
    consumer = Consumer(
        connection.consumer(settings, group_id) | {"auto.offset.reset": "error", "enable.partition.eof": True, "check.crcs": True}
    )
    with closing(consumer), Pace(what, sum(max(end - begin, 0) for begin, end in ranges.values())) as pace:
        for place, (begin, end) in sorted(ranges.items()):
            if begin < end:
                for found in _partition(settings, consumer, place, begin, end):
                    yield place, found
                    pace.add(len(found))


def _partition(settings: Settings, consumer: Consumer, place: Place, begin: int, end: int) -> Iterator[list[Message]]:
    consumer.assign([TopicPartition(*place, begin)])
    at = begin
    while at < end:
        found = consumer.consume(1, STALLED_S)
        if not found:
            raise UserError(f"Kafka at {settings.kafka.address} has sent nothing for {STALLED_S} s")
        found += consumer.consume(MESSAGES_AT_A_TIME, 0)
        for message in found:
            if (error := message.error()) and error.code() != KafkaError._PARTITION_EOF:
                raise connection.failure(KafkaException(error), settings)
        at = max(_offset(message) + (not message.error()) for message in found)  # the event for the end has the next message's
        if wanted := [message for message in found if not message.error() and _offset(message) < end]:
            yield wanted


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None  # only some errors have none
    return offset
