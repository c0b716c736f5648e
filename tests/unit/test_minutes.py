"""Minutes: when they are settled, their means, their columns and their state."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.core.minutes import PART, Minutes, columns, mean_watts, settled_ms, whole_mw


@pytest.mark.parametrize(
    "readings, lowest, highest, sum_mw, mean",
    [(2, 1, 2, 3000, 1.5), (3, 0.0001, 0.0001, 0, 0.0001), (2, 3e38, 3e38, 2 * 10**14, 3e38), (1, 60.1, 60.1, 60_100, 60.1)],
)
def test_a_mean_lies_between_the_lowest_and_the_highest_reading(readings, lowest, highest, sum_mw, mean):
    assert mean_watts(np.array([(0, 1, 0, readings, lowest, highest, sum_mw)], PART)).tolist() == [np.float32(mean)]


def test_state_of_another_version_is_refused():
    assert Minutes.from_bytes(Minutes().to_bytes()).open.tolist() == Minutes.from_bytes(None).open.tolist() == []
    with pytest.raises(ValueError, match="state version 9"):
        Minutes.from_bytes(b"\x09")


@pytest.mark.parametrize("minute, settled_s", [(0, 70), (1, 130), (2**31 - 1, 2**31 * 60 + 10)])
def test_a_minute_is_settled_ten_seconds_after_its_end(minute, settled_s):
    assert settled_ms(np.int32(minute)) == settled_s * 1000


@pytest.mark.parametrize("watts, mw", [(0, 0), (1.5, 1500), (0.0004, 0), (0.0006, 1), (1e9, 10**12)])
def test_a_power_is_whole_milliwatts(watts, mw):
    assert whole_mw(np.float32(watts)) == mw


def test_columns_count_from_the_first_minute_of_all_and_then_from_minute_to_minute():
    minutes = np.zeros(5, PART)
    minutes["meter_id"], minutes["minute"] = [1, 1, 1, 4, 9], [103, 104, 110, 100, 102]
    assert [column.tolist() for column in columns(minutes)] == [[1, 4, 9], [3, 1, 1], [3, 1, 6, 0, 2]]
