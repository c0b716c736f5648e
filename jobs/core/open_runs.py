"""The runs of a meter that are open: since which minute it has been over each level, off, or at one power.

A minute with readings goes on from the meter's minute with readings before it, if no more than a reading's hold lies between them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jobs.core.cells import DAY_MINUTES, FIRST_LEVEL_WATTS, STEPS_BELOW, STEPS_PER_OCTAVE, UPPER_WATTS, code_of, step_of
from smartmeter.arrays import Int32s
from smartmeter.compiled import compiled
from smartmeter.settings import Settings

LEVELS = 11
LEVEL_WATTS = tuple(FIRST_LEVEL_WATTS * 2**level for level in range(LEVELS))
"""30 W to 31 kW."""

OFF, SAME, LAST, SEEN, LOW, DIGEST, REST = range(LEVELS, LEVELS + 7)
"""Columns of a meter's open runs. Before them: the first minute of its run over each level, or NONE. OFF: of its run at or under the power
of an appliance that is off. SAME: of its run at one power. LAST: its last minute with readings, or NONE; SEEN: how many minutes the
house had readings by then; LOW, DIGEST: of its cell then; REST: of its last HELD_MINUTES - 1 minutes, the code of the rest (see rests)."""

HELD_MINUTES = 5
COLUMNS = REST + HELD_MINUTES - 1
STEADY_CODES = 1
"""The power of consecutive minutes is steady if their codes differ by no more: 9 % at most."""
NONE = -(2**31)


class Rule(NamedTuple):
    """How many minutes without readings lie within a run at most, and the highest code of an appliance that is off."""

    most_missing: int
    off_code: int

    @classmethod
    def of(cls, settings: Settings) -> Rule:
        """The rule in the settings."""
        return cls(int(settings.rules.max_gap_s // 60), int(code_of(np.array(settings.rules.on_watts))))


def no_runs(meters: int) -> Int32s:
    """The open runs of meters without a reading, int32 (meters, COLUMNS)."""
    runs = np.full((meters, COLUMNS), NONE, np.int32)
    runs[:, SEEN], runs[:, REST:] = 0, 0
    return runs


@compiled
def level_code(level):
    """The code of a level's power: a cell is over it if its lowest code is higher."""
    return STEPS_BELOW + 1 + STEPS_PER_OCTAVE * level


@compiled
def goes_on(runs, minute, most_missing):
    """Whether a minute with readings goes on from the one before it."""
    return runs[LAST] != NONE and minute - runs[LAST] - 1 <= most_missing


@compiled
def advance(runs, cell, minute, seen, rest, most_missing, off_code):
    """Take in a cell with readings: the next of the meter. seen: how many minutes the house had readings by then; rest: see rests."""
    together = goes_on(runs, minute, most_missing)
    for level in range(LEVELS):
        over = cell.low > level_code(level)
        if not over and runs[level] == NONE:
            break  # nor is it, or was it, over a higher one
        runs[level] = since(runs[level], over, together, minute)
    runs[OFF] = since(runs[OFF], cell.high <= off_code, together, minute)
    runs[SAME] = since(runs[SAME], cell.same > 0 and cell.low > off_code, together and cell.same == runs[DIGEST], minute)
    for held in range(COLUMNS - 1, REST, -1):
        runs[held] = runs[held - 1] if together else 0
    runs[LAST], runs[SEEN], runs[LOW], runs[DIGEST], runs[REST] = minute, seen, cell.low, cell.same, rest


@compiled
def held_rest(runs, rest, together):
    """The code of the rest that a minute and the HELD_MINUTES - 1 before it reach; 0 where one has none. Called before advance."""
    return min(rest, np.min(runs[REST:COLUMNS])) if together else 0


@compiled
def rests(cells, last_minutes, first):
    """uint8 (m, minutes): of each meter, the code of the power that is left of its lowest after the highest of all others: for the mains
    of a house, what no other meter measures. 0 where the meter, or another one with readings in the day before, has no reading.

    cells: from minute `first` on, the house's first; last_minutes: int32 (m,), each meter's last minute with readings before it, or NONE.
    """
    rest = np.zeros(cells.shape, np.uint8)
    total_watts, complete = np.zeros(cells.shape[1]), np.ones(cells.shape[1], np.bool_)
    for m in range(1, len(cells)):
        last = last_minutes[m]
        for i in range(cells.shape[1]):
            if cells[m, i].low:
                total_watts[i] += UPPER_WATTS[cells[m, i].high]
                last = first + i
            elif last != NONE and first + i - last < DAY_MINUTES:
                complete[i] = False
    for m in range(1, len(cells)):
        for i in range(cells.shape[1]):
            if complete[i] and cells[m, i].low:
                watts = UPPER_WATTS[cells[m, i].low] - (total_watts[i] - UPPER_WATTS[cells[m, i].high])
                rest[m, i] = step_of(watts)
    return rest


@compiled
def silence(runs, minute, seen):
    """For how many minutes a meter had no readings before a minute: of those in which its house had some; of the house, of all.

    seen: how many minutes the house had readings by then; -1 for the house itself.
    """
    if runs[LAST] == NONE:
        return 0
    return minute - runs[LAST] - 1 if seen < 0 else seen - runs[SEEN] - 1


@compiled
def seen_by(house, seen):
    """int32 (minutes,): in how many minutes a house has had readings by each one. house: its cells; seen: the number before."""
    found = np.empty(len(house), np.int32)
    for i in range(len(house)):
        seen += house[i].low > 0
        found[i] = seen
    return found


@compiled
def since(begun, holds, together, minute):
    """The first minute of a run after one more minute; NONE without a run."""
    if not holds:
        return NONE
    return begun if together and begun != NONE else minute


@compiled
def lasted(begun, minute):
    """The length in minutes of a run that holds in a minute; 0 without one."""
    return 0 if begun == NONE else minute - begun + 1
