"""DDSketch of the power of many meters at once: quantiles within 1 %, from counts in bins that grow by 2 %.

Source: Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB
2019. A reading x falls in bin i if EDGES[i] < x <= EDGES[i + 1]. Each edge is GAMMA times the one before, rounded
down to a float32, so no bin is wider than the paper's and the guarantee holds without slack.

The bins are fixed: BINS = 1267, from LEAST_WATTS to just over MOST_WATTS. At LEAST_WATTS and below a meter counts as
off, and such readings are left out. The last bin (over 992.4 kW) also takes all higher readings: the guarantee ends at
MOST_WATTS, and the quantile of higher readings is 1.0023 MW. The paper's collapsing stores join bins depending on
earlier readings. Here the bin depends only on the value, so merging and subtracting are exact, in any order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.core.runs import begins
from jobs.core.state_version import StateFault
from smartmeter.arrays import Float32s, Floats, Int32s, Ints
from smartmeter.compiled import compiled

ALPHA = 0.01
"""Relative accuracy of a quantile."""
GAMMA = (1 + ALPHA) / (1 - ALPHA)
LEAST_WATTS = 1e-5
MOST_WATTS = 1e6
SKETCH_VERSION = 1
_BIN_BITS = 11
_BIN_MASK = 2**_BIN_BITS - 1
_HEAD = struct.Struct("<BBI")
_ROW = np.dtype([("meter_id", "<i4"), ("bins", "<u2")])


def _edges() -> Float32s:
    """float32 (BINS + 1,): the edges of the bins, in W."""
    edges = [_next_below(LEAST_WATTS)]
    while edges[-1] < MOST_WATTS:
        edges.append(_next_below(float(edges[-1]) * GAMMA))
    return np.array(edges)


def _next_below(value: float) -> np.float32:
    """The greatest float32 below a positive value."""
    nearest = np.float32(value)
    return nearest if float(nearest) < value else np.nextafter(nearest, np.float32(0))


EDGES = _edges()
BINS = len(EDGES) - 1
VALUES = EDGES[:-1].astype(np.float64) * (1 + ALPHA)
"""The value of each bin, in W: 2 * lower * GAMMA / (1 + GAMMA), within ALPHA of both of its edges."""


def _cells() -> Int32s:
    """int32 (65536,): for each cell, the number that added to the bits of a float32 leaves its bin in the upper 16 bits; see bin_of.

    In a cell with an edge, the number includes 0xFFFF minus the edge's lower 16 bits. So the sum for a float above the edge carries into
    the upper bits, and gives the next bin.
    """
    edge_bits = EDGES[:-1].view(np.int32).astype(np.int64)
    cell = np.arange(2**16)
    bin_below = np.searchsorted(edge_bits >> 16, cell) - 1
    bin_below[np.float32(np.inf).view(np.int32) >> 16 :] = -1
    room = np.zeros(2**16, np.int64)
    room[edge_bits >> 16] = 0xFFFF - (edge_bits & 0xFFFF)
    return (((bin_below - cell) << 16) + room).astype(np.int32)


_CELLS = _cells()


def bin_of(watts: Float32s) -> Int32s:
    """int32 (n,): the bin of each reading (float32, W), 0 to BINS - 1; -1 for LEAST_WATTS and below, infinity and NaN.

    It uses no logarithm: the upper 16 bits of a float32 (sign, exponent, 7 bits of the mantissa) name a cell at most 2**-7 wide, which
    holds at most one edge of the 2 % bins. So one table look-up and one addition give the bin, the same one on every machine.
    """
    bits = np.asarray(watts, np.float32).view(np.int32)
    bins: Int32s = _CELLS[np.right_shift(bits, 16, dtype=np.intp)]
    bins += bits
    bins >>= 16
    return bins


def histograms(readings: Ints, watts: Float32s) -> tuple[Ints, NDArray[np.uint16], NDArray[np.uint32]]:
    """(bins, bin_index, count) of the histograms of s sections.

    bins: int64 (s,), number of bins of each; bin_index: uint16 (e,), its bins, rising; count: uint32 (e,), readings in each bin. Both are
    in the order of the sections. readings: int64 (s,), readings of each section; watts: float32 (n,), section by section. Readings
    without a bin (see bin_of) are left out.
    """
    bins, bin_index, count = np.empty(len(readings), np.int64), np.empty(len(watts), np.uint16), np.empty(len(watts), np.uint32)
    entries = _count(readings, watts.view(np.int32), _CELLS, bins, bin_index, count)
    return bins, bin_index[:entries].copy(), count[:entries].copy()


@compiled
def _count(readings, bits, cells, bins, bin_index, count):
    """Fill in bins, bin_index and count. bits: the float32 as int32. Returns the number of entries. The bin is computed as in bin_of."""
    tally, seen = np.zeros(BINS, np.uint32), np.empty(BINS, np.int64)
    n = entries = 0
    for s in range(len(readings)):
        found = 0
        for own_bits in bits[n : n + readings[s]]:
            own = np.int32(cells[np.uint32(own_bits) >> 16] + own_bits) >> 16
            if own >= 0:
                if tally[own] == 0:
                    seen[found] = own
                    found += 1
                tally[own] += 1
        for own in np.sort(seen[:found]):
            bin_index[entries], count[entries], tally[own] = own, tally[own], 0
            entries += 1
        bins[s] = found
        n += readings[s]
    return entries


def _tally(group: Ints, watts: Float32s) -> tuple[Ints, Ints]:
    """(group << 11 | bin, rising; readings in it), int64, of readings that each belong to a group (int)."""
    bins = bin_of(watts)
    counted = bins >= 0
    keys = np.sort(((group << _BIN_BITS) | bins)[counted])
    firsts = begins(keys)
    return keys[firsts].astype(np.int64), np.diff(firsts, append=len(keys))


@dataclass(frozen=True, eq=False)
class Sketches:
    """The sketches of any number of meters, with e bins in total. They are equal if all their bins are.

    keys: int64 (e,), meter_id << 11 | bin, rising, each once; counts: int64 (e,), readings in the bin, 1 or more.
    """

    keys: Ints
    counts: Ints

    @classmethod
    def empty(cls) -> Sketches:
        """Sketches without any meter."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def of(cls, meter_id: int | NDArray[np.integer[Any]], watts: Float32s) -> Sketches:
        """The sketches of readings (float32 (n,), W). meter_id: one for all, or one for each reading (int32 (n,))."""
        return cls(*_tally(np.asarray(meter_id, np.int64), watts))

    @classmethod
    def from_bins(
        cls, meter_id: int | NDArray[np.integer[Any]], bin_index: NDArray[np.integer[Any]], count: NDArray[np.integer[Any]]
    ) -> Sketches:
        """The sketches of counted bins (int (e,), 0 to BINS - 1), each with its count and meter (or one meter for all).

        They may be in any order. The counts of repeated bins are added.
        """
        keys = (np.asarray(meter_id, np.int64) << _BIN_BITS) | bin_index
        return cls(*_summed(keys, np.asarray(count, np.int64)))

    def merge(self, *others: Sketches) -> Sketches:
        """The sketches of the readings of this one and all others together."""
        return reduce(lambda one, other: one._with(other, 1), others, Sketches(self.keys, self.counts))

    def subtract(self, other: Sketches) -> Sketches:
        """The sketches without the readings of `other`. Raises ValueError if `other` has readings that these have not."""
        rest = self._with(other, -1)
        if np.any(rest.counts < 0):
            raise ValueError(f"meter {rest.keys[rest.counts < 0][0] >> _BIN_BITS}: the readings to subtract were never merged in")
        return rest

    def _with(self, other: Sketches, times: int) -> Sketches:
        """These with the counts of `other`, each this many times."""
        return Sketches(*_added(self.keys, self.counts, other.keys, other.counts, times)) if len(other.keys) else self

    def above(self, watts: float) -> Sketches:
        """The sketches reduced to bins whose value is over `watts`: the readings over it, within ALPHA."""
        high = VALUES[self.keys & _BIN_MASK] > watts
        return Sketches(self.keys[high], self.counts[high])

    def quantile(self, q: float) -> tuple[Int32s, Floats]:
        """(meter_ids int32 (m,), watts float64 (m,)): the q-quantile of each meter, rising by meter_id.

        Of n readings in rising order, it is the one of rank floor(q * (n - 1)), counted from 0 (the paper's definition), within ALPHA of
        its power. Raises ValueError if q is not in 0 to 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"quantile {q}: it lies between 0 and 1")
        meter_ids, readings = self.readings()
        return meter_ids, _at_rank(self.keys, self.counts, np.floor(q * (readings - 1)))

    def readings(self) -> tuple[Int32s, Ints]:
        """(meter_ids int32 (m,), readings int64 (m,)) of each meter that has readings, rising by meter_id."""
        meter_ids, readings, _ = _by_meter(self.keys, self.counts)
        return meter_ids, readings

    def second_highest(self) -> tuple[Int32s, Floats]:
        """(meter_ids int32 (m,), watts float64 (m,)): the second-highest reading of each meter that has two or more, within ALPHA."""
        meter_ids, readings = self.readings()
        several = readings > 1
        return meter_ids[several], _at_rank(self.keys, self.counts, readings - 2.0)[several]

    def to_bytes(self) -> bytes:
        """The sketches in a stable form: 6 bytes, plus 6 a meter and 6 a bin (10 a bin if any count is 2**32 or more)."""
        meter_ids, _, bins_of = _by_meter(self.keys, self.counts)
        rows = np.empty(len(meter_ids), _ROW)
        rows["meter_id"], rows["bins"] = meter_ids, bins_of
        width = 8 if self.counts.max(initial=0) >= 2**32 else 4
        bins, counts = (self.keys & _BIN_MASK).astype("<u2"), self.counts.astype(f"<u{width}")
        return b"".join((_HEAD.pack(SKETCH_VERSION, width, len(rows)), rows.tobytes(), bins.tobytes(), counts.tobytes()))

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketches:
        """Inverse of to_bytes. Raises StateFault for another version."""
        version, width, meters = _HEAD.unpack_from(data)
        if version != SKETCH_VERSION:
            raise StateFault(f"sketches of version {version}, but this release reads version {SKETCH_VERSION}")
        rows = np.frombuffer(data, _ROW, meters, _HEAD.size)
        begin = _HEAD.size + rows.nbytes
        size = (len(data) - begin) // (2 + width)
        bins = np.frombuffer(data, "<u2", size, begin)
        counts = np.frombuffer(data, f"<u{width}", size, begin + bins.nbytes)
        return cls(_keys(rows, bins), counts.astype(np.int64))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sketches):
            return NotImplemented
        return np.array_equal(self.keys, other.keys) and np.array_equal(self.counts, other.counts)


def _summed(keys: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """(keys, counts) with each key once, rising, and its counts added; sums of 0 are left out."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    firsts = begins(keys)
    sums = np.add.reduceat(counts[order], firsts)
    return keys[firsts][sums != 0], sums[sums != 0]


@compiled
def _added(keys, counts, other_keys, other_counts, times):
    """(keys, counts), both rising, with other counts, each this many times; sums of 0 are left out."""
    sums_of, sums, size = np.empty(len(keys) + len(other_keys), np.int64), np.empty(len(keys) + len(other_keys), np.int64), 0
    i = j = 0
    while i < len(keys) or j < len(other_keys):
        own = i < len(keys) and (j == len(other_keys) or keys[i] <= other_keys[j])
        others = j < len(other_keys) and (i == len(keys) or other_keys[j] <= keys[i])
        sums_of[size] = keys[i] if own else other_keys[j]
        sums[size] = (counts[i] if own else 0) + (times * other_counts[j] if others else 0)
        size += sums[size] != 0
        i, j = i + own, j + others
    return sums_of[:size], sums[:size]


@compiled
def _by_meter(keys, counts):
    """(meter_ids int32 (m,), readings int64 (m,), bins int64 (m,)) of each meter, rising."""
    meter_ids, readings, bins, m = np.empty(len(keys), np.int32), np.empty(len(keys), np.int64), np.empty(len(keys), np.int64), 0
    for e in range(len(keys)):
        if m == 0 or meter_ids[m - 1] != keys[e] >> _BIN_BITS:
            meter_ids[m], readings[m], bins[m] = keys[e] >> _BIN_BITS, 0, 0
            m += 1
        readings[m - 1] += counts[e]
        bins[m - 1] += 1
    return meter_ids[:m], readings[:m], bins[:m]


@compiled
def _at_rank(keys, counts, ranks):
    """float64 (m,): the power of each meter's reading of a rank (float64 (m,), whole), counted from 0; undefined where it has none."""
    watts, m, before = np.empty(len(ranks), np.float64), 0, 0
    for e in range(len(keys)):
        if e and keys[e] >> _BIN_BITS != keys[e - 1] >> _BIN_BITS:
            m, before = m + 1, 0
        if before <= ranks[m] < before + counts[e]:
            watts[m] = VALUES[keys[e] & _BIN_MASK]
        before += counts[e]
    return watts


@compiled
def _keys(rows, bins):
    """The keys of the bins of some rows (_ROW)."""
    keys, size = np.empty(len(bins), np.int64), 0
    for m in range(len(rows)):
        if rows[m].bins > len(bins) - size:
            raise ValueError("the bytes of sketches end too early")
        for _ in range(rows[m].bins):
            keys[size] = key_of(rows[m].meter_id, bins[size])
            size += 1
    return keys


@compiled
def key_of(meter_id, bin_index):
    """The key of a meter's bin (int, 0 to BINS - 1); see Sketches."""
    return np.int64(meter_id) << _BIN_BITS | bin_index
