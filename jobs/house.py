"""What every job does with the batches of a house; what it makes of them is the business of its parts.

    batch --> which of its sections are new, and which repeated or late (integral.HouseDays)
          --> each part in turn: DailyEnergy, Thresholds, Spikes, PowerProfile
          --> days that are over are closed
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, TimerService
from pyflink.datastream.state import ValueStateDescriptor

from jobs.batches import Batch, Wanted
from jobs.integral import FRESH, LATE, OVERLAPPING, HouseDays, Rules, kwh
from jobs.readings import NEVER
from smartmeter import topics
from smartmeter.codec import decode, encode
from smartmeter.settings import Settings

NO_HOUSE = 0
"""In place of a house_id (they start at 1): the row is a dead letter, ready to be sent."""

END_OF_TIME_MS = 2**63 - 1
"""Event time of the last watermark, which only a source that has come to its end sends."""

DAY_MS = 86_400_000
BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
BATCH = Types.ROW_NAMED(
    ["house_id", "timezone", "newest_ms", "body"], [Types.LONG(), Types.STRING(), Types.LONG(), BYTES])
MESSAGE = Types.ROW_NAMED(["topic", "key", "value"], [Types.STRING(), BYTES, BYTES])


@dataclass
class Change:
    """A batch that a house has taken in, and what the parts need to know about it."""

    house_id: int
    house: HouseDays  # the batch added; the days that are over by it not closed yet
    batch: Batch
    used: np.ndarray  # bool (b,), whether a section of the batch is new
    links: np.ndarray  # LINK, the readings that follow each other
    clock_before_ms: int  # the house's newest reading before the batch, or NEVER
    all_sent_before: bool
    timers: TimerService
    now_ms: int
    first_clock_ms: int  # the house's newest reading after the first burst of the batch that has any
    thresholds: list[dict] = field(default_factory=list)  # versions (records) that came into force with it


class Part:
    """What a job makes of the batches of a house: records for the topics of results."""

    wanted = Wanted()

    def open(self, runtime_context) -> None:
        """Get hold of the part's keyed state."""

    def take(self, change: Change) -> Iterator[tuple[str, dict]]:
        """Yield (topic, record) on a batch that was taken in."""
        raise NotImplementedError

    def wake(self, house_id: int, house: HouseDays, now_ms: int, ended: bool) -> Iterator[tuple[str, dict]]:
        """Yield what is due when a timer of the house fires; ended: it is the one at the end of a bounded topic."""
        yield from ()


class Houses(KeyedProcessFunction):
    """Keeps the open days of each house, and sends what the parts make of them."""

    def __init__(self, settings: Settings, parts: list[Part]):
        self.rules = Rules.of(settings)
        self.topic_of = {name: topics.topic(settings, name) for name in topics.RESULTS}
        self.days = settings.replayed_days
        self.parts = parts

    def open(self, runtime_context):
        self.state = runtime_context.get_state(ValueStateDescriptor("house_days", BYTES))
        for part in self.parts:
            part.open(runtime_context)

    def process_element(self, row, ctx):
        house_id, timezone, newest_ms, body = row
        if house_id == NO_HOUSE:
            return self.messages([("dead_letter", decode(body)[1])])
        return self.add(house_id, timezone, newest_ms, Batch.from_bytes(body), ctx.timer_service())

    def on_timer(self, timestamp, ctx):
        house_id, house = ctx.get_current_key(), HouseDays.from_bytes(self.state.value())
        for part in self.parts:
            yield from self.messages(part.wake(house_id, house, now_ms(), timestamp == END_OF_TIME_MS))
        self.state.update(house.to_bytes())

    def house(self, timezone: str) -> HouseDays:
        """The present house as it is known, or a new one; in that time zone from now on."""
        state = self.state.value()
        house = HouseDays.new(timezone) if state is None else HouseDays.from_bytes(state)
        house.timezone = timezone
        return house

    def add(self, house_id: int, timezone: str, newest_ms: int, batch: Batch, timers: TimerService) -> Iterator[Row]:
        """Yield the messages that follow from a batch."""
        house = self.house(timezone)
        if house.clock_ms == NEVER:
            timers.register_event_time_timer(END_OF_TIME_MS)
        clock_before_ms, all_sent_before = house.clock_ms, house.all_sent
        verdict, links = house.add(batch.sections, newest_ms, self.rules)
        for refusal, reason in REFUSALS.items():
            yield from self.messages(refused(house_id, house, batch.sections[verdict == refusal], reason))
        change = Change(house_id, house, batch, verdict == FRESH, links, clock_before_ms, all_sent_before, timers,
                        now_ms(), first_clock_ms(batch.sections, newest_ms))
        for part in self.parts:
            yield from self.messages(part.take(change))
        house.close(self.rules)
        self.state.update(house.to_bytes())

    def messages(self, results: Iterable[tuple[str, dict]]) -> Iterator[Row]:
        """(topic, record) as messages (MESSAGE); of a replay those of its days."""
        for name, record in results:
            if self.days is None or record.get("date", record.get("received", 0) // DAY_MS) in self.days:
                yield Row(self.topic_of[name], topics.key(name, record), encode(topics.SCHEMA_OF[name], record))


def first_clock_ms(sections: np.ndarray, newest_ms: int) -> int:
    """The newest reading after the first of a batch's bursts that has any; newest_ms: that of the whole batch."""
    known = sections["before_ms"][sections["before_ms"] > NEVER]
    return int(known.min(initial=newest_ms))


def now_ms() -> int:
    return round(time.time() * 1000)


REFUSALS = {LATE: "its day was closed", OVERLAPPING: "it covers in part what was received before"}


def refused(house_id: int, house: HouseDays, sections: np.ndarray, reason: str) -> Iterator[tuple[str, dict]]:
    """A record of `late` for each message and day among the sections (ARRIVED)."""
    sections = sections[sections["readings"] > 0]
    places = np.unique(sections[["partition", "offset", "day"]])
    for place in places.tolist():
        part = sections[sections[["partition", "offset", "day"]] == np.array(place, places.dtype)]
        partition, offset, day = place
        yield "late", {
            "partition": partition, "offset": offset, "house_id": house_id,
            "date": day, "start": int(part["start_ms"].min()), "end": int(part["end_ms"].max()),
            "readings": int(part["readings"].sum()),
            "kwh": float(kwh(part["energy_mj"].sum(), part["energy_rest"].sum())),
            "house_time": house.clock_ms, "reason": reason,
        }
