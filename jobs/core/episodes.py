"""Spikes: readings over the limit in force at their time, and the episodes that they form.

A *run* is a sequence of consecutive readings of one meter, all over their limit, each of which holds until the next one. A reading holds until
the meter's next one, but no longer than the period of its channel (without one, max_sample_period_ms). An *episode* is a sequence of runs.
Each starts within hold_ms of the last reading of the one before, so a load that flickers around its limit makes one episode.

Runs arrive in pieces, as readings do. Each piece stores the time of the reading after it, if that has arrived. Pieces are linked only when
results are computed, so readings may come in any order: a late one may prolong an episode, split it, or move its start.

Each version of a house's thresholds is in force for a span of time. The version that judges a reading depends only on the reading's time,
never on what has arrived by then.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from jobs.core.batches import Batch
from jobs.core.energy import energies
from jobs.core.rows import picked, stacked
from jobs.core.state_version import require_version, widened
from jobs.core.user_rules import NO_USER_RULES, SPIKE, UserRules
from smartmeter.arrays import Bools, Float32s, Floats, Int32s, Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.messages.records import MeterThresholdRecord, ThresholdRecord
from smartmeter.settings import Settings

UNKNOWN = 2**62
"""Stands for the time of a reading that has not arrived."""

RUN = np.dtype(
    [
        ("meter_id", "i4"),
        ("start_ms", "i8"),  # first and last reading
        ("last_ms", "i8"),
        ("next_ms", "i8"),  # the meter's earliest later reading so far, or UNKNOWN
        ("readings", "i8"),
        ("peak_watts", "f4"),
        ("percentile_watts", "f8"),  # in force at the start
        ("limit_watts", "f8"),
        ("last_over_watts", "f8"),  # by how much the last reading exceeds its limit
        ("excess_mj", "i8"),  # energy over the limit, without that of the last reading; integers of jobs.core.energy
        ("excess_rest", "i8"),
        ("period_ms", "i4"),  # how long the last reading holds at most; 0: SMW_MAX_GAP_S
    ]
)
"""84 bytes."""

RUN_1 = np.dtype(RUN.descr[:-1])
"""A run as stored in state of version 1."""

EPISODE = np.dtype(
    [
        ("meter_id", "i4"),
        ("start_ms", "i8"),
        ("end_ms", "i8"),
        ("open", "?"),
        ("readings", "i8"),
        ("peak_watts", "f4"),
        ("percentile_watts", "f8"),
        ("limit_watts", "f8"),
        ("excess_mj", "i8"),
        ("excess_rest", "i8"),
    ]
)

KEY = ("meter_id", "start_ms")
"""The columns by which an episode is known."""

VERSION = np.dtype([("date", "i4"), ("valid_from_ms", "i8"), ("valid_to_ms", "i8"), ("limits", "i4")])
LIMIT = np.dtype([("meter_id", "i4"), ("percentile_watts", "f8"), ("limit_watts", "f8")])
LOWEST = np.dtype([("meter_id", "i4"), ("watts", "f8")])
"""12 bytes: the lowest limit of a meter in any version."""

LimitOf = Callable[[MeterThresholdRecord], float | None]

_VERSIONS_HEAD = struct.Struct("<BIq")
_RUNS_HEAD = struct.Struct("<B")
VERSIONS_STATE_VERSION, STATE_VERSION = 1, 2
"""Of the versions, and of the runs."""


@dataclass(frozen=True)
class Spell:
    """Longest time that a reading of a channel without a period holds, and longest time that an episode continues without a reading over the limit, in ms."""

    max_sample_period_ms: int
    hold_ms: int

    @classmethod
    def of(cls, settings: Settings) -> Spell:
        """The times in the settings."""
        return cls(round(settings.rules.max_gap_s * 1000), round(settings.rules.hold_s * 1000))


@dataclass(eq=False)
class Versions:
    """The stored versions of a house's thresholds, in order of time; part of the keyed state."""

    versions: Rows = field(default_factory=lambda: np.empty(0, VERSION))
    limits: Rows = field(default_factory=lambda: np.empty(0, LIMIT))  # those of versions[0] first
    forgotten_ms: int = 0  # versions that ended by this time have been dropped

    def add(self, threshold: ThresholdRecord, limit_of: LimitOf = lambda meter: meter["limit_watts"]) -> None:
        """Add a version (a record of schema threshold). It replaces one of the same date. limit_of: the limit of a meter in it; None: none."""
        limits = [
            (meter["meter_id"], meter["percentile_watts"], limit) for meter in threshold["meters"] if (limit := limit_of(meter)) is not None
        ]
        version = (threshold["date"], threshold["valid_from"], threshold["valid_to"], len(limits))
        dates, begins = self.versions["date"].tolist(), [0, *accumulate(self.versions["limits"].tolist())]
        first, behind = bisect_left(dates, threshold["date"]), bisect_right(dates, threshold["date"])
        self.versions = stacked(self.versions[:first], np.array([version], VERSION), self.versions[behind:])
        self.limits = stacked(self.limits[: begins[first]], np.array(limits, LIMIT), self.limits[begins[behind] :])

    def cover(self, from_ms: int, to_ms: int) -> bool:
        """Whether every time from from_ms to to_ms (inclusive) has a version, or had one that was dropped."""
        from_ms = max(from_ms, self.forgotten_ms)
        begins, ends = self.versions["valid_from_ms"], self.versions["valid_to_ms"]
        for begin_ms, end_ms in zip(begins.tolist(), ends.tolist()):
            if begin_ms <= from_ms < end_ms:
                from_ms = end_ms
        return to_ms < from_ms

    def forget_before(self, time_ms: int) -> None:
        """Drop the versions that are no longer in force from time_ms on."""
        kept = self.versions["valid_to_ms"] > time_ms
        self.limits = picked(self.limits, np.repeat(kept, self.versions["limits"]))
        self.versions = picked(self.versions, kept)
        self.forgotten_ms = max(self.forgotten_ms, time_ms)

    def to_bytes(self) -> bytes:
        """These versions in a stable form, as kept in checkpoints."""
        head = _VERSIONS_HEAD.pack(VERSIONS_STATE_VERSION, len(self.versions), self.forgotten_ms)
        return head + self.versions.tobytes() + self.limits.tobytes()

    @classmethod
    def from_bytes(cls, state: bytes | None) -> Versions:
        """Inverse of to_bytes; no versions for None."""
        if state is None:
            return cls()
        version, count, forgotten_ms = _VERSIONS_HEAD.unpack_from(state)
        require_version(version, VERSIONS_STATE_VERSION)
        versions = np.frombuffer(state, VERSION, count, _VERSIONS_HEAD.size)
        limits = np.frombuffer(state, LIMIT, offset=_VERSIONS_HEAD.size + versions.nbytes)
        return cls(versions, limits, forgotten_ms)

    def at(self, meter_id: Int32s, time_ms: Ints) -> tuple[Floats, Floats]:
        """(limit, percentile) in W for each meter and time; infinite where the meter has no limit."""
        version = np.searchsorted(self.versions["valid_from_ms"], time_ms, side="right") - 1
        meters, meter_of_limit = np.unique(self.limits["meter_id"], return_inverse=True)
        table = np.full((2, len(self.versions) + 1, len(meters) + 1), np.inf)  # the last row and column: none
        version_of_limit = np.repeat(np.arange(len(self.versions)), self.versions["limits"])
        table[0, version_of_limit, meter_of_limit] = self.limits["limit_watts"]
        table[1, version_of_limit, meter_of_limit] = self.limits["percentile_watts"]
        column = np.searchsorted(meters, meter_id)
        column[np.append(meters, 0)[column] != meter_id] = len(meters)
        return table[0, version, column], table[1, version, column]

    def lowest(self) -> Rows:
        """LOWEST of each meter that has a limit, sorted by meter."""
        lowest: Rows = _lowest(self.limits)
        return lowest


@compiled
def _lowest(limits):
    """See Versions.lowest."""
    lowest, size = np.empty(len(limits), LOWEST), 0
    for limit in limits:
        at = np.searchsorted(lowest[:size]["meter_id"], limit.meter_id)
        if at < size and lowest[at].meter_id == limit.meter_id:
            lowest[at].watts = min(lowest[at].watts, limit.limit_watts)
            continue
        for other in range(size, at, -1):
            lowest[other] = lowest[other - 1]
        lowest[at].meter_id, lowest[at].watts = limit.meter_id, limit.limit_watts
        size += 1
    return lowest[:size]


@compiled
def may_be_over(sections, lowest, least_limits):
    """Whether any section (ARRIVED) has a reading over its meter's lowest limit (LOWEST, sorted by meter), times a factor."""
    for s in range(len(sections)):
        at = np.searchsorted(lowest["meter_id"], sections[s].meter_id)
        if at < len(lowest) and lowest[at].meter_id == sections[s].meter_id and sections[s].peak_watts > least_limits * lowest[at].watts:
            return True
    return False


def runs_over(
    batch: Batch, used: Bools, versions: Versions, max_sample_period_ms: int, user_rules: UserRules = NO_USER_RULES, raised_by: int = SPIKE
) -> Rows:
    """The runs (RUN) in the sections of a batch that are `used` (bool (s,)). raised_by: see UserRules.limits."""
    sections = batch.sections
    lowest = dict(versions.lowest().tolist())
    limits = np.array([lowest.get(meter_id, np.inf) for meter_id in sections["meter_id"].tolist()])
    high = used & (sections["carried"] > 0) & (sections["peak_watts"] > user_rules.least_limits * limits)
    section, time_ms, watts = _readings_of(batch, high)
    limit, percentile = versions.at(sections["meter_id"][section], time_ms)
    limit = user_rules.limits(raised_by, limit, sections["meter_id"][section], time_ms)
    over = np.flatnonzero(watts > limit)
    if not len(over):
        return np.empty(0, RUN)
    between_ms = np.diff(time_ms[over])
    holds_ms = periods(sections, max_sample_period_ms)[section[over]]
    breaks = (np.diff(over) > 1) | (np.diff(section[over]) != 0) | (between_ms > holds_ms[:-1])
    starts, ends = np.append(True, breaks), np.append(breaks, True)
    begin = np.flatnonzero(starts)
    first, last = over[starts], over[ends]
    excess = watts[over] - limit[over]
    whole, rest = energies(excess, np.where(ends, 0, np.append(between_ms, 0)))
    runs = np.zeros(len(first), RUN)
    runs["meter_id"], runs["period_ms"] = sections["meter_id"][section[first]], sections["period_ms"][section[first]]
    runs["start_ms"], runs["last_ms"] = time_ms[first], time_ms[last]
    runs["readings"] = last - first + 1
    runs["peak_watts"] = np.maximum.reduceat(watts[over], begin)
    runs["percentile_watts"], runs["limit_watts"] = percentile[first], limit[first]
    runs["last_over_watts"] = excess[ends]
    runs["excess_mj"], runs["excess_rest"] = np.add.reduceat(whole, begin), np.add.reduceat(rest, begin)
    runs["next_ms"] = UNKNOWN
    followed = np.append(section, -1)[last + 1] == section[last]
    runs["next_ms"][followed] = time_ms[last[followed] + 1]
    return runs


def _readings_of(batch: Batch, picked: Bools) -> tuple[Ints, Ints, Float32s]:
    """(section, time in ms, watts) of the readings carried by the `picked` sections (bool (s,))."""
    carried = batch.sections["carried"]
    section = np.repeat(np.flatnonzero(picked), carried[picked])
    of_reading = np.repeat(picked, carried)
    elapsed_ms, watts = np.cumsum(batch.gap_ms[of_reading], dtype=np.int64), batch.watts[of_reading]
    ends = np.cumsum(carried[picked])
    before_ms = np.append(0, elapsed_ms)[ends - carried[picked]]
    return section, elapsed_ms + (batch.sections["first_ms"][picked] - before_ms).repeat(carried[picked]), watts


@dataclass(eq=False)
class Runs:
    """The runs of a house that may still change: the keyed state of the spikes job, besides the versions."""

    runs: Rows = field(default_factory=lambda: np.empty(0, RUN))

    def add(self, runs: Rows, links: Rows, sections: Rows, spell: Spell) -> None:
        """Add new runs, and use the links (LINK, pairs of consecutive readings) to fill in the reading after each run.

        sections: those that the house holds now. Linked runs within one unbroken section are merged: no reading can arrive between them.
        """
        if not len(self.runs) and not len(runs):
            return
        runs = stacked(self.runs, runs)
        runs = picked(runs, np.lexsort((runs["start_ms"], runs["meter_id"])))
        _fill_in_next(runs, links)
        linked = _linked(runs, spell)
        first = np.flatnonzero(linked)
        unbroken = _unbroken(runs, first, sections)
        linked[first[~unbroken]] = False
        self.runs = _fold(runs, linked, spell)

    def episodes(self, clock_ms: int, spell: Spell) -> Rows:
        """The episodes (EPISODE) as of clock_ms, the house's newest reading."""
        chains = _fold(self.runs, _linked(self.runs, spell), spell)
        until_ms = _held_until(chains, spell)
        episodes = np.zeros(len(chains), EPISODE)
        for column in set(EPISODE.names or ()) & set(RUN.names or ()):
            episodes[column] = chains[column]
        episodes["end_ms"] = np.minimum(until_ms, clock_ms)
        episodes["open"] = (chains["next_ms"] == UNKNOWN) & (until_ms > clock_ms) | (chains["last_ms"] + spell.hold_ms > clock_ms)
        whole, rest = energies(chains["last_over_watts"].copy(), episodes["end_ms"] - chains["last_ms"])
        episodes["excess_mj"] += whole
        episodes["excess_rest"] += rest
        return episodes

    def to_bytes(self) -> bytes:
        """These runs in a stable form, as kept in checkpoints."""
        return _RUNS_HEAD.pack(STATE_VERSION) + self.runs.tobytes()

    @classmethod
    def from_bytes(cls, state: bytes | None) -> Runs:
        """Inverse of to_bytes; also reads version 1; no runs for None."""
        if state is None:
            return cls()
        if state[0] != 1:
            require_version(state[0], STATE_VERSION)
        return cls(widened(np.frombuffer(state, RUN_1 if state[0] == 1 else RUN, offset=_RUNS_HEAD.size), RUN))

    def forget_before(self, time_ms: int, spell: Spell) -> None:
        """Drop the episodes that readings from time_ms on cannot change."""
        if not len(self.runs):
            return
        ends = np.append(~_linked(self.runs, spell), True)
        chain = np.append(0, np.cumsum(ends[:-1]))
        settled = np.maximum(_held_until(self.runs, spell), self.runs["last_ms"] + spell.hold_ms) < time_ms
        self.runs = picked(self.runs, ~settled[ends][chain])


GLITCH_FACTOR = 2
"""A reading alone is a glitch from this multiple of its limit on. Below, it is a load that was on for too short a time to judge."""


def noted(episodes: Rows) -> Rows:
    """The episodes (EPISODE) that make an alert: those of several readings, and glitches, which are known once they are over."""
    glitch = ~episodes["open"] & (episodes["peak_watts"] >= GLITCH_FACTOR * episodes["limit_watts"])
    return picked(episodes, (episodes["readings"] > 1) | glitch)


def glitches(episodes: Rows) -> Rows:
    """The glitches among the episodes that make an alert (EPISODE)."""
    return picked(episodes, episodes["readings"] == 1)


def changes(before: Rows, after: Rows, key: Sequence[str] = KEY) -> tuple[Rows, Rows]:
    """(episodes that are new or have changed, earlier episodes whose key no longer exists), all EPISODE or rows of another kind of alert.

    key: the columns that make up what an alert is known by.
    """
    if not len(before) and not len(after):
        return after, before
    known, keys = set(before.tolist()), set(after[list(key)].tolist())
    changed = [episode not in known for episode in after.tolist()]
    gone = [own_key not in keys for own_key in before[list(key)].tolist()]
    return picked(after, np.array(changed, bool)), picked(before, np.array(gone, bool))


def openings(before: Rows, after: Rows, key: Sequence[str] = KEY) -> tuple[int, int]:
    """(number of episodes that opened, number that closed) from `before` to `after`; see changes.

    An episode that began and ended in between counts in both.
    """
    was_open = dict(zip(before[list(key)].tolist(), before["open"].tolist()))
    is_open = zip(after[list(key)].tolist(), after["open"].tolist())
    opened = sum(now_open or own_key not in was_open for own_key, now_open in is_open if not was_open.get(own_key))
    return opened, opened + int(before["open"].sum()) - int(after["open"].sum())


def _fill_in_next(runs: Rows, links: Rows) -> None:
    """Fill in the earliest known reading after each run."""
    next_ms: dict[tuple[int, int], int] = {}
    meter_ids = set(runs["meter_id"].tolist())
    of_runs = np.array([meter_id in meter_ids for meter_id in links["meter_id"].tolist()], bool)
    for meter_id, last_ms, following_ms in picked(links, of_runs).tolist():
        next_ms[meter_id, last_ms] = min(following_ms, next_ms.get((meter_id, last_ms), following_ms))
    earliest = [next_ms.get(last, UNKNOWN) for last in runs[["meter_id", "last_ms"]].tolist()]
    runs["next_ms"] = np.minimum(runs["next_ms"], np.array(earliest, np.int64))


@compiled
def _unbroken(runs, first, sections):
    """bool, one for each of `first`: whether one section holds the end of that run and the start of the next. All are sorted by meter, time."""
    unbroken, s = np.zeros(len(first), np.bool_), 0
    for i in range(len(first)):
        here, there = runs[first[i]], runs[first[i] + 1]
        while s < len(sections) and (
            sections[s].meter_id < there.meter_id or (sections[s].meter_id == there.meter_id and sections[s].end_ms <= there.start_ms)
        ):
            s += 1
        unbroken[i] = s < len(sections) and sections[s].meter_id == there.meter_id and sections[s].start_ms <= here.last_ms
    return unbroken


def _linked(runs: Rows, spell: Spell) -> Bools:
    """bool, for all but the last of the sorted runs: whether each belongs to the same episode as the next one."""
    here, there = runs[:-1], runs[1:]
    apart_ms = there["start_ms"] - here["last_ms"]
    adjoining = (here["next_ms"] == there["start_ms"]) & (apart_ms <= periods(here, spell.max_sample_period_ms))
    linked: Bools = (here["meter_id"] == there["meter_id"]) & (adjoining | (apart_ms <= spell.hold_ms))
    return linked


def _held_until(runs: Rows, spell: Spell) -> Ints:
    """Time until which the last reading of each run holds, judged by the readings so far."""
    return np.minimum(runs["next_ms"], runs["last_ms"] + periods(runs, spell.max_sample_period_ms))


def periods(rows: Rows, max_sample_period_ms: int) -> Ints:
    """int64, one a run or section: how long its last reading holds at most, in ms."""
    return np.where(rows["period_ms"], rows["period_ms"], max_sample_period_ms)


def _fold(runs: Rows, linked: Bools, spell: Spell) -> Rows:
    """The sorted runs, each merged with the next one where the two are linked."""
    if not linked.any():
        return runs
    runs = runs.copy()
    here = np.flatnonzero(linked)
    whole, rest = energies(runs["last_over_watts"][here], _held_until(runs, spell)[here] - runs["last_ms"][here])
    runs["excess_mj"][here] += whole
    runs["excess_rest"][here] += rest
    begin = np.flatnonzero(np.append(True, ~linked))
    end = np.flatnonzero(np.append(~linked, True))
    folded = picked(runs, begin)
    for column in ("last_ms", "next_ms", "last_over_watts", "period_ms"):
        folded[column] = runs[column][end]
    folded["peak_watts"] = np.maximum.reduceat(runs["peak_watts"], begin)
    for column in ("readings", "excess_mj", "excess_rest"):
        folded[column] = np.add.reduceat(runs[column], begin)
    return folded
