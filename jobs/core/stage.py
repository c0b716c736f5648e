"""A job is a list of stages. Each makes records from the batches that a house takes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from jobs.core.batches import Batch, Wanted
from jobs.core.cells import Cells
from jobs.core.episodes import EPISODE
from jobs.core.house_days import FRESH, HouseDays, Rules
from jobs.core.kinds import NO_KINDS, MeterKinds
from jobs.core.minutes import Minutes
from jobs.core.rows import picked, stacked
from jobs.core.state import HouseState
from jobs.core.user_rules import NO_USER_RULES, UserRules
from smartmeter.arrays import Bools, Bytes, Rows
from smartmeter.local_days import NEVER
from smartmeter.messages.records import Result, ThresholdRecord
from smartmeter.settings import MINUTE_MS

NO_GLITCHES = np.empty(0, EPISODE)


@dataclass
class Change:
    """A batch that a house has taken in, and what the stages need besides it."""

    batch: Batch
    state: HouseState
    house: HouseDays  # after the batch; days that it ended are not closed yet
    zone_before: str  # time zone of the house before the batch; for an unseen house, that of the batch
    clock_before_ms: int  # its newest reading before the batch, or NEVER
    all_sent_before: bool
    verdict: Bytes  # on each section, see HouseDays.take
    links: Rows  # LINK, pairs of consecutive readings
    joined: Rows  # JOINED, the readings that hold from one section to the next
    closes_a_day: bool
    open_from_ms: int  # the local midnight that begins the first day which the batch does not close
    now_ms: int
    user_rules: UserRules = NO_USER_RULES  # all of the house
    kinds_of: Callable[[int], MeterKinds] = lambda house_id: NO_KINDS  # of a house's meters at present
    thresholds: list[ThresholdRecord] = field(default_factory=list)  # versions (records) that came into force with the batch
    glitches: Rows = field(default_factory=lambda: NO_GLITCHES)  # EPISODE, of the days that were open before the batch
    wake: bool = False  # whether a stage wants to be woken later
    opened: int = 0  # alerts that the batch opened
    closed: int = 0  # alerts that the batch closed

    @property
    def house_id(self) -> int:
        """The house of the batch."""
        return self.batch.house_id

    @property
    def used(self) -> Bools:
        """bool (s,): whether each section of the batch is new."""
        used: Bools = self.verdict == FRESH
        return used

    @property
    def clocks_ms(self) -> list[int]:
        """The house's newest reading after each of the batch's bursts: rising, each once, without NEVER."""
        sections = self.batch.sections
        between = sections["before_ms"][sections["burst"] != sections["burst"][:1]]
        clocks_ms = {max(clock_ms, self.clock_before_ms) for clock_ms in (*between.tolist(), self.house.clock_ms)}
        return sorted(clocks_ms - {NEVER})

    @cached_property
    def settled(self) -> Rows:
        """The minutes (PART, by part, meter and minute) that the batch settles, and pieces of minutes that were settled before."""
        state = self.state.get("minutes")
        minutes = Minutes.from_bytes(state)
        settled = minutes.take(self.batch.sections, self.batch.minutes, self.used, self.clock_before_ms, self.house.clock_ms)
        if (new_state := minutes.to_bytes()) != state:
            self.state.put("minutes", new_state)
        return settled

    @cached_property
    def cells(self) -> Cells:
        """The house's cells with the minutes that are settled, or of a day that the batch closes: neither depends on how bursts are batched."""
        cells, minutes = Cells(self.state), self.settled
        if self.closes_a_day:
            others = Minutes.from_bytes(self.state.get("minutes")).open
            minutes = stacked(minutes, picked(others, others["minute"] < self.open_from_ms // MINUTE_MS))
        cells.take(minutes)
        return cells

    def close(self, rules: Rules) -> None:
        """Close the days that are over."""
        self.house.close(rules)
        Cells(self.state).drop_before(self.open_from_ms // MINUTE_MS)


class Stage:
    """Makes records for the result topics from the batches of a house."""

    wanted = Wanted()
    judges = False
    """Whether it makes alerts, and so needs the rules of users."""
    makes_thresholds = False
    """Whether it needs the kinds of meters."""

    def take(self, change: Change) -> Iterator[Result]:
        """Yield (topic, record) for a batch that was taken in."""
        raise NotImplementedError

    def due_ms(self, state: HouseState, house: HouseDays) -> int | None:
        """When a house counts as silent by the wall clock, if nothing comes; None: never, or not known."""
        return None

    def absent(self, state: HouseState, house: HouseDays, now_ms: int) -> Iterator[Result]:
        """Yield (topic, record) for a house that is due, if it is silent. now_ms: the wall clock."""
        yield from ()

    def open_alerts(self, state: HouseState, house: HouseDays) -> int:
        """The number of a house's alerts that are open."""
        return 0

    def wake(self, state: HouseState, house: HouseDays, now_ms: int, ended: bool) -> Iterator[Result]:
        """Yield (topic, record) some time after a stage set Change.wake, or at the end of a bounded topic (ended)."""
        yield from ()
