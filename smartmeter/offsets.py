"""How far a consumer group is in the topics."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from smartmeter import kafka
from smartmeter.errors import UserError
from smartmeter.settings import SMW, Settings
from smartmeter.topics import topic

TIMEOUT_S = 10
POLL_S = 0.3

Place = tuple[str, int]
"""(full name of a topic, partition)."""


class Offsets:
    """Offsets in some topics, as the broker tells them. Raises UserError where it does not."""

    def __init__(self, settings: Settings, names: tuple[str, ...], group_id: str):
        self._consumer = Consumer(kafka.client(settings) | {"group.id": group_id})
        self._settings = settings
        topics = self._ask(kafka.admin(settings).list_topics, timeout=TIMEOUT_S).topics
        wanted = [topic(settings, name) for name in names]
        if missing := [full for full in wanted if full not in topics]:
            raise UserError(f"Kafka at {settings.kafka} shows no topic {missing[0]}: make it by {SMW} topics, or let the user read it")
        self._places = [(full, partition) for full in wanted for partition in topics[full].partitions]

    def __enter__(self) -> Offsets:
        return self

    def __exit__(self, *_) -> None:
        self._consumer.close()

    def bounds(self) -> dict[Place, tuple[int, int]]:
        """The first offset that is kept, and the one behind the last, of each partition."""
        return {place: self._ask(self._consumer.get_watermark_offsets, TopicPartition(*place), TIMEOUT_S)
                for place in self._places}

    def at(self, time_ms: int) -> dict[Place, int]:
        """The first offset whose message is of that time or later; the one behind the last where there is none."""
        found = self._ask(self._consumer.offsets_for_times, [TopicPartition(*p, time_ms) for p in self._places], TIMEOUT_S)
        ends = self.bounds()
        return {(p.topic, p.partition): p.offset if p.offset >= 0 else ends[p.topic, p.partition][1] for p in found}

    def committed(self) -> dict[Place, int]:
        """What the group has committed; 0 where nothing."""
        found = self._ask(self._consumer.committed, [TopicPartition(*place) for place in self._places], TIMEOUT_S)
        return {(p.topic, p.partition): max(p.offset, 0) for p in found}

    def lag(self) -> int:
        """Messages that the group has not committed."""
        committed = self.committed()
        return sum(max(end - max(committed[place], begin), 0) for place, (begin, end) in self.bounds().items())

    def _ask(self, question, *arguments, **options):
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return question(*arguments, **options)
            except KafkaException as error:
                if error.args[0].code() not in kafka.BROKER_STARTING or time.monotonic() > deadline:
                    raise kafka.failure(error, self._settings) from None
                time.sleep(POLL_S)


class Lags:
    """How far some groups are in their topics (full names), to be asked again and again.

    Each group is asked by a consumer of its own, which does not join it: librdkafka's admin client would end the process where a
    broker does not yet, or no longer, coordinate the group (librdkafka's issue 5040).
    """

    def __init__(self, settings: Settings, topics_of: dict[str, tuple[str, ...]]):
        self._settings, self._topics_of = settings, topics_of
        self._admin = kafka.admin(settings)
        self._consumers = {group_id: Consumer(kafka.client(settings) | {"group.id": group_id}) for group_id in topics_of}

    def by_group(self, timeout_s: float) -> dict[str, int | None]:
        """Messages that each group has not committed; None for a group that has committed nothing.

        Raises UserError where Kafka cannot be used.
        """
        try:
            return self._by_group(timeout_s)
        except KafkaException as error:
            raise kafka.failure(error, self._settings, timeout_s) from None

    def _by_group(self, timeout_s: float) -> dict[str, int | None]:
        known = self._admin.list_topics(timeout=timeout_s).topics
        places_of = {group_id: [(name, partition) for name in names if name in known for partition in known[name].partitions]
                     for group_id, names in self._topics_of.items()}
        places = {place for of_group in places_of.values() for place in of_group}
        asked = [self._admin.list_offsets({TopicPartition(*place): spec for place in places}, request_timeout=timeout_s) if places else {}
                 for spec in (OffsetSpec.earliest(), OffsetSpec.latest())]
        begins, ends = ({(at.topic, at.partition): found.result().offset for at, found in answer.items()} for answer in asked)
        lags = {}
        for group_id, of_group in places_of.items():
            asked_for = [TopicPartition(*place) for place in of_group]
            found = self._consumers[group_id].committed(asked_for, timeout=timeout_s) if asked_for else []
            offset_at = {(at.topic, at.partition): at.offset for at in found}  # below 0 where nothing is committed
            lag = sum(max(ends[place] - max(offset, begins[place]), 0) for place, offset in offset_at.items())
            lags[group_id] = lag if any(offset >= 0 for offset in offset_at.values()) else None
        return lags
