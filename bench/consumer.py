"""An upper limit for Python consumers: confluent-kafka reads the topic, one process a core, and discards it undecoded.

python -P bench/consumer.py --kafka HOST:PORT --topic TOPIC --out FOLDER
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor

from confluent_kafka import Consumer, KafkaException, TopicPartition

from bench.peers import CORES, arguments, carry_out, report

MESSAGES_PER_CALL = 10_000


def main() -> None:
    args = arguments(__doc__)
    with ProcessPoolExecutor(CORES) as pool:
        spans = list(pool.map(consume, [args.kafka] * CORES, [args.topic] * CORES, range(CORES)))
    report(max(end for _, end in spans) - min(begin for begin, _ in spans))


def consume(kafka: str, topic: str, number: int) -> tuple[float, float]:
    """Read every CORES-th partition from its beginning to its current end. Returns (begin, end) on the monotonic clock."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "consumer", "enable.auto.commit": False})
    partitions = sorted(consumer.list_topics(topic, 10).topics[topic].partitions)[number::CORES]
    begin = time.monotonic()
    bounds = [consumer.get_watermark_offsets(TopicPartition(topic, partition), 10) for partition in partitions]
    consumer.assign([TopicPartition(topic, partition, first) for partition, (first, _) in zip(partitions, bounds)])
    left = sum(end - first for first, end in bounds)
    while left > 0:
        messages = consumer.consume(min(MESSAGES_PER_CALL, left), 1)
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        left -= len(messages)
    end = time.monotonic()
    consumer.close()
    return begin, end


if __name__ == "__main__":
    carry_out(main)
