"""Sends houses and bursts to Kafka."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaException
from confluent_kafka import Producer as KafkaProducer

from smartmeter import kafka
from smartmeter.codec import Burst, encode, encode_burst
from smartmeter.errors import UserError
from smartmeter.settings import Settings
from smartmeter.topics import key, topic

CONNECT_S = 8
DELIVERY_S = 30
BY_KEY = -1
"""In place of a partition: the one that the key belongs to."""
_silent = logging.getLogger(__name__ + ".librdkafka")  # its faults reach the user as a ProducerError
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class ProducerError(UserError):
    """Kafka cannot be reached, or did not take a message."""


class Producer:
    """An idempotent, compressed producer, in order for each house; at most 64 MB wait to be sent.

    Use it in a with statement: leaving it waits until everything is delivered, and raises ProducerError if not.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._undelivered = 0
        self._reason = ""
        self._kafka = KafkaProducer({
            **kafka.client(settings),
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "queue.buffering.max.kbytes": 65_536,
            "delivery.timeout.ms": DELIVERY_S * 1000,
            "delivery.report.only.error": True,
            "on_delivery": self._failed,
        }, logger=_silent)
        try:
            self._kafka.list_topics(timeout=CONNECT_S)
        except KafkaException as error:
            raise ProducerError(f"no Kafka broker answers at {settings.kafka} ({error.args[0].str()}): start one, or "
                                "set SMW_KAFKA to where it is") from None

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            self._kafka.purge()
            return
        self._kafka.flush(DELIVERY_S + 5)
        self._check()

    def send_house(self, record: dict) -> None:
        """Sends a record of schema house."""
        self.send("houses", key("houses", record), encode("house", record), record["updated"])

    def send_burst(self, burst: Burst) -> None:
        """Sends a burst; its Kafka timestamp is the burst's start."""
        self.send("readings", key("readings", {"house_id": burst.house_id}), encode_burst(burst), burst.start_ms)

    def wait(self, seconds: float) -> None:
        """Lets time pass while delivery goes on."""
        self._kafka.poll(seconds)
        self._check()

    def send(self, name: str, message_key: bytes | None, payload: bytes | None, timestamp_ms: int, partition: int = BY_KEY,
             headers: dict[str, str | bytes | None] | None = None) -> None:
        """Sends a message that is already encoded to topic `name`."""
        while True:
            try:
                self._kafka.produce(topic(self._settings, name), payload, message_key, partition, timestamp=timestamp_ms, headers=headers)
                return self.wait(0)
            except BufferError:
                self.wait(0.1)
            except KafkaException as error:
                raise ProducerError(f"Kafka at {self._settings.kafka} refuses messages: {error.args[0].str()}") from None

    def _failed(self, error, _message) -> None:
        self._undelivered += 1
        self._reason = error.str()

    def _check(self) -> None:
        waiting = self._undelivered + len(self._kafka) if self._undelivered else 0
        if waiting:
            raise ProducerError(f"{waiting} messages were not delivered to Kafka at {self._settings.kafka} "
                                f"({self._reason}): see whether the broker is up, and produce the same days again")
