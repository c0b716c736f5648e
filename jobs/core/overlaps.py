"""Bursts that overlap in part with earlier ones: a reading of a meter counts once, and the new part of a burst is used.

A worker reduces bursts to sections before it can look up what their house has received. So the bursts that may overlap (see Horizon) travel
with their readings. If one does overlap, `cut` splits its sections into new pieces and pieces that were received before. The code after it
treats each piece as a burst of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.core.batches import NO_WHOLE, Batch, Batches, Wanted, Whole, house_batches
from jobs.core.house_days import HouseDays, Rules
from jobs.core.quantities import REFUSED
from jobs.core.readings import BURST, Columns, Readings
from smartmeter.arrays import Bools, Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import NEVER
from smartmeter.messages.codec import POWER
from smartmeter.settings import DAY_MS

HOUSES = 2**18
"""Places in a worker's memory of houses, 64 bytes each: 17 MB. Houses whose ids are equal modulo this number share a place."""

LOOK_BACK_MS = 2 * DAY_MS
"""How long a house's bursts travel with their readings after the first one that this worker sees, if others may have come before it. Data
older than the local day before a house's newest reading is late in any case."""

SEEN = np.dtype(
    [
        ("house_id", "i8"),  # 0: the place is free
        ("unseen_ms", "i8"),  # bursts before the first that this worker saw of the house may reach this far; or NEVER
        ("end_ms", "i8"),  # latest end of its bursts that count
        ("clock_ms", "i8"),  # the newest reading of these, but not of one that was set aside
        ("aside_start_ms", "i8"),  # start and end of the one that is set aside (jobs.core.jumps); or NEVER
        ("aside_end_ms", "i8"),
        ("ahead_start_ms", "i8"),  # each burst that was ever set aside, and ends at end_ms or later, lies between these; or -NEVER, NEVER
        ("ahead_end_ms", "i8"),
    ]
)


class Horizon:
    """A worker's memory of how far the bursts of each house reach that it has reduced to sections.

    It is a hint. A burst that carries its readings needlessly costs time. One that overlaps in part without them is reported as late.
    """

    def __init__(self, allowed_lateness_ms: int, max_jump_ms: int, houses: int = HOUSES):
        """max_jump_ms: that of jobs.core.jumps."""
        self.seen = np.zeros(houses, SEEN)
        self.over_after_ms = allowed_lateness_ms + LOOK_BACK_MS
        self.max_jump_ms = max_jump_ms
        self.from_start: dict[int, bool] = {}  # partition -> whether this worker read it from its first message

    def passed(self, bursts: Rows, partition: Ints, offset: Ints) -> Bools:
        """Record the bursts (BURST (b,), those of a house in order of arrival). Returns bool (b,): which may overlap with earlier ones.

        partition, offset: those of each message, in order of arrival.
        """
        for number in set(partition.tolist()).difference(self.from_start):
            self.from_start[number] = bool(offset[partition == number][0] == 0)
        from_start = np.array([self.from_start[number] for number in partition.tolist()], bool)
        may_overlap = np.empty(len(bursts), bool)
        _pass(self.seen, bursts, from_start, self.over_after_ms, self.max_jump_ms, may_overlap)
        return may_overlap


@compiled
def _pass(seen, bursts, from_start, over_after_ms, max_jump_ms, may_overlap):
    """See Horizon.passed. A burst may overlap unless it begins exactly where all earlier ones end, or is certainly late."""
    for b in range(len(bursts)):
        burst = bursts[b]
        may_overlap[b] = False
        if not burst.channels:
            continue
        house = seen[burst.house_id % len(seen)]
        if house.house_id != burst.house_id:
            is_first = house.house_id == 0 and from_start[burst.message]
            house.house_id, house.end_ms, house.clock_ms = burst.house_id, NEVER, NEVER
            house.aside_start_ms, house.aside_end_ms, house.ahead_start_ms, house.ahead_end_ms = NEVER, NEVER, -NEVER, NEVER
            house.unseen_ms = NEVER if is_first else burst.end_ms + LOOK_BACK_MS
        goes_on = house.unseen_ms <= burst.start_ms == house.end_ms and burst.end_ms <= house.ahead_start_ms
        may_overlap[b] = not goes_on and burst.end_ms + over_after_ms > house.clock_ms
        _count(house, burst, max_jump_ms)
        if house.ahead_end_ms <= house.end_ms:
            house.ahead_start_ms, house.ahead_end_ms = -NEVER, NEVER


@compiled
def _count(house, burst, max_jump_ms):
    """Move the end of a house (SEEN) on by a burst, at most as far as jobs.core.jumps does, which also knows of meters."""
    has_aside = house.aside_start_ms > NEVER
    is_ahead = house.end_ms > NEVER and burst.start_ms > house.end_ms + max_jump_ms
    if is_ahead and has_aside and house.aside_start_ms <= burst.start_ms and burst.end_ms <= house.aside_end_ms:
        return
    if is_ahead and has_aside and burst.start_ms >= house.aside_start_ms - max_jump_ms:
        house.end_ms, house.aside_start_ms = house.aside_end_ms, NEVER
        is_ahead = burst.start_ms > house.end_ms + max_jump_ms
    if is_ahead:
        house.aside_start_ms, house.aside_end_ms = burst.start_ms, burst.end_ms
        house.ahead_start_ms = min(house.ahead_start_ms, burst.start_ms)
        house.ahead_end_ms = max(house.ahead_end_ms, burst.end_ms)
        return
    moves_on = burst.end_ms > house.end_ms
    house.clock_ms, house.end_ms = max(house.clock_ms, burst.newest_ms), max(house.end_ms, burst.end_ms)
    if moves_on:
        if house.aside_start_ms > NEVER and house.aside_start_ms <= house.end_ms + max_jump_ms:
            house.end_ms = max(house.end_ms, house.aside_end_ms)
        house.aside_start_ms = NEVER


def cut(batch: Batch, house: HouseDays, rules: Rules, wanted: Wanted) -> Batch:
    """The batch, before its house takes it in, with the sections that overlap in part and carry their readings cut into pieces.

    No piece overlaps in part with the house's sections or with earlier ones of the batch.
    """
    of_register = batch.sections["quantity"] != POWER
    if not len(batch.whole.number) and not of_register.any():
        return batch
    of_section, start_ms = house.cuts(batch.sections, of_register | np.isin(batch.sections["burst"], batch.whole.number), rules)
    if not len(of_section):
        return replace(batch, whole=NO_WHOLE)
    of_registers = of_register[of_section]
    pieces = _power_pieces(batch, of_section[~of_registers], start_ms[~of_registers], rules, wanted)
    if of_registers.any():
        sections, energies = _register_pieces(batch, of_section[of_registers], start_ms[of_registers])
        pieces = replace(pieces, sections=np.append(pieces.sections, sections), energies=energies)
    return _spliced(batch, np.append(of_section[~of_registers], of_section[of_registers]), pieces)


def _power_pieces(batch: Batch, of_section: Ints, start_ms: Ints, rules: Rules, wanted: Wanted) -> Batches:
    """The pieces of sections of power."""
    columns = _columns(batch, of_section, start_ms)
    nowhere = np.zeros(len(of_section), np.int64)
    pieces = house_batches(Readings([batch.timezone], columns), nowhere, nowhere, rules.max_sample_period_ms, wanted)
    for name in ("burst", "partition", "offset", "before_ms"):
        pieces.sections[name] = batch.sections[name][of_section]
    return pieces


def _register_pieces(batch: Batch, of_section: Ints, start_ms: Ints) -> tuple[Rows, Rows]:
    """(ARRIVED, ENERGY) of the pieces of sections of registers."""
    pieces, ends, found = batch.sections[of_section], np.cumsum(batch.sections["energies"]), []
    goes_on = np.append(of_section[1:] == of_section[:-1], False)
    end_ms = np.where(goes_on, np.append(start_ms[1:], 0), pieces["end_ms"])
    for piece, s, begin_ms, until_ms in zip(pieces, of_section.tolist(), start_ms.tolist(), end_ms.tolist()):
        energies = batch.energies[ends[s] - batch.sections["energies"][s] : ends[s]]
        energies = energies[(energies["time_ms"] >= begin_ms) & (energies["time_ms"] < until_ms)]
        refused = energies["mwh"] < 0
        times_ms = energies["time_ms"][~refused]
        piece["start_ms"], piece["end_ms"], piece["energies"] = begin_ms, until_ms, len(energies)
        piece["readings"], piece["refused"] = len(times_ms), -energies["mwh"][refused].sum()
        piece["first_ms"], piece["last_ms"] = times_ms[[0, -1]] if len(times_ms) else (0, 0)
        piece["max_gap_ms"] = np.diff(times_ms).max(initial=0)
        found.append(energies)
    return pieces, np.concatenate(found)


def _columns(batch: Batch, of_section: Ints, start_ms: Ints) -> Columns:
    """The pieces of the sections, each as a burst of one channel."""
    sections = batch.sections[of_section]
    bursts = np.zeros(len(sections), BURST)
    bursts["house_id"], bursts["start_ms"], bursts["channels"] = batch.house_id, start_ms, 1
    goes_on = np.append(of_section[1:] == of_section[:-1], False)
    bursts["end_ms"] = np.where(goes_on, np.append(start_ms[1:], 0), sections["end_ms"])
    most = int(batch.sections["readings"][np.unique(of_section)].sum())
    columns = Columns(
        bursts,
        sections["meter_id"].astype(np.int64),
        np.zeros(len(sections), np.int64),
        np.zeros(len(sections), np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.float32),
        np.empty(len(batch.whole.columns.refused), REFUSED),
    )
    refused = _fill(columns, sections, *_channels(batch.whole), batch.whole.columns)
    return columns._replace(refused=columns.refused[:refused])


def _channels(whole: Whole) -> tuple[Ints, Ints, Ints]:
    """(number of its burst, start of that burst in ms, index of its first reading) of each channel, int64 (c,)."""
    channels, count = whole.columns.bursts["channels"], whole.columns.count
    return whole.number.repeat(channels), whole.columns.bursts["start_ms"].repeat(channels), np.cumsum(count) - count


@compiled
def _fill(pieces, sections, number, start_ms, first, whole):
    """Fill in the readings and the refusals of the pieces, which are sorted by channel (number, start_ms, first) and time.

    sections: the section of each piece. Returns the number of refusals.
    """
    c, n, r, refused, at, time_ms = -1, 0, 0, 0, 0, np.int64(0)
    for p in range(len(sections)):
        piece, section = pieces.bursts[p], sections[p]
        while c < 0 or number[c] != section.burst or whole.meter_id[c] != section.meter_id:
            c += 1
            at, time_ms = first[c], start_ms[c]
        piece.newest_ms, before_ms = NEVER, piece.start_ms
        pieces.period_ms[p] = whole.period_ms[c]
        while at < first[c] + whole.count[c] and time_ms + whole.gap_ms[at] < piece.end_ms:
            time_ms += whole.gap_ms[at]
            if time_ms >= piece.start_ms:
                pieces.gap_ms[n], pieces.watts[n] = time_ms - before_ms, whole.watts[at]
                piece.newest_ms = before_ms = time_ms
                pieces.count[p] += 1
                n += 1
            at += 1
        while r < len(whole.refused) and (
            whole.refused[r].channel < c or (whole.refused[r].channel == c and whole.refused[r].time_ms < piece.end_ms)
        ):
            refusal = whole.refused[r]
            if refusal.channel == c and refusal.time_ms >= piece.start_ms:
                pieces.refused[refused].channel = p
                pieces.refused[refused].time_ms, pieces.refused[refused].readings = refusal.time_ms, refusal.readings
                refused += 1
            r += 1
    return refused


def _spliced(batch: Batch, of_section: Ints, pieces: Batches) -> Batch:
    """The batch with some of its sections replaced by their pieces."""
    kept = np.ones(len(batch.sections), bool)
    kept[of_section] = False
    place = np.concatenate([np.flatnonzero(kept), of_section])
    sections = np.concatenate([batch.sections[kept], pieces.sections])

    def entries(number: str, column: str) -> NDArray[Any]:
        own = getattr(batch, column)[np.repeat(kept, batch.sections[number])]
        entries: NDArray[Any] = np.concatenate([own, getattr(pieces, column)])
        return entries[np.argsort(np.repeat(place, sections[number]), kind="stable")]

    return replace(
        batch,
        sections=sections[np.argsort(place, kind="stable")],
        bin=entries("bins", "bin"),
        count=entries("bins", "count"),
        minutes=entries("minutes", "minutes"),
        hours=entries("hours", "hours"),
        gap_ms=entries("carried", "gap_ms"),
        watts=entries("carried", "watts"),
        energies=entries("energies", "energies"),
        whole=NO_WHOLE,
    )
