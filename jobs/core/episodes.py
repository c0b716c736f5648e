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
from jobs.core.energy import energies, energy
from jobs.core.rows import picked, stacked
from jobs.core.sections import period_of
from jobs.core.state_version import require_version, widened
from jobs.core.user_rules import NO_USER_RULES, SPIKE, UserRules
from smartmeter.arrays import Bools, Floats, Int32s, Ints, Rows
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
        limits: tuple[Floats, Floats] = _limits_at(self.versions, self.limits, meter_id, time_ms)
        return limits

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
def _limits_at(versions, limits, meter_ids, times_ms):
    """See Versions.at."""
    limit_watts, percentile_watts = np.full(len(times_ms), np.inf), np.full(len(times_ms), np.inf)
    for i in range(len(times_ms)):
        begin = end = 0
        for version in versions:
            if version.valid_from_ms <= times_ms[i]:
                begin, end = end, end + version.limits
        for limit in limits[begin:end]:
            if limit.meter_id == meter_ids[i]:
                limit_watts[i], percentile_watts[i] = limit.limit_watts, limit.percentile_watts
    return limit_watts, percentile_watts


@compiled
def may_be_over(sections, lowest, least_limits):
    """Whether any section (ARRIVED) has a reading over its meter's lowest limit (LOWEST, sorted by meter), times a factor."""
    over = False
    for s in range(len(sections)):
        over |= _may_be_over(sections[s], lowest, least_limits)
    return over


@compiled
def _may_be_over(section, lowest, least_limits):
    """See may_be_over."""
    at = np.searchsorted(lowest["meter_id"], section.meter_id)
    return at < len(lowest) and lowest[at].meter_id == section.meter_id and section.peak_watts > least_limits * lowest[at].watts


def runs_over(
    batch: Batch, used: Bools, versions: Versions, max_sample_period_ms: int, user_rules: UserRules = NO_USER_RULES, raised_by: int = SPIKE
) -> Rows:
    """The runs (RUN) in the sections of a batch that are `used` (bool (s,)). raised_by: see UserRules.limits."""
    sections, least_limits = batch.sections, user_rules.least_limits
    section, time_ms, watts = _high_readings(sections, used, batch.gap_ms, batch.watts, versions.lowest(), least_limits)
    meter_ids = sections["meter_id"][section]
    limit, percentile = versions.at(meter_ids, time_ms)
    limit = user_rules.limits(raised_by, limit, meter_ids, time_ms)
    runs: Rows = _runs(sections, periods(sections, max_sample_period_ms), section, time_ms, watts, limit, percentile)
    return runs


@compiled
def _high_readings(sections, used, gap_ms, watts, lowest, least_limits):
    """(section, time in ms, watts) of the readings carried by the used sections of which any may be over its limit."""
    section_at, time_ms, high_watts = np.empty(len(watts), np.int64), np.empty(len(watts), np.int64), np.empty(len(watts), np.float32)
    n = size = 0
    for s in range(len(sections)):
        section, at_ms = sections[s], sections[s].first_ms
        is_high = used[s] and _may_be_over(section, lowest, least_limits)
        for at in range(n, n + section.carried if is_high else n):
            at_ms += gap_ms[at]
            section_at[size], time_ms[size], high_watts[size] = s, at_ms, watts[at]
            size += 1
        n += section.carried
    return section_at[:size], time_ms[:size], high_watts[:size]


@compiled
def _runs(sections, holds_ms, section_at, time_ms, watts, limit_watts, percentile_watts):
    """The runs (RUN) of readings: each has the index of its section, its limit and its percentile. holds_ms: of each section, see periods."""
    runs, size = np.empty(len(watts), RUN), 0
    for i in range(len(watts)):
        if not watts[i] > limit_watts[i]:
            continue
        section, follows = sections[section_at[i]], i > 0 and section_at[i - 1] == section_at[i]
        after_ms = time_ms[i] - time_ms[i - 1] if follows else 0
        if follows and watts[i - 1] > limit_watts[i - 1] and after_ms <= holds_ms[section_at[i]]:
            run = runs[size - 1]
            whole, rest = energy(run.last_over_watts, after_ms)
            run.excess_mj, run.excess_rest = run.excess_mj + whole, run.excess_rest + rest
            run.readings, run.peak_watts = run.readings + 1, max(run.peak_watts, watts[i])
        else:
            run, size = runs[size], size + 1
            run.meter_id, run.period_ms, run.start_ms = section.meter_id, section.period_ms, time_ms[i]
            run.readings, run.peak_watts, run.excess_mj, run.excess_rest = 1, watts[i], 0, 0
            run.percentile_watts, run.limit_watts = percentile_watts[i], limit_watts[i]
        run.last_ms, run.last_over_watts = time_ms[i], watts[i] - limit_watts[i]
        run.next_ms = time_ms[i + 1] if i + 1 < len(watts) and section_at[i + 1] == section_at[i] else UNKNOWN
    return runs[:size]


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
        linked = _linked(runs, spell.max_sample_period_ms, spell.hold_ms)
        first = np.flatnonzero(linked)
        unbroken = _unbroken(runs, first, sections)
        linked[first[~unbroken]] = False
        self.runs = _fold(runs, linked, spell.max_sample_period_ms)

    def episodes(self, clock_ms: int, spell: Spell) -> Rows:
        """The episodes (EPISODE) as of clock_ms, the house's newest reading."""
        chains = _fold(self.runs, _linked(self.runs, spell.max_sample_period_ms, spell.hold_ms), spell.max_sample_period_ms)
        episodes = np.empty(len(chains), EPISODE)
        _judge(episodes, chains, clock_ms, spell.max_sample_period_ms, spell.hold_ms)
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
        ends = np.append(~_linked(self.runs, spell.max_sample_period_ms, spell.hold_ms), True)
        chain = np.append(0, np.cumsum(ends[:-1]))
        settled = _settled(self.runs, time_ms, spell.max_sample_period_ms, spell.hold_ms)
        self.runs = picked(self.runs, ~settled[ends][chain])


@compiled
def _judge(episodes, chains, clock_ms, max_sample_period_ms, hold_ms):
    """Fill in the episodes of chains (RUN), without the energy of their last reading; see Runs.episodes."""
    for c in range(len(chains)):
        chain, episode = chains[c], episodes[c]
        until_ms = held_until(chain, max_sample_period_ms)
        episode.meter_id, episode.start_ms, episode.end_ms = chain.meter_id, chain.start_ms, min(until_ms, clock_ms)
        is_held = chain.next_ms == UNKNOWN and until_ms > clock_ms
        episode.open = is_held or chain.last_ms + hold_ms > clock_ms
        episode.readings, episode.peak_watts = chain.readings, chain.peak_watts
        episode.percentile_watts, episode.limit_watts = chain.percentile_watts, chain.limit_watts
        episode.excess_mj, episode.excess_rest = chain.excess_mj, chain.excess_rest


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
    if not len(before) and not len(after):
        return 0, 0
    was_open = dict(zip(before[list(key)].tolist(), before["open"].tolist()))
    is_open = zip(after[list(key)].tolist(), after["open"].tolist())
    opened = sum(now_open or own_key not in was_open for own_key, now_open in is_open if not was_open.get(own_key))
    return opened, opened + int(before["open"].sum()) - int(after["open"].sum())


@compiled
def _fill_in_next(runs, links):
    """Fill in the earliest known reading after each run."""
    for link in links:
        for r in range(len(runs)):
            if runs[r].meter_id == link.meter_id and runs[r].last_ms == link.last_ms:
                runs[r].next_ms = min(runs[r].next_ms, link.next_ms)


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


@compiled
def _linked(runs, max_sample_period_ms, hold_ms):
    """bool, for all but the last of the sorted runs: whether each belongs to the same episode as the next one."""
    linked = np.zeros(max(len(runs) - 1, 0), np.bool_)
    for i in range(len(linked)):
        here, there = runs[i], runs[i + 1]
        apart_ms = there.start_ms - here.last_ms
        adjoining = here.next_ms == there.start_ms and apart_ms <= period_of(here, max_sample_period_ms)
        linked[i] = here.meter_id == there.meter_id and (adjoining or apart_ms <= hold_ms)
    return linked


def periods(rows: Rows, max_sample_period_ms: int) -> Ints:
    """int64, one a section: how long its last reading holds at most, in ms."""
    return np.where(rows["period_ms"], rows["period_ms"], max_sample_period_ms)


@compiled
def _fold(runs, linked, max_sample_period_ms):
    """The sorted runs, each merged with the next one where the two are linked."""
    folded, size = np.empty_like(runs), 0
    for r in range(len(runs)):
        run = runs[r]
        if r == 0 or not linked[r - 1]:
            folded[size], size = run, size + 1
            continue
        one, before = folded[size - 1], runs[r - 1]
        whole, rest = energy(before.last_over_watts, held_until(before, max_sample_period_ms) - before.last_ms)
        one.excess_mj, one.excess_rest = one.excess_mj + whole + run.excess_mj, one.excess_rest + rest + run.excess_rest
        one.readings, one.peak_watts = one.readings + run.readings, max(one.peak_watts, run.peak_watts)
        one.last_ms, one.next_ms, one.last_over_watts, one.period_ms = run.last_ms, run.next_ms, run.last_over_watts, run.period_ms
    return folded[:size]


@compiled
def held_until(run, max_sample_period_ms):
    """Time until which the last reading of a run holds, judged by the readings so far."""
    return min(run.next_ms, run.last_ms + period_of(run, max_sample_period_ms))


@compiled
def _settled(runs, time_ms, max_sample_period_ms, hold_ms):
    """bool, one a run: whether readings from time_ms on cannot change it."""
    settled = np.empty(len(runs), np.bool_)
    for r in range(len(runs)):
        settled[r] = max(held_until(runs[r], max_sample_period_ms), runs[r].last_ms + hold_ms) < time_ms
    return settled
