"""The state of a house, in the map of its shard."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from cachetools import RRCache

from jobs.core.state_version import StateFault

STATE_PROTOCOL = 4
"""Pickle protocol that combines the small values of a house into one. Every Python from 3.4 on reads it."""

NO_STATE = pickle.dumps(({}, set()), STATE_PROTOCOL)
"""Pickled initial state of an unseen house."""

LARGE = {
    "pane",
    "window",
    "versions",
    "hours",
    "cells",
    "shapes",
    "usuals",
    "durations",
    "aside",
    "import_register_hours",
    "export_register_hours",
}
"""First words of the names of values that seldom change, and are large in a house with many meters."""

MOST_SMALL_BYTES = 512
"""One of these that is no larger is kept with the small values."""

MOST_TOGETHER_BYTES = 4096
"""All values of a house that has no more are kept together: in its first days, one with one meter has one value in the map, not sixteen."""

NUMEROUS = {"waiting"}
"""First words of the names of values of which there may be any number."""

ENTRY_BYTES = 400
"""Memory of a value that stays in memory, besides its bytes."""

P = ParamSpec("P")
T = TypeVar("T")


class StateMap(Protocol):
    """The methods of Flink's MapState[str, bytes] that are used."""

    def get(self, key: str) -> bytes | None:
        """The value of a key; None if it has none."""

    def put(self, key: str, value: bytes) -> None:
        """Set the value of a key."""

    def remove(self, key: str) -> None:
        """Remove a key."""


class Shard:
    """The map of a shard. A failure in it is no message's fault, so it raises StateFault."""

    def __init__(self, of_shard: StateMap):
        self._map = of_shard

    def get(self, key: str) -> bytes | None:
        """See StateMap."""
        return self._do(self._map.get, key)

    def put(self, key: str, value: bytes) -> None:
        """See StateMap."""
        self._do(self._map.put, key, value)

    def remove(self, key: str) -> None:
        """See StateMap."""
        self._do(self._map.remove, key)

    def _do(self, action: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        try:
            return action(*args, **options)
        except Exception as error:
            raise StateFault(f"the state of a shard fails: {type(error).__name__}: {error}") from error


class HouseMap:
    """The keys of houses in the map of the current shard. What was used stays in memory, as a request to the JVM takes half a ms.

    most_bytes: of what stays in memory, over all shards: no two have a house in common. When it is full, any value makes room. Houses send in
    turn, so the one that was used longest ago would be the next to be needed.
    """

    def __init__(self, of_shard: Shard, most_bytes: int):
        self._of_shard = of_shard
        self._used: RRCache[str, bytes] = RRCache(most_bytes, getsizeof=lambda value: len(value) + ENTRY_BYTES)

    def get(self, key: str) -> bytes | None:
        """See StateMap."""
        if (value := self._used.get(key)) is None and (value := self._of_shard.get(key)) is not None:
            self._remember(key, value)
        return value

    def put(self, key: str, value: bytes) -> None:
        """See StateMap."""
        self._of_shard.put(key, value)
        self._remember(key, value)

    def remove(self, key: str) -> None:
        """See StateMap."""
        self._of_shard.remove(key)
        self._used.pop(key, None)

    def _remember(self, key: str, value: bytes) -> None:
        if self._used.getsizeof(value) > self._used.maxsize:
            self._used.pop(key, None)
        else:
            self._used[key] = value


class HouseState:
    """The state of one house: maps names to bytes. Only keep() writes the changes, so a failed batch changes nothing.

    The values of a small house are one value of the shard's map, which takes one request. In another house this holds for those that most
    batches change and for small ones, and the others have a value each. The first value also lists these, so a key that does not exist is
    never requested.
    """

    def __init__(self, of_shard: StateMap, house_id: int):
        self.of_shard, self.house_id = of_shard, house_id
        self.small: dict[str, bytes]
        self.large: set[str]
        self.small, self.large = pickle.loads(of_shard.get(str(house_id)) or b"")
        self.changed: dict[str, bytes | None] = {}  # large values not written yet; None: no longer large

    def __contains__(self, name: str) -> bool:
        """Whether a name has a value. Takes no request."""
        return name in self.small or name in self.large

    def get(self, name: str) -> bytes | None:
        """The value of a name; None if it has none."""
        if name not in self.large:
            return self.small.get(name)
        return self.changed[name] if name in self.changed else self.of_shard.get(f"{self.house_id}/{name}")

    def put(self, name: str, value: bytes) -> None:
        """Set the value of a name."""
        if (name in self.large and len(value) > MOST_SMALL_BYTES) or _word(name) in NUMEROUS:
            self._put_apart(name, value)
        else:
            if name in self.large:
                self.remove(name)
            self.small[name] = value

    def remove(self, name: str) -> None:
        """Remove a name, if it has a value."""
        if name in self.large:
            self.large.remove(name)
            self.changed[name] = None
        else:
            self.small.pop(name, None)

    def clear(self) -> None:
        """Remove all names."""
        for name in [*self.small, *self.large]:
            self.remove(name)

    def keep(self) -> None:
        """Write all changes."""
        if sum(map(len, self.small.values())) > MOST_TOGETHER_BYTES:
            for name in [name for name, value in self.small.items() if len(value) > MOST_SMALL_BYTES and _word(name) in LARGE]:
                self._put_apart(name, self.small.pop(name))
        for name, value in self.changed.items():
            if value is None:
                self.of_shard.remove(f"{self.house_id}/{name}")
            else:
                self.of_shard.put(f"{self.house_id}/{name}", value)
        self.changed.clear()
        self.of_shard.put(str(self.house_id), pickle.dumps((self.small, self.large), STATE_PROTOCOL))

    def _put_apart(self, name: str, value: bytes) -> None:
        self.large.add(name)
        self.changed[name] = value


def _word(name: str) -> str:
    """The first word of a value's name."""
    return name.split("/")[0]
