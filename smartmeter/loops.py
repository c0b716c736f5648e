"""Loops in place of NumPy's operations on whole arrays, each of which would take Numba's compiler seconds: it compiles their errors, too."""

from __future__ import annotations

from smartmeter.compiled import compiled


@compiled
def append(into, size, values):
    """Copy values behind into[:size]. Returns the new size."""
    for i in range(len(values)):
        into[size + i] = values[i]
    return size + len(values)


@compiled
def same_bytes(data, at, other):
    """Whether data[at:] begins with the bytes of `other`."""
    same = len(data) - at >= len(other)
    for i in range(len(other) if same else 0):
        same &= data[at + i] == other[i]
    return same
