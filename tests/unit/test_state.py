"""The state of a house in the map of its shard: what is written, and when."""

import pickle

import pytest

from jobs.core.state import MOST_SMALL_BYTES, NO_STATE, STATE_PROTOCOL, HouseState, Shard
from jobs.core.state_version import StateFault
from tests.unit.flink_stand_in import State

MANY = bytes(MOST_SMALL_BYTES + 1)


def shard(**values) -> State:
    """The map of a shard with house 1, which has these values."""
    of_shard = State({"1": NO_STATE})
    state = HouseState(of_shard, 1)
    for name, value in values.items():
        state.put(name.replace("__", "/"), value)
    state.keep()
    return of_shard


def test_what_is_put_is_read_back_after_keep():
    state = HouseState(shard(days=b"d", window=MANY, pane__7=b"p"), 1)
    assert [state.get(name) for name in ("days", "window", "pane/7", "runs", "pane/8")] == [b"d", MANY, b"p", None, None]


def test_large_values_are_one_of_the_map_each_and_small_ones_together():
    of_shard = shard(days=b"d", runs=MANY, window=MANY, pane__7=MANY, hours__7=MANY[1:], waiting__0=b"w")
    assert set(of_shard) == {"1", "1/window", "1/pane/7", "1/waiting/0"}, "there may be many that wait"


@pytest.mark.parametrize("kept_between", [True, False])
def test_a_value_moves_to_its_place_when_it_grows_or_shrinks(kept_between):
    of_shard = shard(days=b"d", window=b"w")
    state = HouseState(of_shard, 1)
    for value, keys in ((MANY, {"1", "1/window"}), (b"w", {"1"}), (MANY, {"1", "1/window"}), (MANY[1:], {"1"})):
        state.put("window", value)
        assert state.get("window") == value
        if kept_between:
            state.keep()
            assert HouseState(of_shard, 1).get("window") == value and set(of_shard) == keys
    state.keep()
    assert set(of_shard) == {"1"}


def test_a_small_value_that_an_earlier_release_kept_apart_is_read_and_moves_once_it_is_put():
    of_shard = State({"1": pickle.dumps(({"days": b"d"}, {"window"}), STATE_PROTOCOL), "1/window": b"w"})
    state = HouseState(of_shard, 1)
    assert state.get("window") == b"w"
    state.put("window", b"x")
    state.keep()
    assert HouseState(of_shard, 1).get("window") == b"x" and set(of_shard) == {"1"}


def test_nothing_is_written_before_keep():
    of_shard = shard(days=b"d", pane__7=MANY)
    before, state = dict(of_shard), HouseState(of_shard, 1)
    state.put("days", b"other")
    state.put("pane/7", b"other")
    state.put("pane/8", b"new")
    state.remove("days")
    assert (state.get("days"), state.get("pane/7"), state.get("pane/8")) == (None, b"other", b"new")
    assert of_shard == before


@pytest.mark.parametrize("name, rest", [("days", {"1", "1/pane/7"}), ("pane/7", {"1"}), ("runs", {"1", "1/pane/7"})])
def test_what_is_removed_is_gone(name, rest):
    of_shard = shard(days=b"d", pane__7=MANY)
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
    of_shard = shard(days=b"d", pane__7=MANY) | {"11": NO_STATE}
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
    of_shard = shard(days=b"d", window=b"w", pane__7=MANY)
    state = HouseState(of_shard, 1)
    state.clear()
    state.put("days", b"new")
    state.keep()
    assert of_shard == shard(days=b"new")
