"""What is usual for meters by hand, and the spells that a scan of cells finds by it."""

from __future__ import annotations

import numpy as np

from jobs.core.cells import Cells, code_of
from jobs.core.durations import Durations, Scan
from jobs.core.open_runs import LEVELS, OFF, SAME, Rule
from jobs.core.spells import KINDS
from jobs.core.user_rules import NO_USER_RULES
from jobs.core.usual import USUAL, Usuals
from tests.unit.minute_cells import cells_of

LONG = 10_000
RULE = Rule(15, int(code_of(np.array(30.0))))


def code(watts: float) -> int:
    return int(code_of(np.array(watts)))


def usual(meter_id: int = 7, mains: bool = False, **columns) -> np.ndarray:
    """USUAL (1,) of a meter that breaks no rule, but for these columns."""
    row = np.zeros(1, USUAL)
    row["meter_id"], row["mains"], row["longest"], row["gap"] = meter_id, mains, LONG, LONG
    for name, value in columns.items():
        row[name] = value
    return row


def longest(**minutes: int) -> list[int]:
    """The column `longest`: over=..., off=..., same=..., and LONG elsewhere. over: of all levels."""
    row = [minutes.get("over", LONG)] * LEVELS + [LONG] * 2
    row[OFF], row[SAME] = minutes.get("off", LONG), minutes.get("same", LONG)
    return row


def always(*rows: np.ndarray) -> Usuals:
    """What is usual in every minute."""
    return Usuals.from_bytes(None).add(0, np.concatenate(rows))


def scan(cells: Cells, usuals: Usuals) -> Scan:
    """One in UTC without users' rules."""
    return Scan(cells, usuals, NO_USER_RULES, "UTC", RULE)


def spells_at(durations: Durations, cells: Cells, usuals: Usuals, clock_minute: int = 2000) -> np.ndarray:
    """SPELL: what a scan finds from the last closed day on."""
    return durations.closed.go_on(scan(cells, usuals), clock_minute + 1).all_spells(clock_minute)


def spells(meters: dict, usuals: Usuals, clock_minute: int = 10_000) -> list[dict]:
    """The spells in the cells of some meters, as dicts of their columns."""
    found = spells_at(Durations(), cells_of(meters), usuals, clock_minute)
    return [dict(zip(found.dtype.names, row)) | {"kind": KINDS[row["kind"]]} for row in found]


def starts(meters: dict, usuals: Usuals) -> list[tuple]:
    """(kind, meter, start, last) of each spell."""
    return [(s["kind"], s["meter_id"], s["start"], s["last"]) for s in spells(meters, usuals)]
