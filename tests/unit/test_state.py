"""The state of a house in the map of its shard: what is written, and when."""

import pickle
import random

import pytest

from jobs.core.state import ENTRY_BYTES, MOST_SMALL_BYTES, MOST_TOGETHER_BYTES, NO_STATE, STATE_PROTOCOL, HouseMap, HouseState, Shard
from jobs.core.state_version import StateFault
from tests.unit.flink_stand_in import State

MANY = bytes(MOST_SMALL_BYTES + 1)
"""Bytes of a value that is no small one."""
REST = bytes(MOST_TOGETHER_BYTES)
"""Bytes that the house has no place for beside a value that is no small one."""


def shard(**values) -> State:
    """The map of a shard with house 1, which has these values."""
    of_shard = State({"1": NO_STATE})
    state = HouseState(of_shard, 1)
    for name, value in values.items():
        state.put(name.replace("__", "/"), value)
    state.keep()
    return of_shard


def test_what_is_put_is_read_back_after_keep():
    state = HouseState(shard(days=REST, window=MANY, pane__7=b"p"), 1)
    assert [state.get(name) for name in ("days", "window", "pane/7", "runs", "pane/8")] == [REST, MANY, b"p", None, None]


@pytest.mark.parametrize("days, apart", [(REST, {"1/window", "1/pane/7"}), (REST[3 * len(MANY) :], {"1/window", "1/pane/7"}), (b"", set())])
def test_large_values_are_one_of_the_map_each_and_small_ones_together_as_are_all_of_a_small_house(days, apart):
    of_shard = shard(days=days, runs=MANY, window=MANY, pane__7=MANY, hours__7=b"h", waiting__0=b"w")
    assert set(of_shard) == {"1", "1/waiting/0"} | apart, "there may be many that wait"


def test_all_that_have_a_place_together_are_together():
    assert set(shard(days=REST[len(MANY) :], window=MANY)) == {"1"} and set(shard(days=REST, window=b"")) == {"1"}


@pytest.mark.parametrize("kept_between", [True, False])
def test_a_value_moves_to_its_place_when_it_grows_or_shrinks(kept_between):
    of_shard = shard(days=REST, window=b"w")
    state = HouseState(of_shard, 1)
    for value, keys in ((MANY, {"1", "1/window"}), (b"w", {"1"}), (MANY, {"1", "1/window"}), (MANY[1:], {"1"})):
        state.put("window", value)
        assert state.get("window") == value
        if kept_between:
            state.keep()
            assert HouseState(of_shard, 1).get("window") == value and set(of_shard) == keys
    state.keep()
    assert set(of_shard) == {"1"}


def test_a_large_value_stays_apart_when_its_house_becomes_small():
    of_shard = shard(days=REST, window=MANY)
    state = HouseState(of_shard, 1)
    state.put("days", b"d")
    state.put("window", MANY + b"w")
    state.keep()
    assert set(of_shard) == {"1", "1/window"} and HouseState(of_shard, 1).get("window") == MANY + b"w"


def test_a_small_value_that_an_earlier_release_kept_apart_is_read_and_moves_once_it_is_put():
    of_shard = State({"1": pickle.dumps(({"days": b"d"}, {"window"}), STATE_PROTOCOL), "1/window": b"w"})
    state = HouseState(of_shard, 1)
    assert state.get("window") == b"w"
    state.put("window", b"x")
    state.keep()
    assert HouseState(of_shard, 1).get("window") == b"x" and set(of_shard) == {"1"}


def test_nothing_is_written_before_keep():
    of_shard = shard(days=REST, pane__7=MANY)
    before, state = dict(of_shard), HouseState(of_shard, 1)
    state.put("days", b"other")
    state.put("pane/7", b"other")
    state.put("pane/8", b"new")
    state.remove("days")
    assert (state.get("days"), state.get("pane/7"), state.get("pane/8")) == (None, b"other", b"new")
    assert of_shard == before


@pytest.mark.parametrize("name, rest", [("days", {"1", "1/pane/7"}), ("pane/7", {"1"}), ("runs", {"1", "1/pane/7"})])
def test_what_is_removed_is_gone(name, rest):
    of_shard = shard(days=REST, pane__7=MANY)
    state = HouseState(of_shard, 1)
    state.remove(name)
    assert state.get(name) is None
    state.keep()
    again = HouseState(of_shard, 1)
    assert again.get(name) is None and name not in again.large and set(of_shard) == rest


def test_a_key_that_does_not_exist_is_never_requested():
    class Strict(State):
        get = State.__getitem__

    state = HouseState(Strict(shard(days=b"d")), 1)
    assert state.get("pane/7") is state.get("window") is state.get("runs") is None


def test_houses_of_a_shard_do_not_share_values():
    of_shard = shard(days=REST, pane__7=MANY) | {"11": NO_STATE}
    other = HouseState(State(of_shard), 11)
    assert other.get("days") is other.get("pane/7") is None


@pytest.mark.parametrize("action", [lambda shard: shard.get("1"), lambda shard: shard.put("1", b""), lambda shard: shard.remove("1")])
def test_a_map_that_fails_is_a_fault_of_state(action):
    class Failing:
        def get(self, *_):
            raise OSError("no disk")

        put = remove = get

    with pytest.raises(StateFault, match="^the state of a shard fails: OSError: no disk$"):
        action(Shard(Failing()))


def test_a_state_that_is_cleared_has_no_names():
    of_shard = shard(days=REST, window=b"w", pane__7=MANY)
    state = HouseState(of_shard, 1)
    state.clear()
    state.put("days", b"new")
    state.keep()
    assert of_shard == shard(days=b"new")


class Counting(State):
    """A map that lists the keys that are requested."""

    def __init__(self, *entries):
        super().__init__(*entries)
        self.requested = []

    def get(self, key):
        self.requested.append(key)
        return super().get(key)


def test_values_that_were_used_are_not_requested_again():
    of_shard = Counting({"1": b"one"})
    houses = HouseMap(of_shard, 2 * ENTRY_BYTES + 6)
    houses.put("2", b"two")
    assert [houses.get(key) for key in "1212"] == [b"one", b"two"] * 2 and of_shard.requested == ["1"]
    houses.put("2", b"2nd")
    assert (of_shard["2"], houses.get("1"), houses.get("2")) == (b"2nd", b"one", b"2nd") and of_shard.requested == ["1"]


def test_of_houses_that_take_turns_some_stay_in_memory_up_to_its_bytes():
    random.seed(0)
    of_shard = Counting({f"{house_id:02}": b"%02d" % house_id for house_id in range(100)})
    houses = HouseMap(of_shard, 50 * (ENTRY_BYTES + 2))
    for _ in range(10):
        assert [houses.get(key) for key in of_shard] == list(of_shard.values())
    assert 550 <= len(of_shard.requested) < 900, "100, and at least 50 in each other turn"


@pytest.mark.parametrize("most_bytes", [0, ENTRY_BYTES + 1])
def test_a_value_too_large_for_memory_is_requested_each_time(most_bytes):
    of_shard = Counting()
    houses = HouseMap(of_shard, most_bytes)
    houses.put("1", b"o")
    houses.put("1", b"one")
    assert [houses.get("1"), houses.get("1")] == [b"one"] * 2 and of_shard.requested == ["1", "1"]


def test_what_is_removed_or_unknown_is_no_longer_in_memory():
    of_shard = Counting({"1": b"one"})
    houses = HouseMap(of_shard, 10_000)
    assert houses.get("1") == b"one" and houses.get("2") is houses.get("2") is None
    houses.remove("1")
    assert houses.get("1") is None and not of_shard and of_shard.requested == [*"1221"]
