"""Shards: which houses share a key of Flink's, and with it a row, a map of state and a call of Python."""

from __future__ import annotations

from functools import lru_cache
from math import gcd

GOLDEN = 0.6180339887498949
"""Multiples of the golden ratio, modulo 1, lie as far apart as can be, however many there are."""


@lru_cache
def _stride(shards: int) -> int:
    """How many shards further the next house is: about the golden part of them, and prime to their number."""
    return min((stride for stride in range(1, shards + 1) if gcd(stride, shards) == 1), key=lambda stride: abs(stride - GOLDEN * shards))


def shard_of(house_id, shards: int):
    """The shard of a house (or of each, int64 (n,)), 0 to shards - 1.

    Houses whose ids follow each other fill all shards, and all parts of them, evenly.
    """
    return house_id % shards * _stride(shards) % shards
