"""What every job does with the batches of houses; what it makes of them is the business of its parts.

    a shard's batches, one a house
          --> sections that overlap in part with what was received are cut (jobs.overlaps)
          --> which of their sections are new, and which repeated or late (HouseDays.take)
          --> each part in turn: DailyEnergy, Thresholds, Spikes, PowerProfile
          --> days that are over are closed

Flink's key is a shard of houses, and the state of a shard one map. So all that a bundle of messages changes in a shard is written by
one request, where a state for itself would take one each.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

import numpy as np
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction
from pyflink.datastream.state import MapState, MapStateDescriptor

from jobs.batches import Batch, Wanted, unpack
from jobs.guard import Guard
from jobs.integral import AGAIN, FRESH, LATE, OVERLAPPING, HouseDays, Rules, StateFault, kwh
from jobs.metrics import Counts, own_group
from jobs.overlaps import cut
from jobs.readings import NEVER
from smartmeter import topics
from smartmeter.codec import decode, encode
from smartmeter.framing import framing
from smartmeter.settings import DAY_MS, Settings

END_OF_TIME_MS = 2**63 - 1
"""Event time of the last watermark, which only a source that has come to its end sends."""

STATE_PROTOCOL = 4
"""Of pickle, by which the small values of a house are made one; any Python from 3.4 on reads it."""

NO_STATE = pickle.dumps(({}, set()), STATE_PROTOCOL)
"""Of a house that was never heard of."""

EARLY_HOUSES = 4
"""Houses of a shard whose early results are told each time its timer fires: the more wait, the longer each of them does."""

BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
BATCHES = Types.ROW_NAMED(["batches", "dead_letter"], [BYTES, BYTES])
"""The batches of a shard, packed, or a dead letter (a message of that schema); the other is null."""
MESSAGE = Types.ROW_NAMED(["topic", "key", "value"], [Types.STRING(), BYTES, BYTES])

LARGE = {"pane", "window", "versions", "waiting", "hours"}
"""First parts of the names of what is large, or many, and seldom changes."""


class Shard:
    """The map of a shard. What fails in it is no message's fault: it raises StateFault."""

    def __init__(self, of_shard: MapState):
        self._map = of_shard

    def get(self, key: str) -> bytes | None:
        return self._do(self._map.get, key)

    def put(self, key: str, value: bytes) -> None:
        self._do(self._map.put, key, value)

    def remove(self, key: str) -> None:
        self._do(self._map.remove, key)

    def _do(self, action: Callable, *args):
        try:
            return action(*args)
        except Exception as error:
            raise StateFault(f"the state of a shard fails: {type(error).__name__}: {error}") from error


class HouseState:
    """The state of one house: bytes by name. What is put is written by keep() alone, so that a batch which fails changes nothing.

    What most batches change is together one value of the shard's map, so that it takes one request. What is LARGE has values
    of its own; the one value tells which there are, so that none is asked for in vain.
    """

    def __init__(self, of_shard: Shard | MapState, house_id: int):
        self.of_shard, self.house_id = of_shard, house_id
        self.small, self.large = pickle.loads(of_shard.get(str(house_id)) or b"")
        self.changed: dict[str, bytes | None] = {}  # large values that are not written yet; None: removed

    def get(self, name: str) -> bytes | None:
        if name in self.changed:
            return self.changed[name]
        if name in self.large:
            return self.of_shard.get(f"{self.house_id}/{name}")
        return self.small.get(name)

    def put(self, name: str, value: bytes) -> None:
        if name.split("/")[0] in LARGE:
            self.large.add(name)
            self.changed[name] = value
        else:
            self.small[name] = value

    def remove(self, name: str) -> None:
        if name in self.large:
            self.large.remove(name)
            self.changed[name] = None
        else:
            self.small.pop(name, None)

    def keep(self) -> None:
        """Write what has changed."""
        for name, value in self.changed.items():
            if value is None:
                self.of_shard.remove(f"{self.house_id}/{name}")
            else:
                self.of_shard.put(f"{self.house_id}/{name}", value)
        self.changed.clear()
        self.of_shard.put(str(self.house_id), pickle.dumps((self.small, self.large), STATE_PROTOCOL))


@dataclass
class Change:
    """A batch that a house has taken in, and what the parts need to know about it."""

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
    wake: bool = False  # whether a part wants to be woken a while later
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


class Part:
    """What a job makes of the batches of a house: records for the topics of results."""

    wanted = Wanted()

    def take(self, change: Change) -> Iterator[tuple[str, dict]]:
        """Yield (topic, record) on a batch that was taken in."""
        raise NotImplementedError

    def wake(self, state: HouseState, house: HouseDays, now_ms: int, ended: bool) -> Iterator[tuple[str, dict]]:
        """Yield what is due a while after a part wanted to be woken, or at the end of a bounded topic (ended)."""
        yield from ()


class Houses(KeyedProcessFunction):
    """Keeps the open days of each house, and sends what the parts make of them."""

    def __init__(self, settings: Settings, parts: list[Part]):
        self.rules = Rules.of(settings)
        self.framing = framing(settings)
        self.topic_of = {name: topics.topic(settings, name) for name in topics.RESULTS}
        self.days = settings.replayed_days
        self.wake_after_ms = max(1, round(settings.emit_every_s * 1000))
        self.parts = parts
        self.wanted = reduce(or_, (part.wanted for part in parts), Wanted())

    def open(self, runtime_context):
        self.of_shard = Shard(runtime_context.get_map_state(MapStateDescriptor("houses", Types.STRING(), BYTES)))
        self.guard = Guard()
        group = own_group(runtime_context.get_metrics_group())
        self.counts = Counts(group, COUNTED, topics.RESULTS)
        self.open_alerts: dict[int, int] = {}  # of each shard that has had a message since
        group.gauge("open_alerts", lambda: sum(self.open_alerts.values()))

    def process_element(self, row, ctx):
        batches, dead_letter = row
        if dead_letter:
            yield from self.messages([("dead_letter", decode(dead_letter)[1])])
            self.counts.tell()
            return
        arrived = unpack(batches)
        self.know(arrived.houses["house_id"].tolist(), ctx)
        for batch in arrived:
            yield from self.guarded(batch, lambda state, batch: self.add(state, batch, ctx))
        self.counts.tell()

    def guarded(self, batch: Batch, do: Callable[[HouseState, Batch], Iterable[Row]]) -> list[Row]:
        """The messages that do(state, batch) yields; the house's new state is kept.

        Should it fail on some of the batch's messages, these become dead letters, and what they would have changed is forgotten.
        """
        return self.guard.each(batch, lambda part: self.attempt(part, do), Batch.halves, self.failed)

    def attempt(self, batch: Batch, do: Callable[[HouseState, Batch], Iterable[Row]]) -> list[Row]:
        state, untold = HouseState(self.of_shard, batch.house_id), self.counts.untold()
        try:
            rows = list(do(state, batch))
        except Exception:
            self.counts.restore(untold)
            raise
        state.keep()
        return rows

    def failed(self, batch: Batch, reason: str) -> list[Row]:
        """The dead letter of the one message of a batch, without its bytes, which are not at hand any more."""
        self.counts.add("messages_failed")
        return list(self.messages([("dead_letter", {
            "partition": int(section["partition"]), "offset": int(section["offset"]), "received": int(batch.sections["end_ms"].max()),
            "reason": reason + STAYS, "payload": b"",
        }) for section in batch.sections[:1]]))

    def on_timer(self, timestamp, ctx):
        ended, waiting = timestamp == END_OF_TIME_MS, self.waiting()
        for house_id in self.all_houses() if ended else waiting[:EARLY_HOUSES]:
            state = HouseState(self.of_shard, house_id)
            if not (days := state.get("days")):  # all that it has sent has failed
                continue
            house, untold = HouseDays.from_bytes(days), self.counts.untold()
            try:
                rows = [row for part in self.parts for row in self.messages(part.wake(state, house, now_ms(), ended))]
            except StateFault:
                raise
            except Exception as error:  # its early results wait for its next batch
                self.counts.restore(untold)
                self.guard.log(error)
                continue
            yield from rows
            state.put("days", house.to_bytes())
            state.keep()
        self.wait([] if ended else waiting[EARLY_HOUSES:], ctx.timer_service())
        self.counts.tell()

    def all_houses(self) -> list[int]:
        """The houses of the present shard."""
        return np.frombuffer(self.of_shard.get(HOUSES) or b"", np.int64).tolist()

    def know(self, house_ids: list[int], ctx) -> None:
        """Let houses belong to the present shard from now on.

        With the first of them since the start its timers are registered once more. PyFlink 2.2 leaves those out of a checkpoint that were
        registered in the bundle that the checkpoint ended: they are in the task's mailbox then, behind the checkpoint.
        """
        if (shard := ctx.get_current_key()) not in self.open_alerts:
            self.open_alerts[shard] = int.from_bytes(self.of_shard.get(OPEN_ALERTS) or b"")
            ctx.timer_service().register_event_time_timer(END_OF_TIME_MS)
            if waiting := self.waiting():
                self.wait(waiting, ctx.timer_service())
        known = self.all_houses()
        if new := sorted(set(house_ids).difference(known)):
            self.of_shard.put(HOUSES, np.array([*known, *new], np.int64).tobytes())
            for house_id in new:
                self.of_shard.put(str(house_id), NO_STATE)

    def waiting(self) -> list[int]:
        """The houses of the present shard that are to be woken."""
        return np.frombuffer(self.of_shard.get(WAITING) or b"", np.int64).tolist()

    def wait(self, houses: list[int], timers) -> None:
        """Let these houses wait to be woken, some of them when the shard's timer fires."""
        self.of_shard.put(WAITING, np.array(houses, np.int64).tobytes())
        if houses:
            timers.register_processing_time_timer(timers.current_processing_time() + self.wake_after_ms)

    def add(self, state: HouseState, batch: Batch, ctx) -> Iterator[Row]:
        """Yield the messages that follow from a batch; the house's new state is still to be kept."""
        change = self.take_in(state, batch)
        yield from self.messages(refusals(change))
        for part in self.parts:
            yield from self.messages(part.take(change))
        if change.closes_a_day:
            change.house.close(self.rules)
        change.state.put("days", change.house.to_bytes())
        self.count(change, ctx.get_current_key())
        if change.wake and change.house_id not in (waiting := self.waiting()):
            if waiting:
                self.of_shard.put(WAITING, np.array([*waiting, change.house_id], np.int64).tobytes())
            else:
                self.wait([change.house_id], ctx.timer_service())

    def take_in(self, state: HouseState, batch: Batch) -> Change:
        """Let a house take in a batch."""
        house = HouseDays.known(state.get("days"), batch.timezone)
        before = house.timezone, house.clock_ms, house.all_sent
        house.timezone = batch.timezone
        batch = cut(batch, house, self.rules, self.wanted)
        taken = house.take(batch.sections, batch.newest_ms, self.rules)
        return Change(batch, state, house, *before, *taken, closes_a_day=house.over_by_now(self.rules) > house.closed_day, now_ms=now_ms())

    def count(self, change: Change, shard: int) -> None:
        """Count what has become of a batch's readings, and of alerts."""
        readings, refused = (np.bincount(change.verdict, change.batch.sections[name], len(COUNTED_AS)).astype(int).tolist()
                             for name in ("readings", "refused"))
        for verdict, name in enumerate(COUNTED_AS):
            self.counts.add(name, readings[verdict])
            self.counts.add("readings_refused" if verdict == FRESH else name, refused[verdict])
        if change.opened or change.closed:
            self.counts.add("alerts_opened", change.opened)
            self.counts.add("alerts_closed", change.closed)
            self.open_alerts[shard] += change.opened - change.closed
            self.of_shard.put(OPEN_ALERTS, self.open_alerts[shard].to_bytes(8))

    def messages(self, results: Iterable[tuple[str, dict]]) -> Iterator[Row]:
        """(topic, record) as messages (MESSAGE); of a replay those of its days."""
        for name, record in results:
            if self.days is None or record.get("date", record.get("received", 0) // DAY_MS) in self.days:
                self.counts.add(("results", name))
                yield Row(self.topic_of[name], topics.key(name, record), self.framing.sent(encode(topics.SCHEMA_OF[name], record)))


STAYS = " (in a later step: the message stays in the topic, at this place)"
"""Added to the reason of a dead letter without a payload."""

HOUSES, WAITING, OPEN_ALERTS = "houses", "waiting", "open_alerts"
"""Keys of a shard's state: its houses, those that are to be woken, and how many of its alerts are open."""

_NAME_OF = {FRESH: "readings_used", AGAIN: "readings_duplicate", OVERLAPPING: "readings_late", LATE: "readings_late"}
COUNTED_AS = [_NAME_OF[verdict] for verdict in sorted(_NAME_OF)]
"""What the readings of a section count as, by its verdict."""

COUNTED = (*_NAME_OF.values(), "readings_refused", "messages_failed", "alerts_opened", "alerts_closed")


def now_ms() -> int:
    return round(time.time() * 1000)


REFUSALS = {LATE: "its day was closed", OVERLAPPING: "it covers in part what was received before"}


def refusals(change: Change) -> Iterator[tuple[str, dict]]:
    """Records of `late` for the sections of a batch that were refused."""
    if change.verdict.max(initial=FRESH) >= min(REFUSALS):
        for refusal, reason in REFUSALS.items():
            yield from refused(change.house_id, change.house, change.batch.sections[change.verdict == refusal], reason)


def refused(house_id: int, house: HouseDays, sections: np.ndarray, reason: str) -> Iterator[tuple[str, dict]]:
    """A record of `late` for each message and day among the sections (ARRIVED)."""
    sections = sections[sections["readings"] + sections["refused"] > 0]
    places = np.unique(sections[["partition", "offset", "day"]])
    for place in places.tolist():
        part = sections[sections[["partition", "offset", "day"]] == np.array(place, places.dtype)]
        partition, offset, day = place
        yield "late", {
            "partition": partition, "offset": offset, "house_id": house_id,
            "date": day, "start": int(part["start_ms"].min()), "end": int(part["end_ms"].max()),
            "readings": int(part["readings"].sum() + part["refused"].sum()),
            "kwh": float(kwh(part["energy_mj"].sum(), part["energy_rest"].sum())),
            "house_time": house.clock_ms, "reason": reason,
        }
