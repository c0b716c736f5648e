"""What is in the topics, for tests."""

from __future__ import annotations

from functools import lru_cache

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from smartmeter.kafka import connection
from smartmeter.kafka.offsets import Offsets
from smartmeter.messages import topics
from smartmeter.messages.codec import decode, encode
from smartmeter.messages.framing import framing
from tests.waiting import STILL_S


def messages(settings, name: str) -> list:
    """All messages of a topic, those of a partition in their order."""
    consumer = Consumer(connection.client(settings) | {"group.id": "none", "enable.partition.eof": True, "fetch.wait.max.ms": 10})
    full = topics.topic(settings, name)
    consumer.list_topics(full)  # a client that does not know the partitions yet would wait for half a second
    consumer.assign([TopicPartition(full, p, OFFSET_BEGINNING) for p in range(settings.kafka.partitions)])
    found, ends = [], 0
    while ends < settings.kafka.partitions:
        message = consumer.poll(STILL_S)
        if message.error():
            ends += 1
        else:
            found.append(message)
    consumer.close()
    return found


def records(settings, name: str) -> list[dict]:
    """All records of a topic."""
    return [decode(framing(settings).received(message.value()))[1] for message in messages(settings, name)]


def send(settings, name: str, *found: dict | bytes) -> None:
    """Send records to a topic, and messages of bytes as they are."""
    producer = Producer(connection.client(settings))
    for one in found:
        is_record = isinstance(one, dict)
        value = framing(settings).sent(encode(topics.SCHEMA_OF[name], one)) if is_record else one
        producer.produce(topics.topic(settings, name), value, topics.key(name, one) if is_record else b"")
    assert producer.flush(STILL_S) == 0


@lru_cache(maxsize=4)
def offsets(settings, names: tuple[str, ...], group_id: str) -> Offsets:
    """Those of a group, for a wait that looks again and again: to connect each time takes more than all that is waited for."""
    return Offsets(settings, names, group_id)
