"""Spikes: readings over the limit that is in force at their time, and the episodes that they make.

A *run* is readings of one meter that follow each other, all over their limit, none later than max_sample_period_ms after the
one before. It holds until the next reading, or for max_sample_period_ms beyond its last. An *episode* is runs of which each
starts within hold_ms of the last reading of the one before, so that a load which flickers round its limit makes one.

Runs come in pieces, as readings do. Each piece knows the reading that follows it, as far as that has arrived; pieces are
linked only when results are asked for. So readings may come in any order: one that comes late may prolong an
episode, split it, or show that it began elsewhere.

A limit belongs to a version of the house's thresholds, and a version to a span of time: which one judges a reading
depends on the reading's time alone, never on what has arrived by then.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from jobs.core.batches import Batch
from jobs.core.energy import energies
from jobs.core.state_version import require_version
from smartmeter.compiled import compiled
from smartmeter.settings import Settings

UNKNOWN = 2**62
"""In place of the time of a reading that has not come."""

RUN = np.dtype([
    ("meter_id", "i4"),
    ("start_ms", "i8"),  # first and last reading
    ("last_ms", "i8"),
    ("next_ms", "i8"),  # the meter's next reading, as far as is known, or UNKNOWN
    ("readings", "i8"),
    ("peak_watts", "f4"),
    ("percentile_watts", "f8"),  # in force at the start
    ("limit_watts", "f8"),
    ("last_over_watts", "f8"),  # what the last reading is over its limit
    ("excess_mj", "i8"),  # energy over the limit, but that of the last reading, as in jobs.core.energy
    ("excess_rest", "i8"),
])
"""80 bytes."""

EPISODE = np.dtype([
    ("meter_id", "i4"), ("start_ms", "i8"), ("end_ms", "i8"), ("open", "?"), ("readings", "i8"), ("peak_watts", "f4"),
    ("percentile_watts", "f8"), ("limit_watts", "f8"), ("excess_mj", "i8"), ("excess_rest", "i8"),
])

VERSION = np.dtype([("date", "i4"), ("valid_from_ms", "i8"), ("valid_to_ms", "i8"), ("limits", "i4")])
LIMIT = np.dtype([("meter_id", "i4"), ("percentile_watts", "f8"), ("limit_watts", "f8")])
LOWEST = np.dtype([("meter_id", "i4"), ("watts", "f8")])
"""The lowest limit of a meter in any version: 12 bytes."""

_VERSIONS_HEAD = struct.Struct("<BIq")
_RUNS_HEAD = struct.Struct("<B")
STATE_VERSION = 1


@dataclass(frozen=True)
class Spell:
    """How long a reading holds at most, and how long an episode goes on without a reading over the limit, in ms."""

    max_sample_period_ms: int
    hold_ms: int

    @classmethod
    def of(cls, settings: Settings) -> Spell:
        """What the settings give."""
        return cls(round(settings.max_gap_s * 1000), round(settings.hold_s * 1000))


@dataclass(eq=False)
class Versions:
    """The versions of a house's thresholds that are at hand, in the order of time; part of the keyed state."""

    versions: np.ndarray = field(default_factory=lambda: np.empty(0, VERSION))
    limits: np.ndarray = field(default_factory=lambda: np.empty(0, LIMIT))  # those of versions[0] first
    forgotten_ms: int = 0  # versions that ended by then have been dropped

    def add(self, threshold: dict) -> None:
        """Take in a version (a record of schema threshold), in the place of one of the same date."""
        of_limit = np.repeat(self.versions["date"], self.versions["limits"])
        limits = [(m["meter_id"], m["percentile_watts"], m["limit_watts"])
                  for m in threshold["meters"] if m["limit_watts"] is not None]
        version = (threshold["date"], threshold["valid_from"], threshold["valid_to"], len(limits))
        others = self.versions["date"] != threshold["date"]
        versions = np.append(self.versions[others], np.array([version], VERSION))
        all_limits = np.append(self.limits[of_limit != threshold["date"]], np.array(limits, LIMIT))
        dates = np.append(of_limit[of_limit != threshold["date"]], np.full(len(limits), threshold["date"]))
        self.versions = versions[np.argsort(versions["date"])]
        self.limits = all_limits[np.argsort(dates, kind="stable")]

    def cover(self, from_ms: int, to_ms: int) -> bool:
        """Whether each time from from_ms to to_ms, both included, has its version, or had one that is dropped."""
        from_ms = max(from_ms, self.forgotten_ms)
        begins, ends = self.versions["valid_from_ms"], self.versions["valid_to_ms"]
        for begin_ms, end_ms in zip(begins.tolist(), ends.tolist()):
            if begin_ms <= from_ms < end_ms:
                from_ms = end_ms
        return to_ms < from_ms

    def forget_before(self, time_ms: int) -> None:
        """Drop the versions that hold for no time from time_ms on."""
        kept = self.versions["valid_to_ms"] > time_ms
        self.limits = self.limits[np.repeat(kept, self.versions["limits"])]
        self.versions = self.versions[kept]
        self.forgotten_ms = max(self.forgotten_ms, time_ms)

    def to_bytes(self) -> bytes:
        """These versions in a stable form, as kept in checkpoints."""
        head = _VERSIONS_HEAD.pack(STATE_VERSION, len(self.versions), self.forgotten_ms)
        return head + self.versions.tobytes() + self.limits.tobytes()

    @classmethod
    def from_bytes(cls, state: bytes | None) -> Versions:
        """The versions that to_bytes gave; none for None."""
        if state is None:
            return cls()
        version, count, forgotten_ms = _VERSIONS_HEAD.unpack_from(state)
        require_version(version, STATE_VERSION)
        versions = np.frombuffer(state, VERSION, count, _VERSIONS_HEAD.size)
        limits = np.frombuffer(state, LIMIT, offset=_VERSIONS_HEAD.size + versions.nbytes)
        return cls(versions, limits, forgotten_ms)

    def at(self, meter_id: np.ndarray, time_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(limit, percentile) in W for each meter and time; infinite where nothing is held against the meter."""
        version = np.searchsorted(self.versions["valid_from_ms"], time_ms, side="right") - 1
        meters, meter_of_limit = np.unique(self.limits["meter_id"], return_inverse=True)
        table = np.full((2, len(self.versions) + 1, len(meters) + 1), np.inf)  # the last row and column: none
        version_of_limit = np.repeat(np.arange(len(self.versions)), self.versions["limits"])
        table[0, version_of_limit, meter_of_limit] = self.limits["limit_watts"]
        table[1, version_of_limit, meter_of_limit] = self.limits["percentile_watts"]
        column = np.searchsorted(meters, meter_id)
        column[np.append(meters, 0)[column] != meter_id] = len(meters)
        return table[0, version, column], table[1, version, column]

    def lowest(self) -> np.ndarray:
        """LOWEST of the meters that have a limit, rising by meter."""
        meters, meter_of_limit = np.unique(self.limits["meter_id"], return_inverse=True)
        lowest = np.empty(len(meters), LOWEST)
        lowest["meter_id"], lowest["watts"] = meters, np.inf
        np.minimum.at(lowest["watts"], meter_of_limit, self.limits["limit_watts"])
        return lowest


@compiled
def may_be_over(sections, lowest):
    """Whether a section (ARRIVED) has a reading over its meter's lowest limit (LOWEST, rising by meter)."""
    for s in range(len(sections)):
        at = np.searchsorted(lowest["meter_id"], sections[s].meter_id)
        if at < len(lowest) and lowest[at].meter_id == sections[s].meter_id and sections[s].peak_watts > lowest[at].watts:
            return True
    return False


def runs_over(batch: Batch, used: np.ndarray, versions: Versions, max_sample_period_ms: int) -> np.ndarray:
    """The runs (RUN) in those sections of a batch that are `used` (bool (b,))."""
    sections = batch.sections
    lowest = dict(versions.lowest().tolist())
    limits = np.array([lowest.get(meter_id, np.inf) for meter_id in sections["meter_id"].tolist()])
    high = used & (sections["carried"] > 0) & (sections["peak_watts"] > limits)
    section, time_ms, watts = _readings_of(batch, high)
    limit, percentile = versions.at(sections["meter_id"][section], time_ms)
    over = np.flatnonzero(watts > limit)
    if not len(over):
        return np.empty(0, RUN)
    between_ms = np.diff(time_ms[over])
    breaks = (np.diff(over) > 1) | (np.diff(section[over]) != 0) | (between_ms > max_sample_period_ms)
    starts, ends = np.append(True, breaks), np.append(breaks, True)
    begin = np.flatnonzero(starts)
    first, last = over[starts], over[ends]
    excess = watts[over] - limit[over]
    whole, rest = energies(excess, np.where(ends, 0, np.append(between_ms, 0)))
    runs = np.zeros(len(first), RUN)
    runs["meter_id"] = sections["meter_id"][section[first]]
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


def _readings_of(batch: Batch, picked: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(section, time in ms, watts) of the readings that some sections (bool (b,)) carry."""
    carried = batch.sections["carried"]
    section = np.repeat(np.flatnonzero(picked), carried[picked])
    of_reading = np.repeat(picked, carried)
    elapsed_ms, watts = np.cumsum(batch.gap_ms[of_reading], dtype=np.int64), batch.watts[of_reading]
    ends = np.cumsum(carried[picked])
    before_ms = np.append(0, elapsed_ms)[ends - carried[picked]]
    return section, elapsed_ms + (batch.sections["first_ms"][picked] - before_ms).repeat(carried[picked]), watts


@dataclass(eq=False)
class Runs:
    """The runs of a house that may still change: the keyed state of the spikes job, beside the versions."""

    runs: np.ndarray = field(default_factory=lambda: np.empty(0, RUN))

    def add(self, runs: np.ndarray, links: np.ndarray, sections: np.ndarray, spell: Spell) -> None:
        """Take in new runs, what is known of readings that follow each other (LINK), and the sections that are held.

        Runs of one unbroken section are made one: no reading can come in between any more.
        """
        if not len(self.runs) and not len(runs):
            return
        runs = np.concatenate([self.runs, runs])
        runs = runs[np.lexsort((runs["start_ms"], runs["meter_id"]))]
        _learn_next(runs, links)
        linked = _linked(runs, spell)
        first = np.flatnonzero(linked)
        unbroken = _unbroken(runs, first, sections)
        linked[first[~unbroken]] = False
        self.runs = _fold(runs, linked, spell)

    def episodes(self, clock_ms: int, spell: Spell) -> np.ndarray:
        """The episodes (EPISODE), as known by clock_ms, the house's newest reading."""
        chains = _fold(self.runs, _linked(self.runs, spell), spell)
        until_ms = _held_until(chains, spell)
        episodes = np.zeros(len(chains), EPISODE)
        for column in set(EPISODE.names or ()) & set(RUN.names or ()):
            episodes[column] = chains[column]
        episodes["end_ms"] = np.minimum(until_ms, clock_ms)
        episodes["open"] = (
            (chains["next_ms"] == UNKNOWN) & (until_ms > clock_ms) | (chains["last_ms"] + spell.hold_ms > clock_ms))
        whole, rest = energies(chains["last_over_watts"], episodes["end_ms"] - chains["last_ms"])
        episodes["excess_mj"] += whole
        episodes["excess_rest"] += rest
        return episodes

    def to_bytes(self) -> bytes:
        """These runs in a stable form, as kept in checkpoints."""
        return _RUNS_HEAD.pack(STATE_VERSION) + self.runs.tobytes()

    @classmethod
    def from_bytes(cls, state: bytes | None) -> Runs:
        """The runs that to_bytes gave; none for None."""
        if state is None:
            return cls()
        require_version(state[0], STATE_VERSION)
        return cls(np.frombuffer(state, RUN, offset=_RUNS_HEAD.size))

    def forget_before(self, time_ms: int, spell: Spell) -> None:
        """Drop the episodes that no reading from time_ms on can change."""
        if not len(self.runs):
            return
        ends = np.append(~_linked(self.runs, spell), True)
        chain = np.append(0, np.cumsum(ends[:-1]))
        settled = np.maximum(_held_until(self.runs, spell), self.runs["last_ms"] + spell.hold_ms) < time_ms
        self.runs = self.runs[~settled[ends][chain]]


def changes(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(episodes that are new or other than before, episodes of before that start nowhere any more); all EPISODE."""
    known, starts = set(before.tolist()), set(after[["meter_id", "start_ms"]].tolist())
    changed = [episode not in known for episode in after.tolist()]
    gone = [start not in starts for start in before[["meter_id", "start_ms"]].tolist()]
    return after[np.array(changed, bool)], before[np.array(gone, bool)]


def openings(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """(how many episodes have opened, how many are open no longer), of EPISODE before and after.

    One that has come and ended since is both.
    """
    was_open = {(row["meter_id"], row["start_ms"]): row["open"] for row in before}
    opened = sum(bool(row["open"]) or key not in was_open for row in after
                 if not was_open.get(key := (row["meter_id"], row["start_ms"])))
    return opened, opened + int(before["open"].sum()) - int(after["open"].sum())


def _learn_next(runs: np.ndarray, links: np.ndarray) -> None:
    """Fill in the earliest reading that is now known to follow each run."""
    next_ms: dict[tuple[int, int], int] = {}
    for meter_id, last_ms, following_ms in links[np.isin(links["meter_id"], runs["meter_id"])].tolist():
        next_ms[meter_id, last_ms] = min(following_ms, next_ms.get((meter_id, last_ms), following_ms))
    learnt = [next_ms.get(last, UNKNOWN) for last in runs[["meter_id", "last_ms"]].tolist()]
    runs["next_ms"] = np.minimum(runs["next_ms"], np.array(learnt, np.int64))


@compiled
def _unbroken(runs, first, sections):
    """bool (f,): whether one section holds the end of runs[first] and the beginning of the run behind it; all by meter and time."""
    unbroken, s = np.zeros(len(first), np.bool_), 0
    for i in range(len(first)):
        here, there = runs[first[i]], runs[first[i] + 1]
        while s < len(sections) and (sections[s].meter_id < there.meter_id
                                     or (sections[s].meter_id == there.meter_id and sections[s].end_ms <= there.start_ms)):
            s += 1
        unbroken[i] = s < len(sections) and sections[s].meter_id == there.meter_id and sections[s].start_ms <= here.last_ms
    return unbroken


def _linked(runs: np.ndarray, spell: Spell) -> np.ndarray:
    """bool (r - 1,): whether each run (in order) and the one behind it belong to one episode."""
    here, there = runs[:-1], runs[1:]
    apart_ms = there["start_ms"] - here["last_ms"]
    adjoining = (here["next_ms"] == there["start_ms"]) & (apart_ms <= spell.max_sample_period_ms)
    return (here["meter_id"] == there["meter_id"]) & (adjoining | (apart_ms <= spell.hold_ms))


def _held_until(runs: np.ndarray, spell: Spell) -> np.ndarray:
    """Time until which the last reading of each run holds, as far as is known."""
    return np.minimum(runs["next_ms"], runs["last_ms"] + spell.max_sample_period_ms)


def _fold(runs: np.ndarray, linked: np.ndarray, spell: Spell) -> np.ndarray:
    """The runs (in order), each that is linked to the one behind it made one with that."""
    if not linked.any():
        return runs
    runs = runs.copy()
    here = np.flatnonzero(linked)
    whole, rest = energies(runs["last_over_watts"][here], _held_until(runs, spell)[here] - runs["last_ms"][here])
    runs["excess_mj"][here] += whole
    runs["excess_rest"][here] += rest
    begin = np.flatnonzero(np.append(True, ~linked))
    end = np.flatnonzero(np.append(~linked, True))
    folded = runs[begin]
    for column in ("last_ms", "next_ms", "last_over_watts"):
        folded[column] = runs[column][end]
    folded["peak_watts"] = np.maximum.reduceat(runs["peak_watts"], begin)
    for column in ("readings", "excess_mj", "excess_rest"):
        folded[column] = np.add.reduceat(runs[column], begin)
    return folded
