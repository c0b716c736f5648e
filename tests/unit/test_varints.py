"""Avro arrays in compiled loops: hand-worked bytes, and what is written is read back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartmeter.messages.varints import BAD, MOST_BLOCKS, int_block, read_floats, read_ints, read_long, write_ints


def data(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), np.uint8)


@pytest.mark.parametrize(
    "text, value",
    [
        ("00", 0),
        ("01", -1),
        ("02", 1),
        ("03", -2),
        ("7f", -64),
        ("8001", 64),
        ("ac02", 150),
        ("feffffff0f", 2**31 - 1),
        ("ffffffff0f", -(2**31)),
        ("feffffffffffffffff01", 2**63 - 1),
        ("ffffffffffffffffff01", -(2**63)),
    ],
)
def test_a_long_of_the_specification(text, value):
    found, at = read_long(data(text + "55"), 0, len(text) // 2)
    assert (int(found), at) == (value, len(text) // 2)


@pytest.mark.parametrize("text", ["", "80", "ffffff", "ffffffffffffffffff02", "ffffffffffffffffffff01"])
def test_a_long_that_ends_too_early_or_is_too_large(text):
    assert read_long(data(text), 0, len(text) // 2)[1] == BAD


def ints(text: str, room=4) -> tuple[int, list[int]]:
    """(position after an array of ints, the ints)."""
    into = np.zeros(room, np.int64)
    at, k = read_ints(data(text), 0, len(text) // 2, into, 0, 32)
    return at, into[:k].tolist()


@pytest.mark.parametrize(
    "text, at, values",
    [
        ("00", 1, []),
        ("04 0204 00", 4, [1, 2]),
        ("02 02 02 04 00", 5, [1, 2]),  # two blocks
        ("03 04 0204 00", 5, [1, 2]),  # a negative count, with the size of the block
        ("08 02040608 00", 6, [1, 2, 3, 4]),
    ],
)
def test_an_array_in_any_blocks(text, at, values):
    assert ints(text.replace(" ", "")) == (at, values)


@pytest.mark.parametrize("text", ["", "04", "0402", "0a0204060810 00", "02 8080808010 00", "02ffffffff1f00"])
def test_an_array_that_ends_too_early_has_too_many_ints_or_too_large_ones(text):
    assert ints(text.replace(" ", ""))[0] == BAD


def test_an_array_has_a_bounded_number_of_blocks():
    assert ints("0202" * 4 + "00")[0] == 9
    into, many = np.zeros(MOST_BLOCKS + 1, np.int64), np.frombuffer(b"\2\2" * (MOST_BLOCKS + 1) + b"\0", np.uint8)
    assert read_ints(many, 0, len(many), into, 0, 32)[0] == BAD


def test_floats_are_packed():
    into = np.zeros(2, np.float32)
    packed = np.frombuffer(b"\4" + np.array([1.5, -0.0], np.float32).tobytes() + b"\0", np.uint8)
    assert read_floats(packed, 0, len(packed), into, 0) == (10, 2) and into.tolist() == [1.5, -0.0]
    assert read_floats(packed, 0, 8, into, 0)[0] == BAD


INTS = st.integers(-(2**31), 2**31 - 1) | st.integers(-70, 70)
LONGS = st.integers(-(2**63), 2**63 - 1) | INTS


@given(st.tuples(st.just(np.int32), st.lists(INTS, max_size=50)) | st.tuples(st.just(np.int64), st.lists(LONGS, max_size=50)))
def test_what_is_written_is_read_back(case):
    dtype, values = case
    out, into = np.empty(10 * len(values), np.uint8), np.empty(len(values), dtype)
    size, bits = write_ints(np.array(values, dtype), out), 8 * into.itemsize
    packed = np.frombuffer(out[:size].tobytes(), np.uint8)
    assert int_block(packed, 0, size, len(values), into, 0, bits) == size and into.tolist() == values
    assert not values or int_block(packed, 0, size - 1, len(values), into, 0, bits) == BAD
    if dtype is np.int64 and not all(-(2**31) <= value < 2**31 for value in values):
        assert int_block(packed, 0, size, len(values), into, 0, 32) == BAD
