"""Reads topics from offsets of its own choice, and decodes their messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from notify.metrics import NotifyMetrics
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.offsets import Place
from smartmeter.messages import codec
from smartmeter.messages.framing import framing
from smartmeter.messages.schemas import CodecError
from smartmeter.messages.topics import SCHEMA_OF, topic
from smartmeter.settings import SMW, Settings

AT_A_TIME = 10_000

log = logging.getLogger("notify")


class Reader:
    """A consumer of some topics.

    names: full name of a topic -> its name without the prefix. errors: shared by the readers of a service. ends: the offset after the last
    message of each partition that was read to its end.
    """

    def __init__(
        self,
        settings: Settings,
        group_id: str,
        names: Iterable[str],
        metrics: NotifyMetrics,
        errors: connection.ErrorLog,
        given_up: Callable[[], bool],
    ):
        self._settings, self._metrics, self._errors, self._given_up = settings, metrics, errors, given_up
        self.names = {topic(settings, name): name for name in names}
        self._framing = framing(settings)
        self.consumer = Consumer(
            connection.consumer(settings, group_id)
            | {"auto.offset.reset": "earliest", "enable.partition.eof": True, "error_cb": errors.take}
        )
        self.ends: dict[Place, int] = {}

    def name(self, message: Message) -> str:
        """The name of a message's topic, without the prefix."""
        return self.names[message.topic() or ""]

    def places(self) -> list[TopicPartition]:
        """All partitions of the topics, from their beginning. Raises UserError if one is missing."""
        known = self.consumer.list_topics(timeout=connection.PATIENCE_S).topics
        if missing := sorted(self.names.keys() - known.keys()):
            raise UserError(
                f"Kafka at {self._settings.kafka.address} has no topic {', '.join(missing)}, or does not let this user read it: "
                f"create it with {SMW} topics; docs/security.md lists the required rights"
            )
        return [TopicPartition(name, partition, OFFSET_BEGINNING) for name in self.names for partition in known[name].partitions]

    def messages(self, wait_s: float) -> Iterator[Message]:
        """The next messages, AT_A_TIME at most; the first is waited for. Raises UserError if the user lacks a right."""
        for message in self.consumer.consume(AT_A_TIME, wait_s):
            if not (error := message.error()):
                self._errors.is_away = False
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                self.ends[message.topic() or "", message.partition() or 0] = message.offset() or 0
            else:
                self._errors.take(error)

    def record(self, message: Message) -> Any:
        """The record of a message; None if it is none. The sink stores such a message in the table refused."""
        try:
            return codec.decode_as(SCHEMA_OF[self.name(message)], self._framing.received(message.value() or b"", self._given_up))
        except CodecError as error:
            self.unreadable(message, str(error))
            return None

    def unreadable(self, message: Message, reason: str) -> None:
        """Count and log a message that cannot be read."""
        self._metrics.unreadable.inc()
        log.warning("%s partition %s offset %s cannot be read: %s", message.topic(), message.partition(), message.offset(), reason)

    def commit(self, next_offsets: dict[Place, int]) -> None:
        """Commit offsets. A failure is only logged: the next commit, or a repeat, makes up for it."""
        if not next_offsets:
            return
        try:
            self.consumer.commit(offsets=[TopicPartition(*place, offset) for place, offset in next_offsets.items()], asynchronous=False)
        except KafkaException as error:
            log.warning("Kafka: offsets not committed: %s", error.args[0].str())


def after(messages: Iterable[Message]) -> dict[Place, int]:
    """The offset after the last of these messages, of each partition."""
    return {(message.topic() or "", message.partition() or 0): (message.offset() or 0) + 1 for message in messages}
