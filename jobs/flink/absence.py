"""Which houses have sent nothing for longer than usual, by the wall clock.

All else follows from readings alone, so an alert that a house is silent could only be made when it sends again. A worker therefore keeps, for
each house, when that is due, and looks every 20 seconds. After a restart it reads the state of some houses at each look, until it knows all.

A job that is behind must not take its own backlog for silence. So a house counts as silent only after all messages that were in Kafka when
the alert was due have been processed, which the offsets that Flink commits with each checkpoint show.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Protocol

from jobs.flink.carried import Carried
from smartmeter.errors import UserError
from smartmeter.kafka.consumers import group_of
from smartmeter.kafka.offsets import Offsets, Place
from smartmeter.settings import Settings

LOOK_EVERY_MS = 20_000
ASK_EVERY_MS = 10_000
HOUSES_A_LOOK = 150
"""Houses of a shard whose state is read at a look."""

LONGEST_MS = 7 * 86_400_000
"""A house whose newest reading is older sends history, or has ended: it is not silent."""


class Backlog(Protocol):
    """How far a job is in its topics."""

    def read_until_ms(self) -> int:
        """A time (Unix, ms) by which all messages that Kafka had then were processed; 0 if none is known."""


class TopicBacklog:
    """That of a job in the topic readings, by the offsets that it has committed."""

    def __init__(self, settings: Settings, job: str):
        self._carried, self._job = Carried(settings), job
        self._offsets: Offsets | None = None
        self._mark: tuple[int, dict[Place, tuple[int, int]]] | None = None  # a time, and the bounds of the topic then
        self._read_until_ms = self._asked_ms = 0

    def read_until_ms(self) -> int:
        """See Backlog. Asks Kafka every ten seconds at most."""
        now = int(time.time() * 1000)
        if now - self._asked_ms >= ASK_EVERY_MS:
            self._asked_ms = now
            try:
                self._ask(now)
            except UserError:  # Kafka does not answer: the job waits for it, too
                self._mark = None
        return self._read_until_ms

    def _ask(self, now_ms: int) -> None:
        if self._offsets is None:
            settings = self._carried.unpacked()
            self._offsets = Offsets(settings, ("readings",), group_of(settings, self._job))
        if self._mark and self._offsets.lag(self._mark[1]) == 0:
            self._read_until_ms, self._mark = self._mark[0], None
        if not self._mark:
            self._mark = now_ms, self._offsets.bounds()


class Absences:
    """When each house of a worker's shards is due."""

    def __init__(self) -> None:
        self._due_ms: dict[int, dict[int, int]] = defaultdict(dict)  # shard -> house -> when it counts as silent
        self._unknown: dict[int, list[int]] = {}  # shard -> houses whose state has not been read since the start
        self._next_ms: dict[int, int] = {}

    def begin(self, shard: int, houses: list[int], now_ms: int) -> None:
        """Begin to look at a shard's houses."""
        self._unknown[shard], self._next_ms[shard] = list(houses), next_looks(now_ms)[0]

    def expect(self, shard: int, house_id: int, due_ms: int | None) -> None:
        """Note when a house counts as silent if nothing comes; None: never."""
        if due_ms is None:
            self._due_ms[shard].pop(house_id, None)
        else:
            self._due_ms[shard][house_id] = due_ms

    def is_due(self, shard: int, house_id: int, time_ms: int) -> bool:
        """Whether a house counts as silent at a time."""
        return house_id in self._due_ms[shard] and self._due_ms[shard][house_id] <= time_ms

    def is_time(self, shard: int, now_ms: int) -> bool:
        """Whether to look at a shard now."""
        return now_ms >= self._next_ms.get(shard, now_ms + 1)

    def look(self, shard: int, now_ms: int) -> tuple[list[int], list[int]]:
        """(houses that are due, some whose state has to be read)."""
        some, self._unknown[shard] = self._unknown[shard][:HOUSES_A_LOOK], self._unknown[shard][HOUSES_A_LOOK:]
        due = [house_id for house_id, due_ms in self._due_ms[shard].items() if due_ms <= now_ms]
        self._next_ms[shard] = next_looks(now_ms)[0]
        return due, [house_id for house_id in some if house_id not in self._due_ms[shard]]


def next_looks(now_ms: int) -> list[int]:
    """When to look next, and the time after. A checkpoint of PyFlink 2.2 may lack a timer, but not the same one that was registered before."""
    next_ms = (now_ms // LOOK_EVERY_MS + 1) * LOOK_EVERY_MS
    return [next_ms, next_ms + LOOK_EVERY_MS]
