"""Faults of synthetic houses: the ground truth that alerts are scored against.

A kind of fault has the name of the kind of alert that should find it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from smartmeter.arrays import Float32s, Ints

Kind = Literal["level", "run", "band", "off", "hour", "standby", "dead", "frozen", "silent", "glitch"]
ADDED: frozenset[Kind] = frozenset({"level", "hour", "standby"})
HELD: frozenset[Kind] = frozenset({"run", "band", "off"})
OF_METER: frozenset[Kind] = frozenset({"dead", "frozen", "silent", "glitch"})
"""Only the meter fails. The power that flows, and so what the mains measure, stays as it is."""

RATES: dict[Kind, float] = {
    "level": 0.3,
    "run": 0.05,
    "band": 0.05,
    "off": 0.05,
    "hour": 0.05,
    "standby": 0.05,
    "dead": 0.03,
    "frozen": 0.05,
    "silent": 0.05,
    "glitch": 0.06,
}
"""Faults of each kind that begin at a house in a day, in the mean."""

LONGEST_DAYS = 2
"""A fault ends no later than this many days after the one on which it begins."""

HISTORY_DAYS = 7
"""Without as many days of readings, nothing is usual for a meter, and only a level or a glitch can be found."""

GLITCH_WATTS = 32_768.0
TOLERANCE_MS = 15 * 60_000
"""An alert that begins this soon after a fault still belongs to it."""


@dataclass(frozen=True)
class Fault:
    """Ground truth: a fault of meter_id in [start_ms, end_ms).

    watts is added to the power that flows (kinds in ADDED), takes its place (HELD), or is what the meter sends whatever flows (OF_METER).
    """

    house_id: int
    meter_id: int
    kind: Kind
    start_ms: int
    end_ms: int
    watts: float


def belongs(start_ms: int, end_ms: int, fault_start_ms: int, fault_end_ms: int) -> bool:
    """Whether an alert in [start_ms, end_ms) belongs to a fault: it overlaps the fault or the time of tolerance after it."""
    return start_ms < fault_end_ms + TOLERANCE_MS and end_ms > fault_start_ms


def apply(fault: Fault, times_ms: Ints, watts: Float32s) -> None:
    """Change the readings of a meter that lie in a fault, in place. A silent meter's readings are left: see without_silent."""
    begin, end = np.searchsorted(times_ms, [fault.start_ms, fault.end_ms])
    if fault.kind in ADDED:
        watts[begin:end] += np.float32(fault.watts)
    elif fault.kind in HELD:
        noise = np.random.default_rng([fault.house_id, fault.meter_id, int(times_ms[0]) // 1000]).standard_normal(
            end - begin, dtype=np.float32
        )
        watts[begin:end] = np.float32(fault.watts) * np.maximum(1 + np.float32(0.02) * noise, 0)
    elif fault.kind != "silent":
        watts[begin:end] = np.float32(fault.watts)


def without_silent(faults: Iterable[Fault], times_ms: Ints, watts: Float32s) -> tuple[Ints, Float32s]:
    """The readings of a meter that are sent in spite of its faults."""
    for fault in faults:
        if fault.kind == "silent":
            sent = (times_ms < fault.start_ms) | (times_ms >= fault.end_ms)
            times_ms, watts = times_ms[sent], watts[sent]
    return times_ms, watts


def write_ground_truth(path: Path, faults: Iterable[Fault]) -> None:
    """Write faults to a CSV file with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(field.name for field in fields(Fault))
        rows.writerows(astuple(fault) for fault in faults)


def read_ground_truth(path: Path) -> list[Fault]:
    """Inverse of write_ground_truth."""
    with open(path, newline="") as lines:
        return [
            Fault(
                int(row["house_id"]),
                int(row["meter_id"]),
                row["kind"],  # type: ignore[arg-type]
                int(row["start_ms"]),
                int(row["end_ms"]),
                float(row["watts"]),
            )
            for row in csv.DictReader(lines)
        ]
