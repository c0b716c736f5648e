"""Runs of equal values."""

import numpy as np
import pytest

from jobs.core.runs import begins


@pytest.mark.parametrize(
    "columns, expected",
    [
        (["a"], [0]),
        (["aaa"], [0]),
        (["aabba"], [0, 2, 4]),
        (["abc"], [0, 1, 2]),
        (["aabb", "xyyy"], [0, 1, 2]),
        (["aaaa", "xxyy"], [0, 2]),
        ([""], []),
    ],
)
def test_a_run_begins_where_any_column_changes(columns, expected):
    assert begins(*(np.array(list(column), "U1") for column in columns)).tolist() == expected
