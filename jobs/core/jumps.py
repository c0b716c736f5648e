"""A house's time that jumps ahead needs two witnesses: a wrong clock must not close days.

A burst jumps ahead if it starts more than max_jump_ms after the end of all that its house has sent. It is set aside, one a house, until
another burst decides:

- A later one confirms it, or one that starts up to max_jump_ms before it, as another sender's may. It counts, as after a pause. The other
  counts too, or is set aside in its place if it jumps ahead of it: so each burst of a meter that seldom sends counts with the next one.
- One that fills the time up to it, so that it jumps no more, confirms it too.
- One that goes on from the house's time, or jumps ahead by less, refutes it.
- One that lies within the time that the house has sent decides nothing, and one that repeats it is refused.

All depends on the spans of the house's bursts and on their order alone. So it is the same however they are batched, and in a replay.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise

import numpy as np

from jobs.core.batches import Batch, alone, unpack
from jobs.core.house_days import HouseDays
from jobs.core.runs import begins
from jobs.core.state import HouseState
from smartmeter.arrays import Rows
from smartmeter.compiled import compiled
from smartmeter.local_days import NEVER
from smartmeter.settings import Settings

NO_LIMIT_MS = 2**61
REPEATS = "it repeats a burst that starts far ahead of its house's time, of which no other burst had decided yet (SMW_MAX_JUMP_S)"
_REACH = struct.Struct("<q")


def max_jump_ms(settings: Settings) -> int:
    """How far a burst may start ahead of its house's time, in ms."""
    return round(settings.rules.max_jump_s * 1000) or NO_LIMIT_MS


class Jumps:
    """How far the bursts of a house reach, and the one that is set aside: the values `reach` and `aside` of its state."""

    def __init__(self, state: HouseState, max_jump_ms: int):
        self.state, self.max_jump_ms = state, max_jump_ms
        self.refuted: list[tuple[Batch, str]] = []
        """The batches of bursts that were refuted, and the reason of each."""

    @property
    def reach_ms(self) -> int:
        """Latest end of the bursts that count, or NEVER. State of an earlier release has the newest reading in its place."""
        if reach := self.state.get("reach"):
            return int(_REACH.unpack(reach)[0])
        days = self.state.get("days")
        return HouseDays.from_bytes(days).clock_ms if days else NEVER

    @property
    def aside(self) -> Batch | None:
        """The batch of the burst that is set aside."""
        body = self.state.get("aside")
        return next(iter(unpack(body))) if body else None

    def go_on(self, batch: Batch) -> bool:
        """Whether no burst of a batch jumps ahead or decides about another. If so, the batch counts, and the reach has moved."""
        if not len(batch.sections):
            return True
        reach_ms = self.reach_ms
        end_ms, jumps = _reach(batch.sections, reach_ms, self.max_jump_ms)
        if end_ms <= reach_ms:
            return True
        if "aside" in self.state or jumps:
            return False
        self.state.put("reach", _REACH.pack(end_ms))
        return True

    def decide(self, batch: Batch) -> list[Batch]:
        """The batches that count, in order, out of a batch and what was set aside before. Fills in `refuted`."""
        found, begin, reach_ms, aside = list[Batch](), 0, self.reach_ms, self.aside
        starts, ends = batch.sections["start_ms"], batch.sections["end_ms"]
        for here, there in pairwise([*begins(batch.sections["burst"]).tolist(), len(starts)]):
            start_ms, end_ms, before_ms = int(starts[here]), int(ends[here:there].max()), reach_ms
            ahead = reach_ms > NEVER and start_ms > reach_ms + self.max_jump_ms
            if ahead and aside and _repeats(batch.sections[here:there], aside):
                found.append(_part(batch, begin, here))
                begin = there
                self.refuted.append((_part(batch, here, there), REPEATS))
                continue
            if ahead and aside and start_ms >= _span(aside)[0] - self.max_jump_ms:
                found += [_part(batch, begin, here), aside]
                begin, reach_ms, aside = here, max(reach_ms, _span(aside)[1]), None
                ahead = start_ms > reach_ms + self.max_jump_ms
            if ahead:
                self._refute(aside, reach_ms, "and the next one jumps ahead by less")
                found.append(_part(batch, begin, here))
                begin, aside = there, _part(batch, here, there)
                continue
            reach_ms = max(reach_ms, end_ms)
            if aside and _span(aside)[0] <= reach_ms + self.max_jump_ms:
                found += [_part(batch, begin, there), aside]
                begin, reach_ms, aside = there, max(reach_ms, _span(aside)[1]), None
            elif aside and reach_ms > before_ms:
                self._refute(aside, before_ms, "and the next one does not go on from it")
                aside = None
        found.append(_part(batch, begin, len(starts)))
        self._put(reach_ms, aside)
        return [part for part in found if len(part.sections)]

    def end(self) -> None:
        """Refute what is set aside, at the end of a bounded topic."""
        self._refute(self.aside, self.reach_ms, "and none goes on from it before the topic ends")
        self.state.remove("aside")

    def _refute(self, aside: Batch | None, reach_ms: int, why: str) -> None:
        if aside:
            hours = (_span(aside)[0] - reach_ms) / 3_600_000
            reason = f"a wrong clock: it starts {hours:,.1f} h after all that its house had sent, {why} (SMW_MAX_JUMP_S)"
            self.refuted.append((aside, reason))

    def _put(self, reach_ms: int, aside: Batch | None) -> None:
        self.state.put("reach", _REACH.pack(reach_ms))
        if aside:
            self.state.put("aside", alone(aside).pack())
        else:
            self.state.remove("aside")


def _span(batch: Batch) -> tuple[int, int]:
    """Start and end of the only burst of a batch, in ms."""
    return int(batch.sections["start_ms"].min()), int(batch.sections["end_ms"].max())


def _repeats(sections: Rows, aside: Batch) -> bool:
    """Whether a burst (ARRIVED) is of no other meter and no other time than what is set aside, as when a message is sent twice."""
    start_ms, end_ms = _span(aside)
    within = start_ms <= sections["start_ms"].min() and sections["end_ms"].max() <= end_ms
    return bool(within and np.isin(sections["meter_id"], aside.sections["meter_id"]).all())


def _part(batch: Batch, begin: int, end: int) -> Batch:
    """Some of the sections of a batch, whole bursts, as a batch of its own: its bursts know of no others."""
    part = batch.part(begin, end)
    if not len(part.sections):
        return part
    sections, burst = part.sections.copy(), begins(part.sections["burst"])
    newest_ms = np.maximum.reduceat(np.where(sections["readings"] > 0, sections["last_ms"], NEVER), burst)
    before_ms = np.append(NEVER, np.maximum.accumulate(newest_ms)[:-1])
    sections["before_ms"] = before_ms.repeat(np.diff(np.append(burst, len(sections))))
    return replace(part, sections=sections)


@compiled
def _reach(sections, reach_ms, max_jump_ms):
    """(latest end of some bursts' sections, whether any starts too far after reach_ms and the ends of all before).

    The first burst of a house never does: reach_ms is NEVER.
    """
    end_ms, until_ms, jumps = np.int64(NEVER), sections[0].start_ms if reach_ms == NEVER else reach_ms, False
    for s in range(len(sections)):
        jumps |= sections[s].start_ms - until_ms > max_jump_ms
        end_ms, until_ms = max(end_ms, sections[s].end_ms), max(until_ms, sections[s].end_ms)
    return end_ms, jumps
