"""Shards: houses are spread evenly over them."""

from collections import Counter

import pytest

from jobs.core.shards import shard_of


@pytest.mark.parametrize("shards", [1, 2, 100, 128, 4096])
def test_houses_fill_shards_evenly_and_so_any_part_of_them(shards):
    per_shard = Counter(shard_of(house, shards) for house in range(1, 3 * shards + 1))
    assert per_shard == dict.fromkeys(range(shards), 3)
    if shards >= 100:  # the first 50 houses: as many in each half, quarter ... of the shards, within two
        for parts in (2, 4, 8):
            of_part = Counter(shard_of(house, shards) * parts // shards for house in range(1, 51))
            assert all(abs(of_part[part] - 50 / parts) <= 2 for part in range(parts)), of_part
