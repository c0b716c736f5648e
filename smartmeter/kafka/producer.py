"""Sends houses and bursts to Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from queue import SimpleQueue

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as KafkaProducer

from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.messages.codec import Burst, encode, encode_burst
from smartmeter.messages.framing import framing
from smartmeter.messages.records import AlertRecord, HouseRecord
from smartmeter.messages.topics import key, topic
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings

DELIVERY_S = 120
"""Kafka's own default: a small, busy broker may need a minute for a topic's first messages."""
BY_KEY = -1
"""Stands for the partition that the key belongs to."""


class ProducerError(UserError):
    """Kafka did not take a message."""


class Producer:
    """An idempotent producer with compression. It keeps each house's order, and queues at most 64 MB.

    Use it in a with statement: leaving it waits until everything is delivered, and raises ProducerError if anything is not. The
    constructor raises UserError if Kafka cannot be used.
    """

    def __init__(self, settings: Settings, run: Run = LIVE, delivery_s: int = DELIVERY_S):
        """delivery_s: how long Kafka may take for a message."""
        connection.require_broker(settings)
        self._settings, self._run, self._delivery_s = settings, run, delivery_s
        self._framing = framing(settings, run)
        self._fault: KafkaError | None = None
        self._refused: SimpleQueue[KafkaError] = SimpleQueue()  # why each undelivered message failed
        self._kafka = KafkaProducer(
            {
                **connection.client(settings),
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 20,
                "batch.size": 1_000_000,
                "queue.buffering.max.kbytes": 65_536,
                "delivery.timeout.ms": delivery_s * 1000,
                "delivery.report.only.error": True,
                # Both run while a fatal error is pending. Python code, such as a function or a logger, may clear it; put is not Python code.
                "on_delivery": self._refused.put,
                "log.queue": True,  # nobody reads the queue: errors are raised
            }
        )

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._kafka.purge()
            return
        self.flush()

    def send_house(self, record: HouseRecord) -> None:
        """Send a record of schema house."""
        self.send("houses", key("houses", record), self._framing.sent(encode("house", record)), record["updated"])

    def send_houses(self, records: Iterable[HouseRecord]) -> None:
        """Send records of schema house. Returns once Kafka has them: a house's first thresholds need the kinds of its meters."""
        for record in records:
            self.send_house(record)
        self.flush()

    def send_burst(self, burst: Burst) -> None:
        """Send a burst; its Kafka timestamp is the burst's start."""
        self.send("readings", key("readings", {"house_id": burst.house_id}), self._framing.sent(encode_burst(burst)), burst.start_ms)

    def send_alert(self, record: AlertRecord) -> None:
        """Send a record of schema alert."""
        self.send("alerts", key("alerts", record), self._framing.sent(encode("alert", record)), record["start"])

    def wait(self, seconds: float) -> None:
        """Wait while delivery goes on."""
        self._deliver(self._kafka.poll, seconds)

    def send(
        self,
        name: str,
        message_key: bytes | None,
        payload: bytes | None,
        timestamp_ms: int,
        partition: int = BY_KEY,
        headers: dict[str, str | bytes | None] | None = None,
    ) -> None:
        """Send an encoded message to topic `name`."""
        full_name = topic(self._settings, name, self._run)
        while True:
            try:
                self._kafka.produce(full_name, payload, message_key, partition, timestamp=timestamp_ms, headers=headers)
                return self.wait(0)
            except BufferError:
                self.wait(0.1)
            except KafkaException as error:
                self._check()
                raise ProducerError(f"Kafka at {self._settings.kafka.address} refuses messages: {error.args[0].str()}") from None

    def flush(self) -> None:
        """Wait until Kafka has all messages. Raises ProducerError if it does not take one."""
        self._deliver(self._kafka.flush, self._delivery_s + 5)

    def _deliver(self, until: Callable[[float], object], seconds: float) -> None:
        """Deliver until the client's method `until` returns. A fatal error leaves it as an exception, or as the innermost cause of a
        SystemError if a message fails because of it."""
        try:
            until(seconds)
        except (KafkaException, SystemError) as error:
            cause: BaseException = error
            while cause.__cause__:
                cause = cause.__cause__
            self._fault = cause.args[0]
        self._check()

    def _check(self) -> None:
        if not self._fault and self._refused.empty():
            return
        undelivered = self._refused.qsize() + len(self._kafka)
        self._fault = self._fault or self._refused.get()
        if self._fault.code() in connection.RIGHTS_MISSING:
            raise ProducerError(connection.no_right(self._fault, self._settings))
        raise ProducerError(
            f"{undelivered} messages were not delivered to Kafka at {self._settings.kafka.address} "
            f"({self._fault.str()}): check that the broker is up, and produce the same days again"
        )
