"""What each meter did on a local day, in figures that the days after it are judged by: longest runs, pauses, peaks by hour."""

from __future__ import annotations

from dataclasses import dataclass, field

import lz4.block
import numpy as np

from jobs.core.cells import Cells
from jobs.core.open_runs import (
    COLUMNS,
    LAST,
    LEVELS,
    LOW,
    NONE,
    OFF,
    SAME,
    SEEN,
    STEADY_CODES,
    Rule,
    advance,
    goes_on,
    held_rest,
    lasted,
    no_runs,
    rests,
    seen_by,
    silence,
)
from jobs.core.rows import picked, stacked
from jobs.core.state_version import require_version
from smartmeter.arrays import Int32s, Rows
from smartmeter.compiled import compiled

HOURS = 24
CODES = 256
STATE_VERSION = 1

SHAPE = np.dtype(
    [
        ("day", "i4"),  # local day, days since 1970-01-01
        ("meter_id", "i4"),
        ("minutes", "u2"),  # with readings
        ("minutes_at", "u1", CODES),  # those at each code of the lowest power; 255 stands for more, too
        ("longest", "u2", LEVELS + 2),  # in minutes, as of the day: the run over each level; OFF; SAME (jobs.core.open_runs)
        ("gap", "u2"),  # the longest silence between two minutes with readings (jobs.core.open_runs.silence)
        ("standby", "u1"),  # code that 5 % of the minutes' lowest powers stay at or below
        ("held", "u1", HOURS),  # code of the highest rest (jobs.core.open_runs) that HELD_MINUTES held in each hour since midnight
    ]
)
"""319 bytes. Most of them are 0, and little is left of a house's shapes once packed."""

STANDBY_SHARE = 0.05
MOST = 2**16 - 1
"""Longer runs count as this long: 45 days."""


@dataclass(eq=False)
class Shapes:
    """The SHAPE of each meter and closed day, and the runs that are open at the end of the last of them: state of the thresholds job."""

    end_minute: int = NONE  # of the last closed day, exclusive
    days: Rows = field(default_factory=lambda: np.empty(0, SHAPE))
    meter_ids: Int32s = field(default_factory=lambda: np.empty(0, np.int32))
    runs: Int32s = field(default_factory=lambda: no_runs(0))  # int32 (m, COLUMNS)

    def close(self, day: int, begin_minute: int, end_minute: int, cells: Cells, rule: Rule) -> None:
        """Add the shapes of a local day, from its first minute to its end."""
        begin_minute = max(begin_minute, self.end_minute)
        meter_ids, stretches = cells.between(begin_minute, end_minute, self.meter_ids)
        self._know(meter_ids)
        minutes, histogram = np.zeros((2, len(self.meter_ids), CODES), np.int32)
        longest, held = np.zeros((len(self.meter_ids), LEVELS + 3), np.int32), np.zeros((len(self.meter_ids), HOURS), np.uint8)
        for first, some in stretches:
            _scan(some, first, begin_minute, self.runs, longest, held, minutes, histogram, *rule)
        found = np.zeros(len(self.meter_ids), SHAPE)
        self.days = stacked(self.days, found[: _fill(found, day, self.meter_ids, longest, held, minutes, histogram)])
        self.end_minute = end_minute

    def _know(self, meter_ids: Int32s) -> None:
        """Make room for the open runs of these meters, which are the known ones and more."""
        if len(meter_ids) > len(self.meter_ids):
            runs = no_runs(len(meter_ids))
            runs[np.searchsorted(meter_ids, self.meter_ids)] = self.runs
            self.meter_ids, self.runs = meter_ids, runs

    def forget_before(self, day: int) -> None:
        """Drop the shapes of earlier days."""
        self.days = picked(self.days, self.days["day"] >= day)

    def to_bytes(self) -> bytes:
        """These shapes in a stable form, as kept in checkpoints."""
        head = np.array([STATE_VERSION, self.end_minute, len(self.meter_ids)], np.int32).tobytes()
        packed: bytes = lz4.block.compress(head + self.meter_ids.tobytes() + self.runs.tobytes() + self.days.tobytes())
        return packed

    @classmethod
    def from_bytes(cls, state: bytes | None) -> Shapes:
        """Inverse of to_bytes; none for None."""
        if state is None:
            return cls()
        body = bytearray(lz4.block.decompress(state))
        version, end_minute, meters = np.frombuffer(body, np.int32, 3).tolist()
        require_version(version, STATE_VERSION)
        meter_ids = np.frombuffer(body, np.int32, meters, 12)
        runs = np.frombuffer(body, np.int32, meters * COLUMNS, 12 + meter_ids.nbytes).reshape(meters, COLUMNS)
        return cls(end_minute, np.frombuffer(body, SHAPE, offset=12 + meter_ids.nbytes + runs.nbytes), meter_ids, runs)


@compiled
def _scan(cells, first, midnight, runs, longest, held, minutes, histogram, most_missing, off_code):
    """Take in cells from minute `first` on: advance the open runs, and add to the figures of the day that began at `midnight`."""
    seen_at, rest_at = seen_by(cells[0], runs[0, SEEN]), rests(cells, runs[:, LAST], first)
    for m in range(len(cells)):
        open_runs = runs[m]
        for i in range(len(cells[m])):
            cell = cells[m, i]
            if cell.low == 0:
                continue
            minute, seen, rest = first + i, seen_at[i], rest_at[m, i]
            together, hour = goes_on(open_runs, minute, most_missing), min((minute - midnight) // 60, HOURS - 1)
            if together and abs(open_runs[LOW] - cell.low) <= STEADY_CODES:
                histogram[m, cell.low] += 1
            held[m, hour] = max(held[m, hour], held_rest(open_runs, rest, together))
            longest[m, SAME + 1] = max(longest[m, SAME + 1], silence(open_runs, minute, seen if m else -1))
            advance(open_runs, cell, minute, seen, rest, most_missing, off_code)
            for level in range(LEVELS):
                if open_runs[level] == NONE:
                    break
                longest[m, level] = max(longest[m, level], lasted(open_runs[level], minute))
            for run in (OFF, SAME):
                longest[m, run] = max(longest[m, run], lasted(open_runs[run], minute))
            minutes[m, cell.low] += 1


@compiled
def _fill(found, day, meter_ids, longest, held, minutes, histogram):
    """Fill in the shapes of a day, of the meters with readings. Returns their number."""
    size = 0
    for m in range(len(meter_ids)):
        with_readings = np.sum(minutes[m])
        if with_readings == 0:
            continue
        shape, size = found[size], size + 1
        shape.day, shape.meter_id, shape.minutes, shape.standby = day, meter_ids[m], with_readings, _low_code(minutes[m], with_readings)
        shape.gap = min(longest[m, SAME + 1], MOST)
        for run in range(SAME + 1):
            shape.longest[run] = min(longest[m, run], MOST)
        for hour in range(HOURS):
            shape.held[hour] = held[m, hour]
        for code in range(CODES):
            shape.minutes_at[code] = min(histogram[m, code], CODES - 1)
    return size


@compiled
def _low_code(minutes_by_code, minutes):
    """The code that STANDBY_SHARE of a meter's minutes are at or below."""
    code, left = 0, np.floor(STANDBY_SHARE * (minutes - 1)) + 1
    while minutes_by_code[code] < left:
        left -= minutes_by_code[code]
        code += 1
    return code
