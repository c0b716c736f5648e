"""Shards: groups of houses that share one of Flink's keys, and with it a row, a map of state and a call of Python."""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any, overload

from smartmeter.arrays import Ints

GOLDEN = 0.6180339887498949
"""Multiples of the golden ratio, modulo 1, lie as far apart as possible, however many there are."""


@lru_cache
def _stride(shards: int) -> int:
    """Distance in shards from one house to the next: close to shards times the golden ratio, and coprime to shards."""
    return min((stride for stride in range(1, shards + 1) if gcd(stride, shards) == 1), key=lambda stride: abs(stride - GOLDEN * shards))


@overload
def shard_of(house_id: int, shards: int) -> int: ...
@overload
def shard_of(house_id: Ints, shards: int) -> Ints: ...


def shard_of(house_id: Any, shards: int) -> Any:
    """The shard of a house, or of each house (int64 (k,)), 0 to shards - 1.

    Houses with consecutive ids are spread evenly over all shards, and over every range of shards.
    """
    return house_id % shards * _stride(shards) % shards
