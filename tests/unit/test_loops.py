"""Loops in place of NumPy's operations on whole arrays."""

import numpy as np
import pytest

from smartmeter.loops import append, same_bytes


@pytest.mark.parametrize("values, after", [([], [1, 2, 0, 0]), ([7], [1, 2, 7, 0]), ([7, 8], [1, 2, 7, 8])])
def test_values_are_put_behind_those_that_are_there(values, after):
    into = np.array([1, 2, 0, 0])
    assert append(into, 2, np.array(values, int)) == 2 + len(values)
    assert into.tolist() == after


@pytest.mark.parametrize(
    "text, at, other, same",
    [("c30107", 0, "c301", True), ("07c301", 1, "c301", True), ("07c3", 1, "c301", False), ("c302", 0, "c301", False)],
)
def test_bytes_are_compared_from_a_place_on(text, at, other, same):
    assert same_bytes(bytes_of(text), at, bytes_of(other)) == same


def bytes_of(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), np.uint8)
