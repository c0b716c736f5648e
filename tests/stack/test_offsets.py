"""How far a group is, in a topic that is written in transactions: to 0 over markers and aborted messages, with a transaction that is open."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from smartmeter.kafka import connection
from smartmeter.kafka.offsets import Lags, Offsets
from smartmeter.messages.topics import topic
from tests.waiting import STILL_S, until


@pytest.fixture
def producer(with_topics):
    producer = Producer(connection.client(with_topics) | {"transactional.id": with_topics.kafka.topic_prefix})
    producer.init_transactions()
    return producer


@pytest.fixture
def lag_of(with_topics):
    """The lag of a group that has committed an offset, by both ways of querying it; and the end."""
    name = topic(with_topics, "readings")
    lags = Lags(with_topics, {"a group": (name,)})
    assert until(lambda: lags.by_group(10)) == {"a group": None}  # the broker's first group is only being set up

    def lag_of(committed: int) -> tuple[int, int]:
        consumer = Consumer(connection.consumer(with_topics, "a group"))
        consumer.commit(offsets=[TopicPartition(name, 0, committed)], asynchronous=False)
        consumer.close()
        with Offsets(with_topics, ("readings",), "a group") as offsets:
            lag, end = offsets.lag(), offsets.bounds()[name, 0][1]
        assert lags.by_group(10) == {"a group": lag} == lags.by_group(10)
        return lag, end

    return lag_of


def test_lag_comes_to_0_over_what_is_never_delivered(with_topics, producer, lag_of):
    def transaction(count: int, end=lambda: None) -> None:
        producer.begin_transaction()
        for _ in range(count):
            producer.produce(topic(with_topics, "readings"), b"a message", partition=0)
        assert producer.flush(STILL_S) == 0
        end()

    transaction(3, producer.commit_transaction)
    assert lag_of(0) == (4, 4)  # the marker counts as long as a message is unread
    assert lag_of(3) == (0, 4)
    transaction(2, producer.abort_transaction)
    assert lag_of(3) == lag_of(4) == lag_of(5) == (0, 7)
    transaction(1)
    assert lag_of(3) == (0, 7)  # nobody may read it yet
    producer.commit_transaction()
    assert lag_of(3) == (2, 9)
    assert lag_of(8) == lag_of(9) == (0, 9)
