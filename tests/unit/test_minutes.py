"""Minutes: their means and their state."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.core.minutes import PART, Minutes, mean_watts


@pytest.mark.parametrize("readings, lowest, highest, sum_mw, mean", [
    (2, 1, 2, 3000, 1.5), (3, 0.0001, 0.0001, 0, 0.0001), (2, 3e38, 3e38, 2 * 10**14, 3e38), (1, 60.1, 60.1, 60_100, 60.1)])
def test_a_mean_lies_between_the_lowest_and_the_highest_reading(readings, lowest, highest, sum_mw, mean):
    assert mean_watts(np.array([(0, 1, 0, readings, lowest, highest, sum_mw)], PART)).tolist() == [np.float32(mean)]


def test_state_of_another_version_is_refused():
    assert Minutes.from_bytes(Minutes().to_bytes()).open.tolist() == Minutes.from_bytes(None).open.tolist() == []
    with pytest.raises(ValueError, match="state version 9"):
        Minutes.from_bytes(b"\x09")
