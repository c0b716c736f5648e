"""What is usual for a meter, from the shapes of its last local days (jobs.core.shapes), and how the rules of duration see it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import lz4.block
import numpy as np

from jobs.core.cells import HOUSE, UPPER_WATTS, code_of
from jobs.core.open_runs import LEVELS, OFF, SAME
from jobs.core.rows import picked, stacked
from jobs.core.shapes import HOURS, MOST
from jobs.core.spells import BAND_MINUTES
from jobs.core.state_version import require_version
from smartmeter.arrays import Bools, Bytes, Int32s, Ints, Rows
from smartmeter.compiled import compiled
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

ENDLESS_MINUTES = 2**28
"""What stands for a longest run of MOST minutes: an appliance that is always on, such as a router, is not on for too long some day."""

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

USUALS_VERSION = 1


def usual_record(days: Rows, mains: bool, least_days: int, beside_sources: bool = False) -> MeterUsualRecord | None:
    """What the shapes (SHAPE, rising) of a meter's last days say; None with fewer than least_days, at least 2.

    With no more than least_days days with use, the longest of their runs counts and no power is rare: it may have programs that have not
    been seen. With more, the second-longest counts, so that a long fault does not become usual.

    beside_sources: whether the house has solar or a battery. Its mains fall to 0 because of the sun, so no standby is usual.
    """
    used = int((days["longest"][:, 0] > 0).sum())
    if len(days) < least_days or used < min(LEAST_USED, least_days):
        return None
    longest = np.sort(days["longest"], axis=0)[-1 if used <= least_days else -2].tolist()
    falls = mains and not beside_sources
    return {
        "mains": mains,
        "longest_run_minutes": longest[:LEVELS],
        "longest_off_minutes": int(days["longest"][:, OFF].max()),
        "longest_same_minutes": longest[SAME],
        "longest_gap_minutes": int(np.sort(days["gap"])[-2]),
        "hour_watts": _hour_watts(days["held"]) if mains else [],
        "standby_watts": _standby_watts(days["standby"][-STANDBY_DAYS:]) if falls else None,
        "dead_watts": _dead_watts(days["standby"][-STANDBY_DAYS:]) if falls else None,
        "rare_watts": [] if mains or used <= least_days else _rare_watts(days["minutes_at"].astype(np.int64)),
    }


def source_record(days: Rows, least_days: int) -> MeterUsualRecord | None:
    """What is usual for a meter of solar or of a battery; None with fewer than least_days, at least 2. Sun and storage follow the weather and
    the house, so only equal readings and silences last for a usual time. All else may last for any time (MOST).
    """
    if len(days) < least_days:
        return None
    return {
        "mains": False,
        "longest_run_minutes": [MOST] * LEVELS,
        "longest_off_minutes": MOST,
        "longest_same_minutes": int(np.sort(days["longest"][:, SAME])[-1 if len(days) <= least_days else -2]),
        "longest_gap_minutes": int(np.sort(days["gap"])[-2]),
        "hour_watts": [],
        "standby_watts": None,
        "dead_watts": None,
        "rare_watts": [],
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
    """The spans of power, (from, to) one after the other, that an appliance seldom draws; minutes_at: int64 (days, CODES), minutes at each code.

    None, if on two days or more it spent over BAND_MINUTES at powers that are rare by the other days: new powers are usual then.
    """
    with_beside = minutes_at.copy()
    with_beside[:, 1:] += minutes_at[:, :-1]
    with_beside[:, :-1] += minutes_at[:, 1:]
    of_all = with_beside.sum(axis=0)
    minutes_at_new = np.where(_rare(of_all - with_beside), minutes_at, 0).sum(axis=1)
    if np.sort(minutes_at_new)[-2] > BAND_MINUTES:
        return []
    edges = np.flatnonzero(np.diff(_rare(of_all), prepend=False, append=False))
    spans: list[float] = UPPER_WATTS[edges - 1].tolist()
    return spans


def _rare(minutes: Ints) -> Bools:
    """Which codes are rare, by the minutes at each and the codes beside it (the last axis)."""
    rare: Bools = minutes < RARE_MINUTES
    rare[..., : int(code_of(np.array(RARE_FROM_WATTS))) + 1] = rare[..., -1] = False  # code 255 has no end
    return rare


def usual_row(meter_id: int, record: MeterUsualRecord) -> Rows:
    """USUAL (1,) of a record."""
    row = np.zeros(1, USUAL)
    row["meter_id"], row["mains"] = meter_id, record["mains"]
    row["longest"] = [*record["longest_run_minutes"], record["longest_off_minutes"], record["longest_same_minutes"]]
    row["longest"][row["longest"] >= MOST] = ENDLESS_MINUTES
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


class Usuals(NamedTuple):
    """What is usual for the meters of a house, by version of its thresholds."""

    from_minutes: Int32s  # int32 (v,), rising: the first minute of each version
    of_version: Int32s  # int32 (n,): the index of the version of each row
    rows: Rows  # USUAL (n,)

    def at(self, meter_ids: Int32s, minutes: Int32s) -> Int32s:
        """int32 (minutes, m): the index of the row that holds for each minute and meter, or -1. Both are rising."""
        at: Int32s = _at(self.from_minutes, self.of_version, self.rows, meter_ids, minutes)
        return at

    def to_bytes(self) -> bytes:
        """These in a stable form, as kept in checkpoints."""
        head = np.array([USUALS_VERSION, len(self.from_minutes), len(self.rows)], np.int32)
        packed: bytes = lz4.block.compress(b"".join(array.tobytes() for array in (head, *self)))
        return packed

    @classmethod
    @lru_cache(256)
    def from_bytes(cls, state: bytes | None) -> Usuals:
        """Inverse of to_bytes; none for None. Those of the last houses are kept, as they change once a day: some 20 kB each with 20 meters."""
        if state is None:
            return cls(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, USUAL))
        body = lz4.block.decompress(state)
        version, versions, rows = np.frombuffer(body, np.int32, 3).tolist()
        require_version(version, USUALS_VERSION)
        from_minutes, of_version = np.split(np.frombuffer(body, np.int32, versions + rows, 12), [versions])
        return cls(from_minutes, of_version, np.frombuffer(body, USUAL, offset=12 + 4 * (versions + rows)))

    def add(self, from_minute: int, rows: Rows) -> Usuals:
        """These with one more version, in place of one that begins with the same minute."""
        begun = self.from_minutes[self.of_version].tolist()
        others = [at for at, minute in enumerate(begun) if minute != from_minute]
        from_minutes = sorted({*self.from_minutes.tolist(), from_minute})
        of_version = [from_minutes.index(begun[at]) for at in others] + [from_minutes.index(from_minute)] * len(rows)
        every = stacked(picked(self.rows, np.array(others, int)), rows)
        return Usuals(np.array(from_minutes, np.int32), np.array(of_version, np.int32), every)

    def forget_before(self, minute: int) -> Usuals:
        """These without the versions that are replaced by a minute."""
        first = max(int(self.from_minutes.searchsorted(minute, side="right")) - 1, 0)
        if not first:
            return self
        kept = self.of_version >= first
        return Usuals(self.from_minutes[first:], self.of_version[kept] - np.int32(first), picked(self.rows, kept))


@compiled
def _at(from_minutes, of_version, rows, meter_ids, minutes):
    """See Usuals.at."""
    of_meter = np.full((len(from_minutes) + 1, len(meter_ids)), -1, np.int32)  # the last row: before all versions
    for i in range(len(rows)):
        column = np.searchsorted(meter_ids, rows[i].meter_id)
        if column < len(meter_ids) and meter_ids[column] == rows[i].meter_id:
            of_meter[of_version[i], column] = i
    at, version = np.empty((len(minutes), len(meter_ids)), np.int32), -1
    for i in range(len(minutes)):
        while version + 1 < len(from_minutes) and from_minutes[version + 1] <= minutes[i]:
            version += 1
        for m in range(len(meter_ids)):
            at[i, m] = of_meter[version, m]
    return at
