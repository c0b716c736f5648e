"""The state of a house, in the map of its shard."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Protocol

from jobs.core.state_version import StateFault

STATE_PROTOCOL = 4
"""Of pickle, by which the small values of a house are made one; any Python from 3.4 on reads it."""

NO_STATE = pickle.dumps(({}, set()), STATE_PROTOCOL)
"""Of a house that was never heard of."""

LARGE = {"pane", "window", "versions", "waiting", "hours"}
"""First parts of the names of what is large, or many, and seldom changes."""


class StateMap(Protocol):
    """Flink's MapState[str, bytes], as far as it is used."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, value: bytes) -> None: ...

    def remove(self, key: str) -> None: ...


class Shard:
    """The map of a shard. What fails in it is no message's fault: it raises StateFault."""

    def __init__(self, of_shard: StateMap):
        self._map = of_shard

    def get(self, key: str) -> bytes | None:
        return self._do(self._map.get, key)

    def put(self, key: str, value: bytes) -> None:
        self._do(self._map.put, key, value)

    def remove(self, key: str) -> None:
        self._do(self._map.remove, key)

    def _do(self, action: Callable, *args):
        try:
            return action(*args)
        except Exception as error:
            raise StateFault(f"the state of a shard fails: {type(error).__name__}: {error}") from error


class HouseState:
    """The state of one house: bytes by name. What is put is written by keep() alone, so that a batch which fails changes nothing.

    What most batches change is together one value of the shard's map, so that it takes one request. What is LARGE has values
    of its own; the one value tells which there are, so that none is asked for in vain.
    """

    def __init__(self, of_shard: StateMap, house_id: int):
        self.of_shard, self.house_id = of_shard, house_id
        self.small, self.large = pickle.loads(of_shard.get(str(house_id)) or b"")
        self.changed: dict[str, bytes | None] = {}  # large values that are not written yet; None: removed

    def get(self, name: str) -> bytes | None:
        if name in self.changed:
            return self.changed[name]
        if name in self.large:
            return self.of_shard.get(f"{self.house_id}/{name}")
        return self.small.get(name)

    def put(self, name: str, value: bytes) -> None:
        if name.split("/")[0] in LARGE:
            self.large.add(name)
            self.changed[name] = value
        else:
            self.small[name] = value

    def remove(self, name: str) -> None:
        if name in self.large:
            self.large.remove(name)
            self.changed[name] = None
        else:
            self.small.pop(name, None)

    def keep(self) -> None:
        """Write what has changed."""
        for name, value in self.changed.items():
            if value is None:
                self.of_shard.remove(f"{self.house_id}/{name}")
            else:
                self.of_shard.put(f"{self.house_id}/{name}", value)
        self.changed.clear()
        self.of_shard.put(str(self.house_id), pickle.dumps((self.small, self.large), STATE_PROTOCOL))
