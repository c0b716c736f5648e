"""The power of each meter over each minute (UTC): lowest, mean and highest reading, from readings that come in any order.

What a section adds to a minute is a *piece*. A minute is *settled*, told and forgotten when the house's clock is
SETTLED_AFTER_MS past its end. Pieces that come before join into its main part. One that comes later is told at once, as a
*part* of its own named by the start of its section: sections of a meter that are used never overlap, so no name comes
twice, and nothing need be kept of what was told. Which of the two a piece is depends on the house's newest reading before its
burst, never on how bursts were batched.

Means are of whole mW. Integer sums do not depend on their order, so results are the same to the last bit however the
readings were cut. A minute has at most 60,000 readings of a meter, each at a ms of its own; so a sum does not overflow when
each counts MOST_WATTS at most.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from jobs.compiled import compiled
from jobs.integral import require_version
from jobs.readings import Readings

MINUTE_MS = 60_000
SETTLED_AFTER_MS = 10_000
MOST_WATTS = np.float32(1e11)
"""What is over it counts as so much in a mean, which yet is never less than the minute's lowest reading."""

PLUS_ZERO = np.float32(0)
"""Makes a plain 0 of -0.0: which of the two is the lowest would depend on their order."""

STATE_VERSION = 1
_HEAD = struct.Struct("<B")

PIECE = np.dtype([
    ("minute", "i4"),  # minutes since 1970-01-01T00:00Z
    ("readings", "i4"),
    ("min_watts", "f4"),
    ("max_watts", "f4"),
    ("sum_mw", "i8"),
])
"""24 bytes."""

PART = np.dtype([
    ("part", "i8"),  # 0: the main part; else the start in ms of the section that came later
    ("meter_id", "i4"),
    *PIECE.descr,
])
"""36 bytes."""


def pieces(sections: np.ndarray, readings: Readings) -> np.ndarray:
    """PIECE of all minutes that have readings, section by section and rising; fills in sections["minutes"]."""
    found = np.empty(len(readings.columns.watts), PIECE)
    return found[:_fill(found, sections, readings.columns.gap_ms, readings.columns.watts)].copy()


@compiled
def _fill(pieces, sections, gap_ms, watts):
    """Fill in the pieces of all sections. Returns how many there are."""
    n = p = 0
    for s in range(len(sections)):
        section = sections[s]
        begin, time_ms = p, section.first_ms
        for at in range(n, n + section.readings):
            if at > n:
                time_ms += gap_ms[at]
            minute = time_ms // MINUTE_MS
            if p == begin or pieces[p - 1].minute != minute:
                pieces[p].minute, pieces[p].readings, pieces[p].sum_mw = minute, 0, 0
                pieces[p].min_watts, pieces[p].max_watts = np.inf, 0
                p += 1
            piece = pieces[p - 1]
            piece.readings += 1
            piece.sum_mw += whole_mw(watts[at])
            piece.min_watts, piece.max_watts = min(piece.min_watts, watts[at] + PLUS_ZERO), max(piece.max_watts, watts[at] + PLUS_ZERO)
        n += section.readings
        section.minutes = p - begin
    return p


@compiled
def whole_mw(watts):
    """A power in mW, none over MOST_WATTS."""
    return np.int64(np.rint(np.float64(min(watts, MOST_WATTS)) * 1000))


def parts(sections: np.ndarray, pieces: np.ndarray, used: np.ndarray, clock_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(PART, section it comes from, int (k,)) of each piece of the sections (ARRIVED (b,)) that are used (bool (b,)).

    clock_ms: int64 (b,), the house's newest reading before these sections, beside what each knows of it.
    """
    section = np.repeat(np.arange(len(sections)), sections["minutes"])
    picked = np.flatnonzero(used[section])
    section, pieces = section[picked], pieces.take(picked)
    found = np.empty(len(pieces), PART)
    found["meter_id"] = sections["meter_id"][section]
    for column in PIECE.names:
        found[column] = pieces[column]
    came_late = settled_ms(pieces["minute"]) <= np.maximum(sections["before_ms"], clock_ms)[section]
    found["part"] = np.where(came_late, sections["start_ms"][section], 0)
    return found, section


def settled_ms(minute: np.ndarray) -> np.ndarray:
    """int64 (n,): what the house's clock shows when a minute is settled."""
    return (minute.astype(np.int64) + 1) * MINUTE_MS + SETTLED_AFTER_MS


def mean_watts(minutes: np.ndarray) -> np.ndarray:
    """float32 (n,): the mean of each PART, within 0.5 mW and the precision of a float32."""
    mean = (minutes["sum_mw"] / (minutes["readings"] * 1000)).astype(np.float32)
    return mean.clip(minutes["min_watts"], minutes["max_watts"])


@dataclass(eq=False)
class Minutes:
    """The main parts (PART) of the minutes of a house that are not settled: the keyed state of the power profile job."""

    open: np.ndarray = field(default_factory=lambda: np.empty(0, PART))

    def to_bytes(self) -> bytes:
        """These minutes in a stable form, as kept in checkpoints."""
        return _HEAD.pack(STATE_VERSION) + self.open.tobytes()

    @classmethod
    def from_bytes(cls, state: bytes | None) -> "Minutes":
        """The minutes that to_bytes gave; none for None."""
        if state is None:
            return cls()
        require_version(state[0], STATE_VERSION)
        return cls(np.frombuffer(state, PART, offset=_HEAD.size))


def settle(minutes: list[Minutes], house: np.ndarray, arrived: np.ndarray, clock_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Let the minutes of houses take in parts (PART (n,), those of house[n]), in any order; clock_ms: of each, its newest reading.

    Returns what is to be told, (house, PART) by house, part, meter and minute: minutes that are settled now, and what came later.
    """
    house = np.concatenate([np.repeat(np.arange(len(minutes)), [len(m.open) for m in minutes]), house])
    house, every = merged(house, np.concatenate([*(m.open for m in minutes), arrived], dtype=PART))
    told = (every["part"] > 0) | (settled_ms(every["minute"]) <= clock_ms[house])
    kept = every.compress(~told)
    for own, (begin, end) in zip(minutes, pairwise(np.searchsorted(house[~told], np.arange(len(minutes) + 1)).tolist())):
        own.open = kept[begin:end]
    return house[told], every.compress(told)


def merged(house: np.ndarray, minutes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(house, PART) by house, part, meter and minute, those of the same made one."""
    part, place = minutes["part"], minutes["meter_id"].astype(np.int64) << 32 | minutes["minute"]
    order = np.lexsort((place, part, house))
    house, minutes, begin = house[order], minutes.take(order), begins(house[order], part[order], place[order])
    if len(begin) == len(minutes):
        return house, minutes
    whole = minutes.take(begin)
    for column, fold in (("readings", np.add), ("sum_mw", np.add), ("min_watts", np.minimum), ("max_watts", np.maximum)):
        whole[column] = fold.reduceat(minutes[column], begin)
    return house[begin], whole


def begins(*columns: np.ndarray) -> np.ndarray:
    """Index of the first of each run of equal rows, of columns (n,)."""
    new = np.zeros(len(columns[0]), bool)
    new[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(new)
