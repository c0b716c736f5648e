"""How far a job is in its topic, by a real broker: what decides whether a house is silent or waits in Kafka."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, Producer, TopicPartition

from jobs.flink import absence
from jobs.flink.absence import TopicBacklog
from smartmeter.kafka import connection
from smartmeter.kafka.consumers import group_of
from smartmeter.messages.topics import topic
from tests.waiting import STILL_S, until


def test_a_time_is_known_once_all_that_was_there_by_then_is_committed(with_topics, monkeypatch):
    monkeypatch.setattr(absence, "ASK_EVERY_MS", 0)
    name, producer = topic(with_topics, "readings"), Producer(connection.client(with_topics))
    consumer = Consumer(connection.consumer(with_topics, group_of(with_topics, "pipeline")))

    def send():
        producer.produce(name, b"a message", partition=0)
        assert producer.flush(STILL_S) == 0

    def commit(offset):
        consumer.commit(offsets=[TopicPartition(name, 0, offset)], asynchronous=False)

    send()
    backlog, begun_ms = TopicBacklog(with_topics, "pipeline"), int(time.time() * 1000)
    assert backlog.read_until_ms() == backlog.read_until_ms() == 0
    marked_ms = time.time() * 1000
    send()
    until(lambda: not commit(1))
    assert begun_ms <= backlog.read_until_ms() <= marked_ms, "the second message came later"
    before_ms = backlog.read_until_ms()
    assert backlog.read_until_ms() == before_ms <= marked_ms
    commit(2)
    assert backlog.read_until_ms() > marked_ms
    consumer.close()


def test_without_kafka_no_time_is_known(kafka):
    assert TopicBacklog(kafka.but(kafka="127.0.0.1:1"), "pipeline").read_until_ms() == 0
