"""The operator that every job uses for the batches of houses. The job's stages make the results.

    a shard's batches, one a house
          --> set a burst aside that jumps ahead of its house's time, until another one confirms or refutes it (jobs.core.jumps)
          --> cut sections that overlap in part with earlier ones (jobs.core.overlaps)
          --> decide which sections are new, repeated or late (HouseDays.take)
          --> run each stage in turn: Thresholds, Spikes, Watch, DailyEnergy, PowerProfile
          --> close the days that are over

Flink's key is a shard of houses, and the state of a shard is one map. So one request writes all changes of a bundle of messages to a shard.
Separate states would take a request each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any, Protocol

from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, TimerService
from pyflink.datastream.state import MapStateDescriptor

from jobs.core.batches import Batch, Wanted, unpack
from jobs.core.guard import Guard
from jobs.core.house_days import AGAIN, FRESH, LATE, OVERLAPPING, HouseDays, Rules, by_verdict
from jobs.core.jumps import Jumps, max_jump_ms
from jobs.core.late import refusals
from jobs.core.overlaps import cut
from jobs.core.shard_houses import ShardHouses
from jobs.core.stage import Change, Stage
from jobs.core.state import NO_STATE, HouseMap, HouseState, Shard
from jobs.core.state_version import StateFault
from jobs.flink.absence import LONGEST_MS, Absences, next_looks
from jobs.flink.metrics import Counts, own_group
from jobs.flink.outside import Outside
from smartmeter.local_days import midnights
from smartmeter.messages import topics
from smartmeter.messages.codec import decode_as, encode
from smartmeter.messages.framing import framing
from smartmeter.messages.records import Result
from smartmeter.run import LIVE, Run
from smartmeter.settings import DAY_MS, Settings

END_OF_TIME_MS = 2**63 - 1
"""Event time of the last watermark, sent only by a source that has ended."""

EARLY_HOUSES = 4
"""Houses of a shard whose early results are emitted each time its timer fires. The more houses wait, the longer each one waits."""

BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
BATCHES = Types.ROW_NAMED(["batches", "dead_letter"], [BYTES, BYTES])
"""The packed batches of a shard, or a dead letter (a message of that schema); the other is null."""
MESSAGE = Types.ROW_NAMED(["topic", "key", "value"], [Types.STRING(), BYTES, BYTES])

STAYS = " (in a later step: the message stays in the topic, at this place)"
"""Added to the reason of a dead letter without a payload."""

_NAME_OF = {FRESH: "readings_used", AGAIN: "readings_duplicate", OVERLAPPING: "readings_late", LATE: "readings_late"}
COUNTED_AS = [_NAME_OF[verdict] for verdict in sorted(_NAME_OF)]
"""Name of the counter for the readings of a section, by its verdict."""

COUNTED = (*_NAME_OF.values(), "readings_refused", "messages_failed", "alerts_opened", "alerts_closed")


NOTHING = Outside()


class Context(Protocol):
    """The methods of Flink's contexts of keyed functions that are used."""

    def get_current_key(self) -> int:
        """The key of the present row or timer: its shard's."""

    def timer_service(self) -> TimerService:
        """The timers of that shard."""


class Houses(KeyedProcessFunction):
    """Keeps the open days of each house, and sends the results of the stages."""

    def __init__(self, settings: Settings, stages: list[Stage], run: Run = LIVE, outside: Outside = NOTHING):
        self.rules = Rules.of(settings)
        self.user_rules, self.kinds, self.backlog = outside
        self.framing = framing(settings, run)
        self.topic_of = {name: topics.topic(settings, name, run) for name in topics.RESULTS}
        self.days, self.anew = run.days, run.anew
        self.max_jump_ms = max_jump_ms(settings)
        self.memory_bytes = round(settings.flink.state_memory_mb * 1e6)
        self.wake_after_ms = max(1, round(settings.flink.emit_every_s * 1000))
        self.stages = stages
        self.wanted = reduce(or_, (stage.wanted for stage in stages), Wanted())

    def open(self, runtime_context: RuntimeContext) -> None:
        """Called by Flink before the first row: get the state and the metrics."""
        self.of_shard = Shard(runtime_context.get_map_state(MapStateDescriptor("houses", Types.STRING(), BYTES)))
        self.of_houses = HouseMap(self.of_shard, self.memory_bytes)
        self.guard = Guard()
        self.absences = Absences()
        self.user_rules.open()
        self.kinds.open()
        group = own_group(runtime_context.get_metrics_group())
        self.counts = Counts(group, COUNTED, topics.RESULTS)
        self.shards: dict[int, ShardHouses] = {}  # those that have had a message or a timer since this worker started
        group.gauge("open_alerts", lambda: sum(houses.open_alerts for houses in self.shards.values()))

    def close(self) -> None:
        """Called by Flink after the last row."""
        self.user_rules.close()
        self.kinds.close()

    def process_element(self, row: Row, ctx: Context) -> Iterator[Row]:
        """Yield the messages (MESSAGE) of a shard's batches, or of a dead letter (BATCHES)."""
        batches, dead_letter = row
        if dead_letter:
            yield from self.messages([("dead_letter", decode_as("dead_letter", dead_letter))])
            self.counts.report()
            return
        arrived = unpack(batches)
        self.know(arrived.houses["house_id"].tolist(), ctx)
        for batch in arrived:
            yield from self.guarded(batch, lambda state, batch: self.add(state, batch, ctx))
        self.counts.report()

    def state_of(self, house_id: int) -> HouseState:
        """The state of a house of the current shard."""
        return HouseState(self.of_houses, house_id)

    def guarded(self, batch: Batch, do: Callable[[HouseState, Batch], Iterable[Row]]) -> list[Row]:
        """The messages that do(state, batch) yields. Writes the house's new state.

        If it fails on some of the batch's messages, these become dead letters, and their changes are discarded.
        """
        return self.guard.each(batch, lambda piece: self.attempt(piece, do), Batch.halves, self.failed)

    def attempt(self, batch: Batch, do: Callable[[HouseState, Batch], Iterable[Row]]) -> list[Row]:
        """The messages that do(state, batch) yields, for what counts of a batch that jumps ahead. Writes the house's new state, or raises."""
        state = self.state_of(batch.house_id)
        jumps = Jumps(state, self.max_jump_ms)
        if jumps.go_on(batch):
            return self.take(state, batch, do)
        parts = jumps.decide(batch)
        rows = self.refuted(state, jumps)
        for part in parts:
            rows += self.guard.each(part, lambda piece: self.take(self.state_of(piece.house_id), piece, do), Batch.halves, self.failed)
        return rows

    def refuted(self, state: HouseState, jumps: Jumps) -> list[Row]:
        """The dead letters of the bursts that are refuted. Writes the house's new state."""
        state.keep()
        return [row for batch, reason in jumps.refuted for row in self.dead_letter(batch, reason)]

    def take(self, state: HouseState, batch: Batch, do: Callable[[HouseState, Batch], Iterable[Row]]) -> list[Row]:
        """The messages that do(state, batch) yields. Writes the house's new state, or raises and counts nothing."""
        unreported = self.counts.unreported()
        try:
            rows = list(do(state, batch))
        except Exception:
            self.counts.restore(unreported)
            raise
        state.keep()
        return rows

    def failed(self, batch: Batch, reason: str) -> list[Row]:
        """The dead letter of a batch's only message, which could not be processed."""
        self.counts.add("messages_failed")
        return self.dead_letter(batch, reason)

    def dead_letter(self, batch: Batch, reason: str) -> list[Row]:
        """The dead letter of a batch's only message. Its bytes are no longer available here, so the payload is empty."""
        return list(
            self.messages(
                [
                    (
                        "dead_letter",
                        {
                            "partition": int(section["partition"]),
                            "offset": int(section["offset"]),
                            "received": int(batch.sections["end_ms"].max()),
                            "reason": reason + STAYS,
                            "payload": b"",
                        },
                    )
                    for section in batch.sections[:1]
                ]
            )
        )

    def on_timer(self, timestamp: int, ctx: Context) -> Iterator[Row]:
        """Yield early results of some waiting houses, or at the end of a bounded topic those of all houses."""
        ended = timestamp == END_OF_TIME_MS
        houses = self.houses(ctx, ended)
        may_wake = (house_id for house_id in houses.waiting if not self.anew or house_id in houses.begun)
        early = list(islice(may_wake, EARLY_HOUSES))
        if self.backlog and not ended:
            yield from self.look_for_absent(ctx)
        for house_id in houses.known if ended else early:
            state = self.state_of(house_id)
            if ended:
                jumps = Jumps(state, self.max_jump_ms)
                jumps.end()
                yield from self.refuted(state, jumps)
            if not (days := state.get("days")):  # all of its messages have failed
                continue
            house, unreported = HouseDays.from_bytes(days), self.counts.unreported()
            try:
                rows = [row for stage in self.stages for row in self.messages(stage.wake(state, house, now_ms(), ended))]
            except StateFault:
                raise
            except Exception as error:  # the house's early results wait for its next batch
                self.counts.restore(unreported)
                self.guard.log(error)
                continue
            yield from rows
            state.put("days", house.to_bytes())
            state.keep()
        houses.waiting.remove(list(houses.waiting) if ended else early)
        if houses.waiting:
            self.wake_later(ctx.timer_service())
        self.counts.report()

    def look_for_absent(self, ctx: Context) -> Iterator[Row]:
        """Yield the alerts of the shard's houses that have sent nothing for longer than usual, by the wall clock."""
        shard, now = ctx.get_current_key(), ctx.timer_service().current_processing_time()
        if not self.absences.is_time(shard, now):
            return
        due, unknown = self.absences.look(shard, now)
        self.look_again(ctx.timer_service())
        read_until_ms = self.backlog.read_until_ms() if self.backlog and due else 0
        for house_id in due + unknown:
            state = self.state_of(house_id)
            if not (days := state.get("days")):  # all of its messages have failed
                continue
            house = HouseDays.from_bytes(days)
            self.expect(shard, state, house, now)
            if self.absences.is_due(shard, house_id, read_until_ms):
                yield from self.absent(shard, state, house, now)

    def absent(self, shard: int, state: HouseState, house: HouseDays, now_ms: int) -> list[Row]:
        """The messages with the alert of a house that is due. Writes its new state."""
        try:
            results = [result for stage in self.stages for result in stage.absent(state, house, now_ms)]
        except StateFault:
            raise
        except Exception as error:  # the house's alert waits until it sends again
            self.guard.log(error)
            self.absences.expect(shard, state.house_id, None)
            return []
        if results:
            state.put("days", house.to_bytes())
            state.keep()
            self.count_alerts(self.shards[shard], len(results), 0)
            self.absences.expect(shard, state.house_id, None)
        return list(self.messages(results))

    def look_again(self, timers: TimerService) -> None:
        """Register the timers of the next looks."""
        for time_ms in next_looks(timers.current_processing_time()):
            timers.register_processing_time_timer(time_ms)

    def expect(self, shard: int, state: HouseState, house: HouseDays, now_ms: int) -> None:
        """Note when a house counts as silent if nothing comes."""
        due_ms = [due for stage in self.stages if (due := stage.due_ms(state, house)) is not None]
        is_live = now_ms - house.clock_ms < LONGEST_MS
        self.absences.expect(shard, state.house_id, min(due_ms) if due_ms and is_live else None)

    def houses(self, ctx: Context, ended: bool = False) -> ShardHouses:
        """What is known of the current shard's houses.

        The first call for a shard since the start registers its timers again, unless the topic has ended. A checkpoint of PyFlink 2.2 lacks the
        timers that were registered in the bundle that it ended, because they are still behind it in the task's mailbox.
        """
        if (shard := ctx.get_current_key()) not in self.shards:
            self.shards[shard] = ShardHouses(self.of_shard, self.anew)
            if not ended:
                self.register_timers(shard, ctx.timer_service())
        return self.shards[shard]

    def register_timers(self, shard: int, timers: TimerService) -> None:
        """Register the timers of a shard: at the end of time, of the next looks for absent houses, and to wake houses."""
        timers.register_event_time_timer(END_OF_TIME_MS)
        if self.backlog:
            self.absences.begin(shard, list(self.shards[shard].known), timers.current_processing_time())
            self.look_again(timers)
        if self.shards[shard].waiting:
            self.wake_later(timers)

    def wake_later(self, timers: TimerService) -> None:
        """Register the timer that wakes some of the current shard's houses."""
        timers.register_processing_time_timer(timers.current_processing_time() + self.wake_after_ms)

    def know(self, house_ids: list[int], ctx: Context) -> None:
        """Add houses to the current shard. Those that come for the first time in a run in which houses begin anew do so."""
        houses = self.houses(ctx)
        for house_id in houses.known.add(house_ids):
            self.of_houses.put(str(house_id), NO_STATE)
        if self.anew:
            for house_id in houses.begun.add(house_ids):
                self.begin_anew(self.state_of(house_id), houses)

    def begin_anew(self, state: HouseState, houses: ShardHouses) -> None:
        """Drop the state of a house. Its revisions go on rising."""
        house = HouseDays.from_bytes(days) if (days := state.get("days")) else None
        if house:
            self.count_alerts(houses, 0, sum(stage.open_alerts(state, house) for stage in self.stages))
        state.clear()
        if house:
            state.put("days", house.emptied().to_bytes())
        state.keep()

    def add(self, state: HouseState, batch: Batch, ctx: Context) -> Iterator[Row]:
        """Process a batch and yield its messages. The caller must then write the house's new state."""
        change = self.take_in(state, batch)
        yield from self.messages(refusals(change))
        for stage in self.stages:
            yield from self.messages(stage.take(change))
        if change.closes_a_day:
            change.close(self.rules)
        change.state.put("days", change.house.to_bytes())
        houses = self.houses(ctx)
        self.count(change, houses)
        if self.backlog:
            self.expect(ctx.get_current_key(), change.state, change.house, ctx.timer_service().current_processing_time())
        if change.wake:
            if not houses.waiting:
                self.wake_later(ctx.timer_service())
            houses.waiting.add([change.house_id])

    def take_in(self, state: HouseState, batch: Batch) -> Change:
        """Add a batch to its house."""
        house = HouseDays.known(state.get("days"), batch.timezone)
        before = house.timezone, house.clock_ms, house.all_sent
        house.timezone = batch.timezone
        batch = cut(batch, house, self.rules, self.wanted)
        taken = house.take(batch.sections, batch.newest_ms, self.rules)
        over = house.over_by_now(self.rules)
        open_from_ms = int(midnights(house.timezone)[max(over, house.closed_day) + 1])
        user_rules = self.user_rules.of(batch.house_id)
        return Change(batch, state, house, *before, *taken, over > house.closed_day, open_from_ms, now_ms(), user_rules, self.kinds.of)

    def count(self, change: Change, houses: ShardHouses) -> None:
        """Count a batch's readings by verdict, and the alerts that it opened and closed."""
        readings, refused = by_verdict(change.verdict, change.batch.sections).tolist()
        for verdict, name in enumerate(COUNTED_AS):
            self.counts.add(name, readings[verdict])
            self.counts.add("readings_refused" if verdict == FRESH else name, refused[verdict])
        self.count_alerts(houses, change.opened, change.closed)

    def count_alerts(self, houses: ShardHouses, opened: int, closed: int) -> None:
        """Count alerts that opened and closed."""
        self.counts.add("alerts_opened", opened)
        self.counts.add("alerts_closed", closed)
        houses.count_alerts(opened, closed)

    def messages(self, results: Iterable[Result]) -> Iterator[Row]:
        """Convert (topic, record) to messages (MESSAGE). A replay keeps only the records of its days."""
        for name, record in results:
            if self.days is None or _day(record) in self.days:
                self.counts.add(("results", name))
                yield Row(self.topic_of[name], topics.key(name, record), self.framing.sent(encode(topics.SCHEMA_OF[name], record)))


def _day(record: Mapping[str, Any]) -> int:
    """The local day that a result belongs to; for a dead letter, the day (UTC) of its message."""
    return int(record["date"] if "date" in record else record["received"] // DAY_MS)


def now_ms() -> int:
    """The present time, in ms since 1970-01-01T00:00Z."""
    return round(time.time() * 1000)
