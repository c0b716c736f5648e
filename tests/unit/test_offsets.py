"""Offsets in the form of Flink's options; tests/stack/test_offsets.py has lags, on a real broker."""

import pytest

from smartmeter.kafka.offsets import specific_offsets


@pytest.mark.parametrize(
    "offset_of, text", [({}, ""), ({0: 7}, "partition:0,offset:7"), ({10: 1, 2: 0}, "partition:2,offset:0;partition:10,offset:1")]
)
def test_offsets_by_partition(offset_of, text):
    assert specific_offsets(offset_of) == text
