"""Consumer groups' offsets and lags.

The end of a partition is its last stable offset: messages after it belong to an open transaction, and nobody may read them yet. Some
offsets before it are never delivered: transaction markers, and messages of aborted transactions. A group that has consumed all messages
has no lag, even if its committed offset is before such a gap (FLINK-33484).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.messages.topics import topic
from smartmeter.run import LIVE, Run
from smartmeter.settings import SMW, Settings

TIMEOUT_S = 10
METRIC_TIMEOUT_S = 3.0
POLL_S = 0.3
MESSAGES_AT_A_TIME = 1000

P = ParamSpec("P")
T = TypeVar("T")
Place = tuple[str, int]
"""(full name of a topic, partition)."""


class Offsets:
    """Offsets in some topics, as the broker reports them. Raises UserError if it does not."""

    def __init__(self, settings: Settings, names: tuple[str, ...], group_id: str, run: Run = LIVE):
        self._settings = settings
        self._group = Group(settings, group_id)
        self._admin = connection.admin(settings)
        topics = self._call(self._admin.list_topics, timeout=TIMEOUT_S).topics
        wanted = [topic(settings, name, run) for name in names]
        if missing := [full for full in wanted if full not in topics]:
            raise UserError(
                f"Kafka at {settings.kafka.address} shows no topic {missing[0]}: create it with {SMW} topics, or let the user read it"
            )
        self._places = [(full, partition) for full in wanted for partition in topics[full].partitions]

    def __enter__(self) -> Offsets:
        return self

    def __exit__(self, *_: object) -> None:
        self._group.close()

    def bounds(self) -> dict[Place, tuple[int, int]]:
        """(first offset, offset after the last readable message) of each partition."""
        return self._call(bounds, self._admin, self._places, TIMEOUT_S)

    def committed(self) -> dict[Place, int]:
        """The group's committed offset of each partition; 0 if it has none."""
        return {place: max(offset, 0) for place, offset in self._call(self._group.committed, self._places, TIMEOUT_S).items()}

    def lag(self, bounds: dict[Place, tuple[int, int]] | None = None) -> int:
        """Messages that the group has not committed; of those within earlier bounds, if given."""
        return self._call(self._group.lag, self.committed(), bounds or self.bounds(), TIMEOUT_S)

    def _call(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """The function's result. Repeats the call while the group has no coordinator or a partition no leader."""
        deadline, is_repeated = time.monotonic() + TIMEOUT_S, False
        while True:
            try:
                if is_repeated:
                    self._admin.list_topics(timeout=TIMEOUT_S)  # else librdkafka may never ask who leads now
                return function(*arguments, **options)
            except KafkaException as error:
                if error.args[0].code() not in connection.BROKER_STARTING or time.monotonic() > deadline:
                    raise connection.failure(error, self._settings) from None
                is_repeated = True
                time.sleep(POLL_S)


class Lags:
    """The lags of some groups in their topics (full names), for repeated queries.

    A consumer for each group, which does not join it, fetches its offsets: librdkafka's admin client would end the process while a
    broker does not coordinate the group yet, or no longer does (librdkafka's issue 5040).
    """

    def __init__(self, settings: Settings, topics_of: dict[str, tuple[str, ...]]):
        self._settings, self._topics_of = settings, topics_of
        self._admin = connection.admin(settings)
        self._groups = {group_id: Group(settings, group_id) for group_id in topics_of}

    def by_group(self, timeout_s: float) -> dict[str, int | None]:
        """Messages that each group has not committed; None for a group that has committed nothing.

        Raises UserError if Kafka cannot be used.
        """
        try:
            return self._by_group(timeout_s)
        except KafkaException as error:
            raise connection.failure(error, self._settings, timeout_s) from None

    def _by_group(self, timeout_s: float) -> dict[str, int | None]:
        known = self._admin.list_topics(timeout=timeout_s).topics
        places_of = {
            group_id: [(name, partition) for name in names if name in known for partition in known[name].partitions]
            for group_id, names in self._topics_of.items()
        }
        found = bounds(self._admin, {place for of_group in places_of.values() for place in of_group}, timeout_s)
        lags: dict[str, int | None] = {}
        for group_id, places in places_of.items():
            committed = self._groups[group_id].committed(places, timeout_s)
            is_known = any(offset >= 0 for offset in committed.values())
            lags[group_id] = self._groups[group_id].lag(committed, found, timeout_s) if is_known else None
        return lags


def uncommitted(lags: Lags) -> float:
    """Messages that the groups of lags have not committed, for a metric; NaN if Kafka does not answer soon."""
    try:
        return sum(messages or 0 for messages in lags.by_group(METRIC_TIMEOUT_S).values())
    except UserError:
        return math.nan


class Group:
    """Queries a consumer group's offsets through a consumer that does not join it. Several threads may use it at a time."""

    def __init__(self, settings: Settings, group_id: str):
        self._consumer = Consumer(
            connection.consumer(settings, group_id)
            | {"enable.partition.eof": True, "auto.offset.reset": "earliest", "queued.min.messages": 1, "fetch.wait.max.ms": 10}
            | {"fetch.queue.backoff.ms": 1}  # by default, a partition waits for a second after one of which more has come than is wanted
        )
        self._looking = threading.Lock()
        self._gaps: dict[Place, tuple[int, int]] = {}  # the newest known gap: (its first offset, the offset after it)

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def committed(self, places: Iterable[Place], timeout_s: float) -> dict[Place, int]:
        """The group's committed offset of each place; below 0 if it has none. Raises KafkaException."""
        queried = [TopicPartition(*place) for place in places]
        found = self._consumer.committed(queried, timeout=timeout_s) if queried else []
        return {(at.topic, at.partition): at.offset for at in found}

    def lag(self, committed: dict[Place, int], bounds: dict[Place, tuple[int, int]], timeout_s: float) -> int:
        """Messages after the committed offsets. Transaction markers between messages count as messages; those at the end do not."""
        unread = {place: (max(offset, bounds[place][0]), bounds[place][1]) for place, offset in committed.items()}
        unread = {place: (at, end) for place, (at, end) in unread.items() if at < end}
        with self._looking:
            firsts = self._first_messages(unread, timeout_s)
        return sum(max(end - firsts[place], 0) for place, (_, end) in unread.items())

    def _first_messages(self, unread: dict[Place, tuple[int, int]], timeout_s: float) -> dict[Place, int]:
        """The offset of the first message of each place in (from, to); `to` if there is none, `from` if it is not found in time."""
        firsts = {place: self._behind_gap(place, at) for place, (at, _) in unread.items()}
        waiting = {place for place, (_, end) in unread.items() if firsts[place] < end}
        if not waiting:
            return firsts
        for name in {name for name, _ in waiting}:
            self._consumer.list_topics(name, timeout=timeout_s)
        self._consumer.assign([TopicPartition(*place, firsts[place]) for place in waiting])
        deadline = time.monotonic() + timeout_s
        while waiting and (left := deadline - time.monotonic()) > 0:
            for message in self._consumer.consume(1, left) + self._consumer.consume(MESSAGES_AT_A_TIME, 0):
                error, place, offset = message.error(), (message.topic(), message.partition() or 0), message.offset() or 0
                if error and error.code() != KafkaError._PARTITION_EOF:
                    waiting.clear()  # for example, the user may not read the topic
                elif place in waiting:
                    waiting.remove(place)
                    self._gaps[place] = unread[place][0], offset
                    firsts[place] = offset
        self._consumer.unassign()
        return firsts

    def _behind_gap(self, place: Place, offset: int) -> int:
        """The offset itself, or the first one after the gap that it is in."""
        first, behind = self._gaps.get(place, (0, 0))
        return behind if first <= offset < behind else offset


def bounds(admin: AdminClient, places: Iterable[Place], timeout_s: float) -> dict[Place, tuple[int, int]]:
    """(first offset, offset after the last readable message) of each place. Raises KafkaException."""
    begins, ends = (_listed(admin, places, spec, timeout_s) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
    return {place: (begin, ends[place]) for place, begin in begins.items()}


def _listed(admin: AdminClient, places: Iterable[Place], spec: OffsetSpec, timeout_s: float) -> dict[Place, int]:
    queried = {TopicPartition(*place): spec for place in places}
    answers = admin.list_offsets(queried, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout_s) if queried else {}
    return {(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}


def specific_offsets(offset_of: dict[int, int]) -> str:
    """Partition -> offset, in the form that options of Flink's connector take."""
    return ";".join(f"partition:{partition},offset:{offset}" for partition, offset in sorted(offset_of.items()))
