"""What the keyed operator gets of each house besides its messages, such as the rules of its users: from a compacted topic.

Each worker reads the whole topic when it starts, before its first reading, and then what is new about once a second. Flink's connector would
read it and the readings side by side, in no order: a replay could judge readings before what belongs to them has come.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from jobs.flink.carried import Carried
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.consumers import group_of
from smartmeter.messages.framing import framing
from smartmeter.messages.schemas import CodecError
from smartmeter.messages.topics import topic
from smartmeter.run import Run
from smartmeter.settings import SMW, Settings

NEW_EVERY_S = 1.0
WAIT_S = 1.0
AT_A_TIME = 10_000
PATIENCE_S = 120.0
"""How long a start waits for the next messages. Then Flink starts the job again."""

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)
Record = TypeVar("Record")
log = logging.getLogger("sources")


class Source(Protocol[Value_co]):
    """Where a worker gets a value of each house."""

    def open(self) -> None:
        """Called before the first row: get all that there is."""

    def close(self) -> None:
        """Called after the last row."""

    def of(self, house_id: int) -> Value_co:
        """The present value of a house."""


class ForAll(Generic[Value]):
    """One value for all houses."""

    def __init__(self, value: Value):
        self.value = value

    def open(self) -> None:
        """See Source."""

    def close(self) -> None:
        """See Source."""

    def of(self, house_id: int) -> Value:
        """See Source."""
        return self.value


class CompactedTopic(ABC, Generic[Record, Value]):
    """The source whose values follow from the records of a topic. It is made where the job is submitted, and opened in each worker."""

    name: str
    """Of the topic, without the prefix."""

    def __init__(self, settings: Settings, job: str, run: Run):
        """Raises UserError if the topic does not exist."""
        self._topic, self._framing = topic(settings, self.name), framing(settings, run)
        self._carried, self._group_id = Carried(settings), group_of(settings, job)
        if self._topic not in connection.admin(settings).list_topics(timeout=connection.PATIENCE_S).topics:
            raise UserError(
                f"Kafka at {settings.kafka.address} has no topic {self._topic}, or does not let this user read it: "
                f"create it with {SMW} topics; docs/security.md lists the required rights"
            )

    @abstractmethod
    def decoded(self, payload: bytes) -> Record:
        """The record of a message. Raises CodecError if it cannot be used."""

    @abstractmethod
    def take(self, records: list[Record]) -> None:
        """Take in new records, in the order of the topic for each house."""

    @abstractmethod
    def known(self, house_id: int) -> Value:
        """The value of a house, by the records so far."""

    def open(self) -> None:
        """See Source."""
        properties = connection.consumer(self._carried.unpacked(), self._group_id)
        self._consumer = Consumer(properties | {"enable.partition.eof": True})
        partitions = self._consumer.list_topics(self._topic, PATIENCE_S).topics[self._topic].partitions
        self._consumer.assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING) for partition in partitions])
        left, deadline = set(partitions), time.monotonic() + PATIENCE_S
        while left:
            first = self._consumer.consume(1, WAIT_S)  # for more than one, it would wait until as many are there
            messages = first + self._consumer.consume(AT_A_TIME, 0)
            left -= self._take(messages)
            if any(not message.error() for message in messages):
                deadline = time.monotonic() + PATIENCE_S
            elif time.monotonic() > deadline:
                raise TimeoutError(f"Kafka does not deliver the topic {self._topic} in {PATIENCE_S:.0f} s")
        self._next_s = time.monotonic() + NEW_EVERY_S

    def close(self) -> None:
        """See Source."""
        self._consumer.close()

    def of(self, house_id: int) -> Value:
        """See Source."""
        if time.monotonic() > self._next_s:
            self.refresh()
        return self.known(house_id)

    def refresh(self) -> None:
        """Take in what is new."""
        while messages := self._consumer.consume(AT_A_TIME, 0):
            self._take(messages)
        self._next_s = time.monotonic() + NEW_EVERY_S

    def _take(self, messages: list[Message]) -> set[int | None]:
        """Take in messages. Returns the partitions of which they are the end."""
        ended, records = set(), []
        for message in messages:
            if error := message.error():
                if error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                continue  # its client recovers by itself
            try:
                records.append(self.decoded(self._framing.received(message.value() or b"")))
            except CodecError as fault:  # the sink stores the message in the table refused
                log.warning("%s partition %s offset %s is not used: %s", self._topic, message.partition(), message.offset(), fault)
        self.take(records)
        return ended
