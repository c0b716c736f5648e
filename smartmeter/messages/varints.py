"""Avro in compiled loops: zigzag varints, and arrays of them and of packed floats, in any block structure that Avro allows."""

from __future__ import annotations

import numpy as np

from smartmeter.compiled import compiled
from smartmeter.loops import append

MOST_BLOCKS = 10_000
"""Most blocks of an array. Writers make one, or one every few kB."""

BAD = -1
"""Takes the place of a position when a value cannot be read."""


@compiled
def write_ints(values, out):
    """Write int32 or int64 values to out as zigzag varints. Returns the number of bytes."""
    at = 0
    for value in values:
        rest = np.uint64((np.int64(value) << 1) ^ (np.int64(value) >> 63))
        while rest > 0x7F:
            out[at] = rest & np.uint64(0x7F) | np.uint64(0x80)
            rest >>= np.uint64(7)
            at += 1
        out[at] = rest
        at += 1
    return at


@compiled
def read_long(data, at, end):
    """(value, position after it, or BAD) of the zigzag varint (Avro specification, "Binary encoding") at `at`."""
    value, shift = np.uint64(0), np.uint64(0)
    while 0 <= at < end and shift < 70:
        byte = np.uint64(data[at])
        if shift == 63 and byte > 1:
            break
        value |= (byte & np.uint64(0x7F)) << shift
        at, shift = at + 1, shift + np.uint64(7)
        if byte < 0x80:
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), at
    return np.int64(0), BAD


@compiled
def _block(data, at, end):
    """(items in the array block at `at`, 0 at the end of the array; position after the head, or BAD). A size follows a negative count."""
    count, at = read_long(data, at, end)
    if count < 0:
        count = -count
        _, at = read_long(data, at, end)
    return (count, at) if 0 <= count <= end - at else (np.int64(0), BAD)


@compiled
def read_ints(data, at, end, into, size, bits):
    """Read an array of ints of 32 or 64 bits behind into[:size]. Returns (position after it, or BAD; the new size)."""
    for _ in range(MOST_BLOCKS + 1):
        count, at = _block(data, at, end)
        if at == BAD or count == 0:
            return at, size
        if count > len(into) - size:
            return BAD, size
        at, size = int_block(data, at, end, count, into, size, bits), size + count
    return BAD, size


@compiled
def int_block(data, at, end, count, into, size, bits):
    """Read `count` ints of 32 or 64 bits behind into[:size]. Returns the position after them, or BAD."""
    for i in range(size, size + count):
        if at < end and data[at] < 0x80:
            into[i], at = np.int64(data[at] >> 1) ^ -np.int64(data[at] & 1), at + 1
        else:
            value, at = read_long(data, at, end)
            if at == BAD or not -1 <= value >> (bits - 1) <= 0:
                return BAD
            into[i] = value
    return at


@compiled
def read_floats(data, at, end, into, size):
    """Read an array of floats behind into[:size]. Returns (position after it, or BAD; the new size)."""
    for _ in range(MOST_BLOCKS + 1):
        count, at = _block(data, at, end)
        if at == BAD or count == 0:
            return at, size
        if count > len(into) - size or 4 * count > end - at:
            return BAD, size
        size = append(into, size, data[at : at + 4 * count].view(np.float32))
        at += 4 * count
    return BAD, size
