"""Imported bursts of a house, put among those of the topic as if all had come in order.

The messages of the topic keep their order. An imported burst comes before the first of them that starts when it has ended, so of two that
overlap the one of the topic comes first. A burst of the topic that starts far ahead of its house's time is no sign of that time until another
one confirms it, as for the jobs (jobs.core.jumps). It waits for that, with those behind it. Else a wrong clock would let imported days come
before the topic's own, and close these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from smartmeter.local_days import NEVER
from smartmeter.messages.archive_files import Message, imported_end_ms
from smartmeter.messages.codec import Burst


class InOrder:
    """Puts the imported bursts of one house, in the order of their ends, among the messages of the topic."""

    def __init__(self, imported: Iterable[Message], max_jump_ms: int):
        """max_jump_ms: how far a burst may start ahead of its house's time."""
        self._imported, self._max_jump_ms = iter(imported), max_jump_ms
        self._following: Message | None = None
        self._reach_ms = NEVER  # latest end of the topic's bursts that count
        self._aside: Burst | None = None
        self._waiting: list[Message] = []  # the message of that burst, and those behind it

    def arrived(self, message: Message, burst: Burst | None) -> Iterator[Message]:
        """Yield what comes next, now that the topic has this message. burst: that in it; None if its times make no sense."""
        if burst is None:
            yield from self._in_turn(message)
            return
        aside, ahead = self._aside, self._is_ahead(burst)
        if ahead and aside and burst.start_ms >= aside.start_ms - self._max_jump_ms:
            if _repeats(burst, aside):
                yield from self._in_turn(message)
                return
            yield from self._confirmed(aside)
            aside, ahead = None, self._is_ahead(burst)
        if ahead:
            yield from self._release()
            self._aside, self._waiting = burst, [message]
            return
        if aside and aside.start_ms <= max(self._reach_ms, burst.end_ms) + self._max_jump_ms:  # it fills the time up to it
            yield from self._imported_until(burst.start_ms)
            self._reach_ms = max(self._reach_ms, aside.end_ms)
        elif aside and burst.end_ms <= self._reach_ms:  # it decides nothing
            yield from self._in_turn(message)
            return
        yield from self._release()
        yield from self._imported_until(burst.start_ms)
        yield message
        self._reach_ms = max(self._reach_ms, burst.end_ms)

    def ended(self) -> Iterator[Message]:
        """Yield the rest, now that the topic has no more messages of the house."""
        if self._aside:
            yield from self._confirmed(self._aside)
        if self._following:
            yield self._following
        yield from self._imported

    def _is_ahead(self, burst: Burst) -> bool:
        return NEVER < self._reach_ms < burst.start_ms - self._max_jump_ms

    def _in_turn(self, message: Message) -> Iterator[Message]:
        if self._aside:
            self._waiting.append(message)
        else:
            yield message

    def _confirmed(self, aside: Burst) -> Iterator[Message]:
        yield from self._imported_until(aside.start_ms)
        self._reach_ms = max(self._reach_ms, aside.end_ms)
        yield from self._release()

    def _release(self) -> Iterator[Message]:
        yield from self._waiting
        self._aside, self._waiting = None, []

    def _imported_until(self, time_ms: int) -> Iterator[Message]:
        self._following = self._following or next(self._imported, None)
        while self._following and imported_end_ms(self._following) <= time_ms:
            yield self._following
            self._following = next(self._imported, None)


def _repeats(burst: Burst, aside: Burst) -> bool:
    """Whether a burst is of no other meter and no other time than another one, as when a message is sent twice."""
    within = aside.start_ms <= burst.start_ms and burst.end_ms <= aside.end_ms
    return bool(within and np.isin(burst.meter_ids, aside.meter_ids).all())
