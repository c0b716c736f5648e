"""The minutes of a house's open days as *cells* of three bytes, for the rules that judge how long a meter draws what.

A power is kept as a code: one of 255 steps that grow by a sixteenth of an octave (4.4 %). Cells of the same meter and minute merge into the
lowest and the highest code, whatever their order, and merging one twice changes nothing. So the rules give the same results however the
readings were cut.
"""

from __future__ import annotations

from typing import NamedTuple

import lz4.block
import numpy as np

from jobs.core.state import HouseState
from smartmeter.arrays import Bytes, Floats, Int32s, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import day_of
from smartmeter.settings import DAY_MS

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


def code_of(watts: Floats) -> Bytes:
    """The code of each power in W, uint8: the number of its step, from 1. A higher power never has a lower code."""
    codes: Bytes = (np.searchsorted(EDGES, watts) + 1).astype(np.uint8)
    return codes


def watts_of(code: int) -> float:
    """The upper end of a code's step, in W; 0 for code 0."""
    return float(UPPER_WATTS[code])


class Block(NamedTuple):
    """The cells of a day (UTC): CELL (m, DAY_MINUTES), a row a meter and a column a minute."""

    meter_ids: Int32s  # int32 (m,), rising
    cells: Rows

    def with_meters(self, meter_ids: Int32s) -> Block:
        """This block with a row for each of the meters, too."""
        wanted = together(self.meter_ids, meter_ids)
        if len(wanted) == len(self.meter_ids):
            return self
        cells = np.zeros((len(wanted), DAY_MINUTES), CELL)
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
        return cls(np.frombuffer(body, np.int32, meters, 4), np.frombuffer(body, CELL, offset=4 + 4 * meters).reshape(meters, DAY_MINUTES))


NO_CELLS = Block(np.empty(0, np.int32), np.empty((0, DAY_MINUTES), CELL))


class Cells:
    """The blocks of a house's open days (UTC). state: maps names to bytes, with get, put and remove."""

    def __init__(self, state: HouseState):
        self.state = state
        self.days: list[int] = np.frombuffer(state.get("cell_days") or b"", np.int32).tolist()
        self._blocks: dict[int, Block] = {}

    def block(self, day: int) -> Block:
        """The cells of a day; none if it has none."""
        if day not in self.days:
            return NO_CELLS
        if day not in self._blocks:
            self._blocks[day] = Block.unpack(self.state.get(f"cells/{day}") or b"")
        return self._blocks[day]

    def local_days(self, timezone: str) -> list[int]:
        """The local days that the cells touch, rising."""
        ends_ms = np.array([(day * DAY_MS, (day + 1) * DAY_MS - 1) for day in self.days], np.int64).ravel()
        days: list[int] = np.unique(day_of(timezone, ends_ms)).tolist()
        return days

    @property
    def last_minute(self) -> int:
        """The last minute with a reading; 0 without any."""
        seen = [day * DAY_MINUTES + int(np.flatnonzero(self.block(day).cells[0]["low"])[-1]) for day in self.days[-1:]]
        return seen[0] if seen else 0

    def take(self, minutes: Rows) -> None:
        """Merge minutes (PART) into their cells."""
        days, bits = minutes["minute"] // DAY_MINUTES, np.ascontiguousarray(minutes["min_watts"]).view(np.uint32)
        for day in _each(days).tolist():
            meter_ids = np.append(np.int32(HOUSE), _each(minutes["meter_id"][days == day]))
            self._blocks[day] = block = self.block(day).with_meters(meter_ids)
            _fill(block.cells, block.meter_ids, day * DAY_MINUTES, minutes, bits)
            self.state.put(f"cells/{day}", block.pack())
            self._keep_days({*self.days, day})

    def drop_before(self, minute: int) -> None:
        """Forget the days that end by a minute."""
        for day in [day for day in self.days if (day + 1) * DAY_MINUTES <= minute]:
            self._blocks.pop(day, None)
            self.state.remove(f"cells/{day}")
            self._keep_days({*self.days} - {day})

    def _keep_days(self, days: set[int]) -> None:
        if days != set(self.days):
            self.days = sorted(days)
            self.state.put("cell_days", np.array(self.days, np.int32).tobytes())


def together(meter_ids: Int32s, others: Int32s) -> Int32s:
    """Rising meters, and those of the others that are not among them."""
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
def _each(values):
    """Each value once, rising. Quick where most values are the same as the one before."""
    begin = np.ones(len(values), np.bool_)
    for i in range(1, len(values)):
        begin[i] = values[i] != values[i - 1]
    return np.unique(values[begin])


@compiled
def _fill(cells, meter_ids, first, minutes, bits):
    """Merge minutes (PART) into the cells of the day that begins with minute `first`. bits: of their lowest powers, as float32."""
    row = 0
    for i in range(len(minutes)):
        column = minutes[i].minute - first
        if not 0 <= column < DAY_MINUTES:
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
