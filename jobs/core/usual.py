"""What is usual for a meter, from the shapes of its last local days (jobs.core.shapes), and how the rules of duration see it."""

from __future__ import annotations

import numpy as np

from jobs.core.cells import HOUSE, UPPER_WATTS, code_of
from jobs.core.open_runs import LEVELS, OFF, SAME
from jobs.core.shapes import HOURS
from smartmeter.arrays import Bytes, Ints, Rows
from smartmeter.messages.records import MeterUsualRecord

LEAST_USED = 4
"""With fewer days on which a meter was on, nothing is usual yet. It is less where SMW_USUAL_DAYS is."""

STANDBY_DAYS = 14
STANDBY_FACTOR, STANDBY_ADDED_WATTS = 1.5, 20.0
DEAD_FACTOR = 0.3
HOUR_ADDED_WATTS = 1000.0
HOURS_BESIDE = 2

RARE_FROM_WATTS = 50.0
RARE_MINUTES = 3

USUAL = np.dtype(
    [
        ("meter_id", "i4"),
        ("mains", "?"),
        ("longest", "i4", LEVELS + 2),  # in minutes, by the columns of jobs.core.open_runs: the run over each level; OFF; SAME
        ("gap", "i4"),  # the longest silence, in minutes
        ("hour", "u1", HOURS),  # code of the mains' limit in each hour since midnight; 0: none
        ("standby", "u1"),  # code that mains fall to within a day; 0: none
        ("dead", "u1"),  # code that mains stay over; 0: none
        ("rare", "u1", 256),  # of each code: 1 if it is a power that an appliance seldom draws
    ]
)
"""343 bytes."""


def usual_record(days: Rows, mains: bool, least_days: int) -> MeterUsualRecord | None:
    """What the shapes (SHAPE, rising) of a meter's last days say; None with fewer than least_days, at least 2.

    With no more than least_days days with use, the longest of their runs counts and no power is seldom: it may have programs that have not
    been seen. With more, the second-longest counts, so that a long fault does not become usual.
    """
    used = int((days["longest"][:, 0] > 0).sum())
    if len(days) < least_days or used < min(LEAST_USED, least_days):
        return None
    longest = np.sort(days["longest"], axis=0)[-1 if used <= least_days else -2].tolist()
    return {
        "mains": mains,
        "longest_run_minutes": longest[:LEVELS],
        "longest_off_minutes": int(days["longest"][:, OFF].max()),
        "longest_same_minutes": longest[SAME],
        "longest_gap_minutes": int(np.sort(days["gap"])[-2]),
        "hour_watts": _hour_watts(days["held"]) if mains else [],
        "standby_watts": _standby_watts(days["standby"][-STANDBY_DAYS:]) if mains else None,
        "dead_watts": _dead_watts(days["standby"][-STANDBY_DAYS:]) if mains else None,
        "rare_watts": [] if mains or used <= least_days else _rare_watts(days["minutes_at"].sum(axis=0)),
    }


def house_silence(days: Rows, least_days: int) -> int | None:
    """The longest that a house is usually silent, in minutes, from the shapes (SHAPE) of its last days; None with fewer than least_days."""
    return int(np.sort(days["gap"])[-2]) if len(days) >= least_days else None


def silence_row(minutes: int) -> Rows:
    """USUAL (1,) of a house that is usually silent for as long."""
    row = np.zeros(1, USUAL)
    row["meter_id"], row["gap"] = HOUSE, minutes
    return row


def _hour_watts(held: Bytes) -> list[float]:
    """The limit of each hour, from the codes of each day's hours, uint8 (days, HOURS): the highest of the hours up to HOURS_BESIDE beside it,
    and more.
    """
    highest = np.pad(held.max(axis=0), HOURS_BESIDE, mode="wrap")
    codes = np.lib.stride_tricks.sliding_window_view(highest, 2 * HOURS_BESIDE + 1).max(axis=1)
    watts: list[float] = (UPPER_WATTS[codes] + HOUR_ADDED_WATTS).tolist()
    return watts


def _standby_watts(codes: Bytes) -> float:
    return STANDBY_FACTOR * float(np.median(UPPER_WATTS[codes])) + STANDBY_ADDED_WATTS


def _dead_watts(codes: Bytes) -> float:
    return DEAD_FACTOR * float(UPPER_WATTS[codes.min()])


def _rare_watts(minutes_at: Ints) -> list[float]:
    """The spans of power, (from, to) one after the other, that an appliance seldom draws: with the steps beside them, under RARE_MINUTES."""
    beside = np.convolve(minutes_at, np.ones(3), "same")
    rare = beside < RARE_MINUTES
    rare[: int(code_of(np.array(RARE_FROM_WATTS))) + 1] = False
    edges = np.flatnonzero(np.diff(rare, prepend=False, append=False))
    spans: list[float] = UPPER_WATTS[np.minimum(edges - 1, 254)].tolist()
    return spans


def usual_row(meter_id: int, record: MeterUsualRecord) -> Rows:
    """USUAL (1,) of a record."""
    row = np.zeros(1, USUAL)
    row["meter_id"], row["mains"] = meter_id, record["mains"]
    row["longest"] = [*record["longest_run_minutes"], record["longest_off_minutes"], record["longest_same_minutes"]]
    row["gap"] = record["longest_gap_minutes"]
    if record["hour_watts"]:
        row["hour"] = code_of(np.array(record["hour_watts"]))
    for name, watts in (("standby", record["standby_watts"]), ("dead", record["dead_watts"])):
        if watts is not None:
            row[name] = code_of(np.array(watts))
    codes = code_of(np.array(record["rare_watts"]))
    for low, high in zip(codes[::2].tolist(), codes[1::2].tolist()):
        row["rare"][0, low + 1 : high + 1] = 1
    return row
