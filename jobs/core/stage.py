"""A job is a list of stages: each makes records of what a house has taken in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from jobs.core.batches import Batch, Wanted
from jobs.core.house_days import FRESH, HouseDays
from jobs.core.state import HouseState
from smartmeter.local_days import NEVER


@dataclass
class Change:
    """A batch that a house has taken in, and what the stages need to know about it."""

    batch: Batch
    state: HouseState
    house: HouseDays  # the batch added; the days that are over by it not closed yet
    zone_before: str  # time zone of the house before the batch, where it was known
    clock_before_ms: int  # its newest reading before the batch, or NEVER
    all_sent_before: bool
    verdict: np.ndarray  # of each section, as HouseDays.take gives it
    links: np.ndarray  # LINK, the readings that follow each other
    joined: np.ndarray  # JOINED, the readings that hold from one section to the next
    closes_a_day: bool
    now_ms: int
    thresholds: list[dict] = field(default_factory=list)  # versions (records) that came into force with it
    wake: bool = False  # whether a stage wants to be woken a while later
    opened: int = 0  # alerts that have opened with it
    closed: int = 0  # alerts that are open no longer

    @property
    def house_id(self) -> int:
        return self.batch.house_id

    @property
    def used(self) -> np.ndarray:
        """bool (b,): whether a section of the batch is new."""
        return self.verdict == FRESH

    @property
    def clocks_ms(self) -> list[int]:
        """The house's newest reading after each of the batch's bursts, rising, as far as there has been any."""
        sections = self.batch.sections
        between = sections["before_ms"][sections["burst"] != sections["burst"][:1]]
        clocks_ms = np.unique(np.maximum(np.append(between, self.house.clock_ms), self.clock_before_ms))
        return clocks_ms[clocks_ms > NEVER].tolist()


class Stage:
    """What a job makes of the batches of a house: records for the topics of results."""

    wanted = Wanted()

    def take(self, change: Change) -> Iterator[tuple[str, dict]]:
        """Yield (topic, record) on a batch that was taken in."""
        raise NotImplementedError

    def wake(self, state: HouseState, house: HouseDays, now_ms: int, ended: bool) -> Iterator[tuple[str, dict]]:
        """Yield what is due a while after a stage wanted to be woken, or at the end of a bounded topic (ended)."""
        yield from ()
