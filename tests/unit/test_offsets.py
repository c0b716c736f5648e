"""Offsets in the form of Flink's options; tests/stack/test_offsets.py has lags, on a real broker."""

import math

import pytest

from smartmeter.errors import UserError
from smartmeter.kafka.offsets import specific_offsets, uncommitted


@pytest.mark.parametrize(
    "offset_of, text", [({}, ""), ({0: 7}, "partition:0,offset:7"), ({10: 1, 2: 0}, "partition:2,offset:0;partition:10,offset:1")]
)
def test_offsets_by_partition(offset_of, text):
    assert specific_offsets(offset_of) == text


class FoundLags:
    def __init__(self, found):
        self.found = found

    def by_group(self, timeout_s: float):
        if self.found is UserError:
            raise UserError("no broker")
        return {"group": self.found, "other": 1}


@pytest.mark.parametrize("lag, shown", [(7, 8), (0, 1), (None, 1), (UserError, math.nan)])
def test_a_metric_of_a_lag(lag, shown):
    assert uncommitted(FoundLags(lag)) == pytest.approx(shown, nan_ok=True)
