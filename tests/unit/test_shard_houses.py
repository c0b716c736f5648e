"""The lists of a shard's houses: each once, in order, in pages, as they were before after a restart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core import shard_houses
from jobs.core.shard_houses import ANEW, BEGUN, HOUSES, OPEN_ALERTS, WAITING, HouseList, ShardHouses
from jobs.core.state import Shard
from tests.unit.flink_stand_in import State

IDS = st.lists(st.integers(1, 30), max_size=12)


class Writes(State):
    """A map that notes which keys are written."""

    def __init__(self):
        self.written = []

    def put(self, key, value):
        self.written.append(key)
        self[key] = value


def page(*ids: int) -> bytes:
    return np.array(ids, np.int64).tobytes()


@pytest.fixture(autouse=True)
def short_pages(monkeypatch):
    monkeypatch.setattr(shard_houses, "MOST_ON_PAGE", 3)


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "restart"]), IDS), max_size=30))
def test_houses_are_listed_once_in_the_order_of_their_addition(steps):
    of_shard, expected = State(), []
    houses = HouseList(Shard(of_shard), HOUSES)
    for step, ids in steps:
        if step == "add":
            new = sorted(set(ids) - set(expected))
            assert houses.add(ids) == new
            expected += new
        elif step == "remove":
            houses.remove(ids)
            expected = [house_id for house_id in expected if house_id not in ids]
        else:
            houses = HouseList(Shard(of_shard), HOUSES)
        assert list(houses) == expected and len(houses) == len(expected)
        assert [house_id for house_id in range(1, 31) if house_id in houses] == sorted(expected)
    assert list(HouseList(Shard(of_shard), HOUSES)) == expected
    houses.remove(expected)
    assert set(of_shard) <= {HOUSES, f"{HOUSES}/pages"}, "pages without houses in front are dropped"


def test_a_change_writes_a_page():
    of_shard = Writes()
    houses = HouseList(Shard(of_shard), WAITING)
    for house_id in range(1, 9):
        houses.add([house_id])
    assert of_shard == {
        f"{WAITING}/0": page(1, 2, 3),
        f"{WAITING}/1": page(4, 5, 6),
        WAITING: page(7, 8),
        f"{WAITING}/pages": of_shard[f"{WAITING}/pages"],
    }
    of_shard.written.clear()
    houses.add([9])
    assert of_shard.written == [WAITING]
    of_shard.written.clear()
    houses.remove([1, 8])
    assert of_shard.written == [f"{WAITING}/0", WAITING]
    houses.remove([2, 3])
    assert of_shard == {f"{WAITING}/1": page(4, 5, 6), WAITING: page(7, 9), f"{WAITING}/pages": of_shard[f"{WAITING}/pages"]}


def test_lists_that_were_one_value_are_read():
    of_shard = State({HOUSES: page(*range(1, 9)), WAITING: page(5, 2), OPEN_ALERTS: (3).to_bytes(8)})
    houses = ShardHouses(Shard(of_shard), 0)
    assert (list(houses.known), list(houses.waiting), houses.open_alerts) == ([*range(1, 9)], [5, 2], 3)
    houses.known.add([9])
    houses.waiting.remove([5])
    assert list(HouseList(Shard(of_shard), HOUSES)) == [*range(1, 10)] and list(HouseList(Shard(of_shard), WAITING)) == [2]


@pytest.mark.parametrize(("anew", "begun"), [(77, [1, 5]), (78, [])])
def test_houses_that_have_begun_anew_are_those_of_the_run(anew, begun):
    of_shard = State({ANEW: page(77, 1, 5)})  # as it was before December 2026
    for _ in range(2):
        assert list(ShardHouses(Shard(of_shard), anew).begun) == begun
    ShardHouses(Shard(of_shard), anew).begun.add([7])
    assert list(ShardHouses(Shard(of_shard), anew).begun) == [*begun, 7]
    assert not ShardHouses(Shard(of_shard), 79).begun and of_shard[BEGUN] == b""


def test_open_alerts_are_counted():
    of_shard = Writes()
    houses = ShardHouses(Shard(of_shard), 0)
    houses.count_alerts(3, 1)
    houses.count_alerts(1, 1)
    assert (houses.open_alerts, ShardHouses(Shard(of_shard), 0).open_alerts, of_shard.written) == (2, 2, [OPEN_ALERTS])
