"""The minutes of a house's open days as *cells* of three bytes, for the rules that judge how long a meter draws what.

A power is kept as a code: one of 255 steps that grow by a sixteenth of an octave (4.4 %). Cells of the same meter and minute merge into the
lowest and the highest code, whatever their order, and merging one twice changes nothing. So the rules give the same results however the
readings were cut.
"""

from __future__ import annotations

from functools import reduce
from itertools import groupby
from typing import NamedTuple

import lz4.block
import numpy as np

from jobs.core.state import HouseState
from smartmeter.arrays import Bytes, Floats, Int32s, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import day_of
from smartmeter.settings import MINUTE_MS

STEPS_PER_OCTAVE = 16
FIRST_LEVEL_WATTS = 30.0
STEPS_BELOW = 5 * STEPS_PER_OCTAVE
EDGES: Floats = (FIRST_LEVEL_WATTS * 2.0 ** (np.arange(254) / STEPS_PER_OCTAVE - STEPS_BELOW / STEPS_PER_OCTAVE)).astype(np.float64)
"""float64 (254,), in W, from 0.94 W to 54 kW: the upper ends of codes 1 to 254. Code 255 has none, and code 0 stands for no reading."""

UPPER_WATTS: Floats = np.concatenate([[0.0], EDGES, EDGES[-1:]])
"""float64 (256,), in W: what a code stands for. Code 255 has no end; that of the one before stands for it."""

CELL = np.dtype(
    [
        ("low", "u1"),  # code of the lowest and the highest reading; 0: no reading
        ("high", "u1"),
        ("same", "u1"),  # a digest of the power, 1 to 254, if all readings are equal; FED_IN if all are negative; else 0
    ]
)
FED_IN = 255
"""In place of a digest: the meter fed in for the whole minute. Its codes are those of a meter that is off."""
HOUSE = 0
"""Stands for a meter in the first row of a block, with a reading in each minute in which any meter has one. Meters are numbered from 1."""

DAY_MINUTES = 1440
SPAN_MINUTES = 360
"""Minutes of a block, which is compressed anew with each batch that adds to it."""
SPAN_MS = SPAN_MINUTES * MINUTE_MS


def code_of(watts: Floats) -> Bytes:
    """The code of each power in W, uint8: the number of its step, from 1. A higher power never has a lower code."""
    codes: Bytes = (np.searchsorted(EDGES, watts) + 1).astype(np.uint8)
    return codes


def watts_of(code: int) -> float:
    """The upper end of a code's step, in W; 0 for code 0."""
    return float(UPPER_WATTS[code])


class Block(NamedTuple):
    """The cells of a span of a day (UTC): CELL (m, SPAN_MINUTES), a row a meter and a column a minute."""

    meter_ids: Int32s  # int32 (m,), rising
    cells: Rows

    def with_meters(self, meter_ids: Int32s) -> Block:
        """This block with a row for each of the meters, too."""
        wanted = together(self.meter_ids, meter_ids)
        if len(wanted) == len(self.meter_ids):
            return self
        cells = np.zeros((len(wanted), SPAN_MINUTES), CELL)
        if len(self.meter_ids):
            cells[np.searchsorted(wanted, self.meter_ids)] = self.cells
        return Block(wanted, cells)

    def pack(self) -> bytes:
        """This block in a stable form, as kept in checkpoints."""
        packed: bytes = lz4.block.compress(len(self.meter_ids).to_bytes(4, "little") + self.meter_ids.tobytes() + self.cells.tobytes())
        return packed

    @classmethod
    def unpack(cls, state: bytes) -> Block:
        """Inverse of pack."""
        body = bytearray(lz4.block.decompress(state))
        meters = int.from_bytes(body[:4], "little")
        return cls(np.frombuffer(body, np.int32, meters, 4), np.frombuffer(body, CELL, offset=4 + 4 * meters).reshape(meters, -1))


NO_CELLS = Block(np.empty(0, np.int32), np.empty((0, SPAN_MINUTES), CELL))


class Cells:
    """The blocks of a house's open days (UTC), by the number of their span since 1970-01-01T00:00Z. state: maps names to bytes, with get, put
    and remove.
    """

    def __init__(self, state: HouseState):
        self.state = state
        self.spans: list[int] = np.frombuffer(state.get("cell_spans") or b"", np.int32).tolist()
        self._blocks: dict[int, Block] = {}
        if days := state.get("cell_days"):
            self._divide(np.frombuffer(days, np.int32).tolist())

    def block(self, span: int) -> Block:
        """The cells of a span; none if it has none."""
        if span not in self.spans:
            return NO_CELLS
        if span not in self._blocks:
            self._blocks[span] = Block.unpack(self.state.get(f"cells/{span}") or b"")
        return self._blocks[span]

    def between(self, begin_minute: int, end_minute: int, meter_ids: Int32s) -> tuple[Int32s, list[tuple[int, Rows]]]:
        """(some rising meters and those of the cells from a minute to another, each stretch of these: its first minute, CELL (m, minutes)).

        The cells are a copy without strides.
        """
        spans = [span for span in self.spans if begin_minute - SPAN_MINUTES < span * SPAN_MINUTES < end_minute]
        blocks = {span: self.block(span) for span in spans}
        every, stretches = reduce(together, (block.meter_ids for block in blocks.values()), meter_ids), []
        for _, adjoining in groupby(enumerate(spans), lambda at_span: at_span[1] - at_span[0]):
            parts = [(span * SPAN_MINUTES, blocks[span].with_meters(every).cells.view("V3")) for _, span in adjoining]  # as bytes: faster
            own = [cells[:, max(begin_minute - first, 0) : end_minute - first] for first, cells in parts]
            stretches.append((max(begin_minute, parts[0][0]), np.concatenate(own, axis=1).view(CELL)))
        return every, stretches

    def local_days(self, timezone: str) -> list[int]:
        """The local days that the cells touch, rising."""
        ends_ms = np.array([(span * SPAN_MS, (span + 1) * SPAN_MS - 1) for span in self.spans], np.int64).ravel()
        return sorted(set(day_of(timezone, ends_ms).tolist()))

    @property
    def last_minute(self) -> int:
        """The last minute with a reading; 0 without any."""
        seen = [span * SPAN_MINUTES + int(np.flatnonzero(self.block(span).cells[0]["low"])[-1]) for span in self.spans[-1:]]
        return seen[0] if seen else 0

    def take(self, minutes: Rows) -> None:
        """Merge minutes (PART) into their cells."""
        bits = np.ascontiguousarray(minutes["min_watts"]).view(np.uint32)
        spans = _spans(minutes).tolist()
        for span in spans:
            block = self.block(span).with_meters(_meters(minutes, span))
            _fill(block.cells, block.meter_ids, span * SPAN_MINUTES, minutes, bits)
            self._put(span, block)
        self._keep_spans({*self.spans, *spans})

    def drop_before(self, minute: int) -> None:
        """Forget the spans that end by a minute."""
        over = {span for span in self.spans if (span + 1) * SPAN_MINUTES <= minute}
        for span in over:
            self._blocks.pop(span, None)
            self.state.remove(f"cells/{span}")
        self._keep_spans({*self.spans} - over)

    def _put(self, span: int, block: Block) -> None:
        self._blocks[span] = block
        self.state.put(f"cells/{span}", block.pack())

    def _keep_spans(self, spans: set[int]) -> None:
        if spans != set(self.spans):
            self.spans = sorted(spans)
            self.state.put("cell_spans", np.array(self.spans, np.int32).tobytes())

    def _divide(self, days: list[int]) -> None:
        """Take over the blocks of whole days of an earlier release."""
        for day in days:
            whole = Block.unpack(self.state.get(f"cells/{day}") or b"")
            self.state.remove(f"cells/{day}")
            for at, cells in enumerate(np.split(whole.cells, DAY_MINUTES // SPAN_MINUTES, axis=1)):
                if cells["low"].any():
                    self._put(day * DAY_MINUTES // SPAN_MINUTES + at, Block(whole.meter_ids, cells.copy()))
                    self._keep_spans({*self.spans, day * DAY_MINUTES // SPAN_MINUTES + at})
        self.state.remove("cell_days")


def together(meter_ids: Int32s, others: Int32s) -> Int32s:
    """Rising meters, and those of the others, rising too, that are not among them."""
    if not len(meter_ids):
        return others
    return meter_ids if _are_among(meter_ids, others) else np.union1d(meter_ids, others).astype(np.int32)


@compiled
def _are_among(rising, values):
    """Whether all of some values are among rising ones."""
    found = 0
    for value in values:
        at = _first_not_under(rising, value)
        found += at < len(rising) and rising[at] == value
    return found == len(values)


@compiled
def _spans(minutes):
    """int32, rising: the spans of some minutes (PART)."""
    spans, size = np.empty(len(minutes), np.int32), 0
    for minute in minutes:
        size = _insert(spans, size, minute.minute // SPAN_MINUTES)
    return spans[:size]


@compiled
def _meters(minutes, span):
    """int32, rising: HOUSE, and the meters of those of some minutes (PART) that are in a span."""
    meter_ids, size = np.empty(len(minutes) + 1, np.int32), 1
    meter_ids[0] = HOUSE
    for minute in minutes:
        if minute.minute // SPAN_MINUTES == span:
            size = _insert(meter_ids, size, minute.meter_id)
    return meter_ids[:size]


@compiled
def _insert(rising, size, value):
    """Insert a value into rising[:size], unless it is there: after the last one, mostly. Returns the new size."""
    if size and rising[size - 1] == value:
        return size
    at = _first_not_under(rising[:size], value)
    if at < size and rising[at] == value:
        return size
    for other in range(size, at, -1):
        rising[other] = rising[other - 1]
    rising[at] = value
    return size + 1


@compiled
def _fill(cells, meter_ids, first, minutes, bits):
    """Merge minutes (PART) into the cells of the span that begins with minute `first`. bits: of their lowest powers, as float32."""
    row = 0
    for i in range(len(minutes)):
        column = minutes[i].minute - first
        if not 0 <= column < SPAN_MINUTES:
            continue
        if meter_ids[row] != minutes[i].meter_id:
            row = _first_not_under(meter_ids, minutes[i].meter_id)
        low, high, same = step_of(minutes[i].min_watts), step_of(minutes[i].max_watts), _digest(minutes[i], bits[i])
        cells[0, column].low = cells[0, column].high = 1
        cell = cells[row, column]
        if cell.low == 0:
            cell.low, cell.high, cell.same = low, high, same
        else:
            if same != cell.same:
                cell.same = 0
            cell.low, cell.high = min(cell.low, low), max(cell.high, high)


@compiled
def step_of(watts):
    """code_of a single power, for compiled loops."""
    return _first_not_under(EDGES, watts) + 1


@compiled
def _first_not_under(rising, value):
    """The index of the first of some rising values that is not less than one; their number if all are less."""
    low, high = 0, len(rising)
    while low < high:
        middle = (low + high) // 2
        if rising[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _digest(minute, bits):
    """`same` of the cell of a minute (PART). bits: of its lowest power, as float32."""
    if minute.max_watts < 0:
        return FED_IN
    if minute.min_watts != minute.max_watts:
        return 0
    return min(1 + (np.uint64(bits) * np.uint64(2654435761) >> np.uint64(16)) % np.uint64(255), np.uint64(FED_IN - 1))
