"""Power profiles as rows of a table."""

from dataclasses import replace

import numpy as np
import pytest

from smartmeter.messages.codec import Profile
from smartmeter.messages.schemas import CodecError
from store.profile import COLUMNS, minutes, table


def ints(*values):
    return np.array(values, np.int32)


def floats(*values):
    return np.array(values, np.float32)


# Meter 1 in the minutes 100, 101 and 105, meter 7 in the minute 103.
FIRST = Profile(
    9,
    19_000,
    0,
    6_000_000,
    ints(1, 7),
    ints(3, 1),
    ints(0, 1, 4, 3),
    ints(60, 60, 1, 2),
    floats(1, 2, 3, 4),
    floats(5, 6, 7, 8),
    floats(9, 10, 11, 12),
)
SECOND = Profile(2**40, 19_000, 6_060_000, 6_060_000, ints(3), ints(1), ints(0), ints(5), floats(0), floats(0.5), floats(1))


def test_a_row_for_each_meter_and_minute():
    found = table([FIRST, SECOND])
    assert found.column_names == list(COLUMNS)
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (9, 1, 6000, 0, 60, 1, 5, 9),
        (9, 1, 6060, 0, 60, 2, 6, 10),
        (9, 1, 6300, 0, 1, 3, 7, 11),
        (9, 7, 6180, 0, 2, 4, 8, 12),
        (2**40, 3, 6060, 6_060_000, 5, 0, 0.5, 1),
    ]
    assert [minutes(FIRST), minutes(SECOND)] == [4, 1]


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(counts=ints(3)), r"2 meter_ids, 1 counts that sum up to 3, and columns of \[4, 4, 4, 4, 4\] minutes: they disagree"),
        (dict(counts=ints(3, 2)), "2 counts that sum up to 5"),
        (dict(counts=ints(5, -1)), "they disagree"),
        (dict(max_watts=floats(1)), r"columns of \[4, 4, 4, 4, 1\] minutes"),
        (dict(deltas=ints(0, -1, 4, 3)), "minutes from 6000000 ms on: they lie in the years 1970 to 2105"),
        (dict(start=-60_000), "minutes from -60000 ms on"),
        (dict(start=(2**32 // 60 - 7) * 60_000), "they lie in the years 1970 to 2105"),
    ],
)
def test_a_profile_that_makes_no_rows_is_refused(changes, message):
    with pytest.raises(CodecError, match=message):
        minutes(replace(FIRST, **changes))
