"""Limits how many queries of each user run at the same time, independent of other users."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

import anyio
from anyio.to_thread import run_sync

from store.errors import QueryError

WAIT_S = 10
"""Longest time that a query waits for its turn, in s."""
MOST_WAITING = 100

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Lane:
    """A user's places for queries, and as many threads."""

    def __init__(self, places: int):
        self._places = anyio.Semaphore(places)
        self._threads = anyio.CapacityLimiter(places)
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place for one query. Raises QueryError (202) when none becomes free in time, or too many queries wait."""
        if self._waiting >= MOST_WAITING:
            raise _too_many()
        self._waiting += 1
        try:
            with anyio.fail_after(WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise _too_many() from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()

    async def run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """The result of a blocking function, run on one of the lane's threads. The caller must hold a place."""
        return await run_sync(function, *arguments, limiter=self._threads)


def _too_many() -> QueryError:
    return QueryError.named(
        202, "Too many simultaneous queries of this user: try again, or raise SMW_CLICKHOUSE_QUERIES", "TOO_MANY_SIMULTANEOUS_QUERIES"
    )
