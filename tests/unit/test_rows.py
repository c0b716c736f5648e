from __future__ import annotations

import numpy as np
import pytest

from jobs.core.rows import picked, stacked

ROW = np.dtype([("meter_id", "i4"), ("watts", "f8"), ("open", "?")])
SOME = np.array([(1, 0.5, True), (2, -1.0, False), (3, np.inf, True)], ROW)


def test_rows_of_several_arrays_are_one_new_array_that_can_be_written():
    every = stacked(SOME[:1], np.empty(0, ROW), SOME[::-1])
    assert every.tolist() == [SOME.tolist()[i] for i in (0, 2, 1, 0)] and every.dtype == ROW
    every["meter_id"] = 9
    assert SOME["meter_id"].tolist() == [1, 2, 3]
    assert stacked(np.empty(0, ROW)).shape == (0,)


@pytest.mark.parametrize(
    "which",
    (np.array([True, False, True]), np.zeros(3, bool), np.array([2, 0, 2]), np.empty(0, np.int64), SOME["watts"] > 0),
    ids=("a mask", "none", "indices", "no indices", "a condition"),
)
def test_picked_rows_are_those_that_numpy_picks(which):
    found = picked(SOME, which)
    assert found.tolist() == SOME[which].tolist() and found.dtype == ROW


def test_rows_of_a_view_and_of_two_dimensions_are_picked_too():
    assert picked(SOME[::-1], np.array([0])).tolist() == [SOME.tolist()[2]]
    table = np.stack([SOME, SOME[::-1]])
    assert picked(table, table["open"]).tolist() == table[table["open"]].tolist()
