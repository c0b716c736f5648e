"""The index of the topic readings by event time, on a real broker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from smartmeter.kafka import connection, event_times, topic_log
from smartmeter.kafka.offsets import Offsets
from smartmeter.messages.codec import Burst, encode_burst
from smartmeter.messages.topics import topic

FIRST_MS, MINUTE_MS, COUNT = 1_303_099_200_000, 60_000, 5000
EMPTY = Burst(7, "UTC", 0, 0, 1000, np.array([1], np.int32), np.array([0], np.int32), np.empty(0, np.int32), np.empty(0, np.float32))


@pytest.fixture
def looked_at(monkeypatch):
    """How many messages have been looked at, a call each."""
    monkeypatch.setattr(topic_log, "MESSAGES_AT_A_TIME", 100)
    looked_at, times = [], event_times.times
    monkeypatch.setattr(event_times, "times", lambda settings, messages: looked_at.append(len(messages)) or times(settings, messages))
    return looked_at


def send(settings, minutes) -> None:
    """Send a burst of each minute, with seconds for Kafka's time, in transactions; every second one is aborted."""
    producer = Producer(connection.client(settings) | {"transactional.id": settings.kafka.topic_prefix})
    producer.init_transactions()
    for end in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        for minute in minutes:
            start_ms = FIRST_MS + minute * MINUTE_MS
            burst = encode_burst(replace(EMPTY, start_ms=start_ms, end_ms=start_ms + MINUTE_MS))
            producer.produce(topic(settings, "readings"), burst, b"7", partition=0, timestamp=start_ms // 1000)
        assert producer.flush(30) == 0
        end()


def start(settings, folder, minute: int) -> int:
    """Where a replay from a minute on begins in partition 0."""
    with Offsets(settings, ("readings",), "a group") as offsets:
        found = event_times.starts(settings, folder, offsets.bounds(), FIRST_MS + minute * MINUTE_MS)
    assert [offset for (_, partition), offset in found.items() if partition] == [0, 0, 0]
    return found[topic(settings, "readings"), 0]


def newest_ms(settings, folder) -> dict[int, int]:
    with Offsets(settings, ("readings",), "a group") as offsets:
        return event_times.newest_ms(settings, folder, offsets.bounds())


def test_a_time_is_found_by_the_bursts_own_time_and_each_message_is_looked_at_once(with_topics, tmp_path, looked_at):
    send(with_topics, range(COUNT))
    aborted = COUNT + 1  # and a marker
    for minute in (0, 1, 2500, COUNT):
        at = start(with_topics, tmp_path, minute)
        assert max(0, aborted + minute - 1 - event_times.BLOCK_MESSAGES - 100) <= max(at, aborted) <= aborted + max(minute - 1, 0)
    assert start(with_topics, tmp_path, COUNT + 1) == 2 * COUNT + 2 and sum(looked_at) == COUNT
    send(with_topics, range(100))  # the first minutes again
    assert start(with_topics, tmp_path, COUNT + 1) == 2 * COUNT + 204
    assert start(with_topics, tmp_path, 50) <= aborted + 49 and sum(looked_at) == COUNT + 100
    assert newest_ms(with_topics, tmp_path) == {7: FIRST_MS + COUNT * MINUTE_MS} and sum(looked_at) == COUNT + 100

    client = connection.admin(with_topics)  # its futures end with it
    name = topic(with_topics, "readings")
    client.delete_topics([name])[name].result()
    again = with_topics.but(topic_prefix=f"{with_topics.kafka.topic_prefix}again.")
    client.create_topics([NewTopic(topic(again, "readings"), 4, 1)])[topic(again, "readings")].result()
    send(again, range(10))
    assert start(again, tmp_path, 10) <= 11 + 9 and sum(looked_at) == COUNT + 110 and len(list(tmp_path.rglob("*.npy"))) == 4
