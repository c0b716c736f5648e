"""The state of a house in the map of its shard: what is written, and when."""

import pytest

from jobs.core.state import NO_STATE, HouseState, Shard
from jobs.core.state_version import StateFault
from tests.unit.flink_stand_in import State


def shard(**values) -> State:
    """The map of a shard with house 1, which has these values."""
    of_shard = State({"1": NO_STATE})
    state = HouseState(of_shard, 1)
    for name, value in values.items():
        state.put(name.replace("__", "/"), value)
    state.keep()
    return of_shard


def test_what_is_put_is_read_back_after_keep():
    state = HouseState(shard(days=b"d", window=b"w", pane__7=b"p"), 1)
    assert [state.get(name) for name in ("days", "window", "pane/7", "runs", "pane/8")] == [b"d", b"w", b"p", None, None]


def test_large_values_are_one_of_the_map_each_and_small_ones_together():
    of_shard = shard(days=b"d", runs=b"r", window=b"w", pane__7=b"p", hours__7=b"h")
    assert set(of_shard) == {"1", "1/window", "1/pane/7", "1/hours/7"}


def test_nothing_is_written_before_keep():
    of_shard = shard(days=b"d", pane__7=b"p")
    before, state = dict(of_shard), HouseState(of_shard, 1)
    state.put("days", b"other")
    state.put("pane/7", b"other")
    state.put("pane/8", b"new")
    state.remove("days")
    assert (state.get("days"), state.get("pane/7"), state.get("pane/8")) == (None, b"other", b"new")
    assert of_shard == before


@pytest.mark.parametrize("name, rest", [("days", {"1", "1/pane/7"}), ("pane/7", {"1"}), ("runs", {"1", "1/pane/7"})])
def test_what_is_removed_is_gone(name, rest):
    of_shard = shard(days=b"d", pane__7=b"p")
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
    of_shard = shard(days=b"d", pane__7=b"p") | {"11": NO_STATE}
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
    of_shard = shard(days=b"d", window=b"w", pane__7=b"p")
    state = HouseState(of_shard, 1)
    state.clear()
    state.put("days", b"new")
    state.keep()
    assert of_shard == shard(days=b"new")
