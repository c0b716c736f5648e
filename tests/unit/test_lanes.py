"""Lanes: how many queries of a user run, wait and are refused."""

from __future__ import annotations

import anyio
import pytest

from store import lanes
from store.errors import QueryError
from store.lanes import Lane


def test_as_many_run_at_once_as_there_are_places_and_the_others_wait():
    running, most = 0, 0

    async def query(lane: Lane):
        nonlocal running, most
        async with lane.place():
            running += 1
            most = max(most, running)
            await anyio.sleep(0.01)
            running -= 1

    async def all_queries():
        lane = Lane(2)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(query, lane)

    anyio.run(all_queries)
    assert (running, most) == (0, 2)


@pytest.mark.parametrize("wait_s, most_waiting", [(0.01, 100), (60, 0)])
def test_a_query_without_a_place_is_refused(monkeypatch, wait_s, most_waiting):
    monkeypatch.setattr(lanes, "WAIT_S", wait_s)

    async def second():
        lane = Lane(1)
        async with lane.place():
            monkeypatch.setattr(lanes, "MOST_WAITING", most_waiting)
            with pytest.raises(QueryError, match=r"^Code: 202\. .*raise SMW_CLICKHOUSE_QUERIES.*TOO_MANY_SIMULTANEOUS_QUERIES"):
                with anyio.fail_after(10):
                    async with lane.place():
                        pass
            monkeypatch.setattr(lanes, "MOST_WAITING", 100)
        async with lane.place():
            return await lane.run(sum, [1, 2])

    assert anyio.run(second) == 3
