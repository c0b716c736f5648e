"""Where the keyed operator gets the rules of users from: the topic rules.

Each worker reads the whole topic when it starts, before its first reading, and then what is new about once a second. Flink's connector would
read rules and readings side by side, in no order: a replay could judge readings before their rules have come. A rule is rare and small,
so each worker can hold all of them. What a house's spells were judged by is in its state too (jobs.core.watch).
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from jobs.core.user_rules import NO_USER_RULES, UserRules
from jobs.flink.carried import Carried
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.consumers import group_of
from smartmeter.messages.codec import decode_as
from smartmeter.messages.framing import framing
from smartmeter.messages.records import RuleRecord
from smartmeter.messages.rules import fault_of
from smartmeter.messages.schemas import CodecError
from smartmeter.messages.topics import topic
from smartmeter.run import Run
from smartmeter.settings import SMW, Settings

NEW_EVERY_S = 1.0
WAIT_S = 0.5
AT_A_TIME = 10_000
PATIENCE_S = 120.0
"""How long a start waits for all rules. Then Flink starts the job again."""

log = logging.getLogger("rules")


class RuleSource(Protocol):
    """Where the rules of users come from."""

    def open(self) -> None:
        """Called before the first row: get all rules that there are."""

    def close(self) -> None:
        """Called after the last row."""

    def of(self, house_id: int) -> UserRules:
        """The rules of a house."""


class NoRules:
    """The source of a job that makes no alerts."""

    def open(self) -> None:
        """See RuleSource."""

    def close(self) -> None:
        """See RuleSource."""

    def of(self, house_id: int) -> UserRules:
        """See RuleSource."""
        return NO_USER_RULES


class RulesTopic:
    """The rules in the topic. It is made where the job is submitted, and opened in each worker."""

    def __init__(self, settings: Settings, job: str, run: Run):
        """Raises UserError if the topic does not exist."""
        self._name, self._framing = topic(settings, "rules"), framing(settings, run)
        self._carried, self._group_id = Carried(settings), group_of(settings, job)
        if self._name not in connection.admin(settings).list_topics(timeout=connection.PATIENCE_S).topics:
            raise UserError(
                f"Kafka at {settings.kafka.address} has no topic {self._name}, or does not let this user read it: "
                f"create it with {SMW} topics; docs/security.md lists the required rights"
            )

    def open(self) -> None:
        """See RuleSource."""
        self._records: dict[int, dict[tuple[int, int], RuleRecord]] = defaultdict(dict)  # house -> (meter, valid from) -> rule
        self._rules: dict[int, UserRules] = {}
        properties = connection.consumer(self._carried.unpacked(), self._group_id)
        self._consumer = Consumer(properties | {"enable.partition.eof": True})
        partitions = self._consumer.list_topics(self._name, PATIENCE_S).topics[self._name].partitions
        places = [TopicPartition(self._name, partition, OFFSET_BEGINNING) for partition in partitions]
        self._consumer.assign(places)
        left, deadline = set(partitions), time.monotonic() + PATIENCE_S
        while left:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Kafka does not deliver the topic {self._name} in {PATIENCE_S:.0f} s")
            left -= self._take(self._consumer.consume(AT_A_TIME, WAIT_S))
        self._next_s = time.monotonic() + NEW_EVERY_S

    def close(self) -> None:
        """See RuleSource."""
        self._consumer.close()

    def of(self, house_id: int) -> UserRules:
        """See RuleSource."""
        if time.monotonic() > self._next_s:
            self._take(self._consumer.consume(AT_A_TIME, 0))
            self._next_s = time.monotonic() + NEW_EVERY_S
        return self._rules.get(house_id, NO_USER_RULES)

    def _take(self, messages: list[Message]) -> set[int | None]:
        """Take in messages. Returns the partitions of which they are the end."""
        ended, changed = set(), set()
        for message in messages:
            if error := message.error():
                if error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                continue  # its client recovers by itself
            if rule := self._rule(message):
                self._records[rule["house_id"]][rule["meter_id"], rule["valid_from"]] = rule
                changed.add(rule["house_id"])
        for house_id in changed:
            self._rules[house_id] = UserRules.of(self._records[house_id].values())
        return ended

    def _rule(self, message: Message) -> RuleRecord | None:
        """The rule of a message; None if it cannot be used. The sink stores such a message in the table refused."""
        try:
            rule: RuleRecord = decode_as("rule", self._framing.received(message.value() or b""))
            fault = fault_of(rule)
        except CodecError as error:
            fault = str(error)
        if fault:
            log.warning("%s partition %s offset %s is not used: %s", self._name, message.partition(), message.offset(), fault)
            return None
        return rule
