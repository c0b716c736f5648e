"""The spikes job: topics readings and thresholds -> topics alerts, late and dead_letter.

readings   --> batches of sections with their readings, a house each (kafka_tables.batches)  --+
thresholds --> versions, by house                                                            --+
         --> Spikes: a batch waits until versions for all of its time have arrived; then each reading is compared
             with the version in force at its own time, and those over the limit form episodes (jobs.core.episodes)
         --> results
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from functools import reduce
from operator import or_
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from pyflink.common import Row
from pyflink.datastream import KeyedCoProcessFunction, RuntimeContext

from jobs.core.batches import Batch, Wanted, alone, unpack
from jobs.core.energy import kwh
from jobs.core.episodes import LOWEST, Runs, Spell, Versions, glitches, may_be_over, noted, openings, runs_over
from jobs.core.episodes import changes as changes_of
from jobs.core.guard import reason_of
from jobs.core.house_days import HouseDays
from jobs.core.late import refused
from jobs.core.rows import picked, stacked
from jobs.core.stage import Change, Stage
from jobs.core.state import HouseState
from jobs.core.state_version import StateFault
from jobs.core.statements import Level, Percentile
from jobs.core.user_rules import LEAST_LIMITS, PERCENTILE, SPIKE
from jobs.core.watch import Watch
from jobs.core.window import Limits
from jobs.flink import flow, kafka_tables
from jobs.flink.operator import END_OF_TIME_MS, MESSAGE, NOTHING, Context, Houses
from jobs.flink.outside import Outside
from smartmeter.arrays import Rows
from smartmeter.local_days import day_of
from smartmeter.messages.codec import decode_as
from smartmeter.messages.records import MeterThresholdRecord, Result, ThresholdRecord
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings

NO_THRESHOLD = "the topics ended before a threshold for its time arrived"
log = logging.getLogger("spikes")


class Spikes(Stage):
    """Emits alerts: an episode immediately, again whenever it changes, and as retracted if no episode starts there any more."""

    suffix = ""
    """Of its values in a house's state, and of its alert ids."""
    judges = True
    raised_by = SPIKE
    """Which limits of a user's rule count."""

    def __init__(self, settings: Settings):
        self.spell = Spell.of(settings)
        self.statement = Level(self.spell.hold_ms).statement
        self.wanted = Wanted(readings_over_watts=LEAST_LIMITS * Limits.of(settings).lowest_watts)

    def limit_of(self, meter: MeterThresholdRecord) -> float | None:
        """The limit of a meter in a version, in W; None if it has none."""
        return meter["limit_watts"]

    def noted(self, episodes: Rows) -> Rows:
        """The episodes (EPISODE) that make an alert."""
        return noted(episodes)

    def keep_new(self, state: HouseState, thresholds: list[ThresholdRecord]) -> Versions:
        """Store new versions (records of schema threshold). Returns all stored versions."""
        versions = Versions.from_bytes(state.get(f"versions{self.suffix}"))
        for threshold in thresholds:
            versions.add(threshold, self.limit_of)
        if thresholds:
            self.keep(state, versions)
        return versions

    def keep(self, state: HouseState, versions: Versions) -> None:
        """Store the versions, and the lowest of their limits."""
        state.put(f"versions{self.suffix}", versions.to_bytes())
        state.put(f"lowest{self.suffix}", versions.lowest().tobytes())

    def take(self, change: Change) -> Iterator[Result]:
        """Yield alerts, if the batch can open or change any."""
        if change.thresholds:
            self.keep_new(change.state, change.thresholds)
        lowest = np.frombuffer(change.state.get(f"lowest{self.suffix}") or b"", LOWEST)
        state = change.state.get(f"runs{self.suffix}")
        if state or may_be_over(change.batch.sections, lowest, change.user_rules.least_limits):
            yield from self.look_at(change, state)
        if change.closes_a_day:
            versions = self.keep_new(change.state, [])
            versions.forget_before(change.open_from_ms)
            self.keep(change.state, versions)

    def open_alerts(self, state: HouseState, house: HouseDays) -> int:
        """See Stage."""
        runs = Runs.from_bytes(state.get(f"runs{self.suffix}"))
        return int(self.noted(runs.episodes(house.clock_ms, self.spell))["open"].sum())

    def look_at(self, change: Change, state: bytes | None) -> Iterator[Result]:
        """Yield the alerts that a batch opens or changes. state: of the runs before it."""
        house, spell = change.house, self.spell
        versions = self.keep_new(change.state, [])
        runs = Runs.from_bytes(state)
        before = self.noted(runs.episodes(change.clock_before_ms, spell))
        over = runs_over(change.batch, change.used, versions, spell.max_sample_period_ms, change.user_rules, self.raised_by)
        runs.add(over, change.links, house.sections, spell)
        after = self.noted(runs.episodes(house.clock_ms, spell))
        change.glitches = stacked(change.glitches, glitches(after))
        changed, gone = changes_of(before, after)
        if len(changed) or len(gone):
            opened, closed = openings(before, after)
            change.opened += opened
            change.closed += closed
            yield from self.alerts(change, changed, gone)
        if change.closes_a_day:
            runs.forget_before(change.open_from_ms, spell)
        if len(runs.runs):
            change.state.put(f"runs{self.suffix}", runs.to_bytes())
        elif state:
            change.state.remove(f"runs{self.suffix}")

    def alerts(self, change: Change, changed: Rows, gone: Rows) -> Iterator[Result]:
        """Yield the alerts of changed episodes, and of those that are gone as retracted (both EPISODE)."""
        revision = change.house.next_revision(change.now_ms)
        for episodes, retracted in ((gone, True), (changed, False)):
            for episode in episodes:
                meter_id, start_ms = int(episode["meter_id"]), int(episode["start_ms"])
                yield (
                    "alerts",
                    {
                        "alert_id": f"{change.house_id}/{meter_id}/{start_ms}{self.suffix}",
                        "house_id": change.house_id,
                        "meter_id": meter_id,
                        "date": int(day_of(change.house.timezone, start_ms)),
                        "start": start_ms,
                        "end": int(episode["end_ms"]),
                        "open": bool(episode["open"]) and not retracted,
                        "retracted": retracted,
                        "readings": int(episode["readings"]),
                        "peak_watts": float(episode["peak_watts"]),
                        "percentile_watts": float(episode["percentile_watts"]),
                        "limit_watts": float(episode["limit_watts"]),
                        "excess_kwh": float(kwh(episode["excess_mj"], episode["excess_rest"])),
                        "revision": revision,
                        **self.statement(episode),
                    },
                )


class OverPercentile(Spikes):
    """Emits alerts of kind percentile: readings that exceed their meter's percentile by more than SMW_PERCENTILE_WATTS."""

    suffix = "/percentile"
    raised_by = PERCENTILE

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.added_watts = settings.rules.percentile_watts
        self.statement = Percentile(self.spell.hold_ms).statement
        self.wanted = Wanted(readings_over_watts=LEAST_LIMITS * self.added_watts)

    def limit_of(self, meter: MeterThresholdRecord) -> float | None:
        """See Spikes. A meter without a limit is warming up, or one of solar or of a battery."""
        return None if meter["limit_watts"] is None else meter["percentile_watts"] + self.added_watts

    def noted(self, episodes: Rows) -> Rows:
        """See Spikes. One reading alone is a glitch, which the other stage reports, or nothing."""
        return picked(episodes, episodes["readings"] > 1)


def stages(settings: Settings) -> list[Spikes]:
    """The stages that compare readings with limits."""
    return [Spikes(settings), *([OverPercentile(settings)] if settings.rules.percentile_watts else [])]


class Waiting:
    """The waiting batches of a house, in order of arrival: each is a value of the house's state, and one more holds their range."""

    def __init__(self, state: HouseState):
        self.state = state
        self.first: int
        self.end: int
        self.first, self.end = np.frombuffer(state.get("queue") or bytes(16), np.int64).tolist()

    def __bool__(self) -> bool:
        return self.first < self.end

    def add(self, batch: Batch) -> None:
        """Append a batch."""
        self.state.put(f"waiting/{self.end}", alone(batch).pack())
        self._keep(self.first, self.end + 1)

    def peek(self) -> Batch:
        """The first waiting batch."""
        [batch] = unpack(self.state.get(f"waiting/{self.first}") or b"")
        return batch

    def drop(self) -> None:
        """Remove the first waiting batch."""
        self.state.remove(f"waiting/{self.first}")
        self._keep(self.first + 1, self.end)

    def _keep(self, first: int, end: int) -> None:
        self.first, self.end = first, end
        self.state.put("queue", np.array([first, end]).tobytes())


class SpikesJoin(KeyedCoProcessFunction):
    """Holds the batches of a house, in order, until the thresholds for all of their time have arrived."""

    def __init__(self, settings: Settings, run: Run = LIVE, outside: Outside = NOTHING):
        self.spikes, *others = stages(settings)
        self.stages: list[Spikes | Watch] = [self.spikes, *others, Watch(settings)]
        self.houses = Houses(settings, list[Stage](self.stages), run, outside)

    def open(self, runtime_context: RuntimeContext) -> None:
        """Called by Flink before the first row."""
        self.houses.open(runtime_context)

    def close(self) -> None:
        """Called by Flink after the last row."""
        self.houses.close()

    def process_element1(self, row: Row, ctx: Context) -> Iterator[Row]:
        """Yield the messages of a shard's batches whose thresholds have arrived; queue the others."""
        batches, dead_letter = row
        if dead_letter:
            yield from self.houses.process_element(row, ctx)
            return
        arrived = unpack(batches)
        self.houses.know(arrived.houses["house_id"].tolist(), ctx)
        for batch in arrived:
            yield from self.houses.guarded(batch, lambda state, batch: self.take(state, batch, ctx))
        self.houses.counts.report()

    def take(self, state: HouseState, batch: Batch, ctx: Context) -> Iterator[Row]:
        """Queue a batch, or process it and yield its messages."""
        waiting = Waiting(state)
        if waiting or not self.ready(batch, state):
            waiting.add(batch)
        else:
            yield from self.houses.add(state, batch, ctx)

    def process_element2(self, row: Row, ctx: Context) -> Iterator[Row]:
        """Store a version of a house's thresholds (THRESHOLD). Yield the messages of batches that waited for it."""
        house_id, payload = row
        self.houses.know([house_id], ctx)
        state = self.houses.state_of(house_id)
        try:
            threshold = decode_as("threshold", self.houses.framing.received(payload))
            for stage in self.stages:
                stage.keep_new(state, [threshold])
            state.keep()
        except StateFault:
            raise
        except Exception as error:  # a faulty message must not stop the stream
            log.warning("a message of the topic thresholds is ignored: %s", reason_of(error))
        while batch := self.next_ready(house_id):
            yield from self.houses.guarded(batch, lambda state, batch: self.houses.add(state, batch, ctx))
        self.houses.counts.report()

    def next_ready(self, house_id: int) -> Batch | None:
        """Remove and return the first waiting batch, if its thresholds have arrived."""
        state = self.houses.state_of(house_id)
        waiting = Waiting(state)
        if not waiting or not self.ready(batch := waiting.peek(), state):
            return None
        waiting.drop()
        state.keep()
        return batch

    def on_timer(self, timestamp: int, ctx: Context) -> Iterator[Row]:
        """At the end of both topics: yield the batches that still wait, as late, and the alerts of minutes that are not settled."""
        ended = timestamp == END_OF_TIME_MS
        for house_id in self.houses.houses(ctx, ended).known if ended else ():
            state = self.houses.state_of(house_id)
            waiting = Waiting(state)
            while waiting:
                batch = waiting.peek()
                waiting.drop()
                house = HouseDays.known(state.get("days"), batch.timezone)
                house.timezone, house.clock_ms = batch.timezone, max(house.clock_ms, batch.newest_ms)
                self.houses.counts.add("readings_late", int(batch.sections["readings"].sum() + batch.sections["refused"].sum()))
                yield from self.houses.messages(refused(house_id, house, batch.sections, NO_THRESHOLD))
            state.keep()
        yield from self.houses.on_timer(timestamp, ctx)

    def ready(self, batch: Batch, state: HouseState) -> bool:
        """Whether thresholds for all the time of a batch have arrived or are no longer needed."""
        oldest_ms = int(batch.sections["start_ms"].min(initial=batch.newest_ms))
        return self.spikes.keep_new(state, []).cover(oldest_ms, batch.newest_ms)


def main() -> None:
    """Submit the job and wait until it ends."""
    settings, run = Settings.load(), Run.load()
    tables = flow.environment("spikes", settings, run)
    wanted = reduce(or_, (stage.wanted for stage in stages(settings)), Watch.wanted)
    batches = kafka_tables.batches(tables, settings, run, wanted)
    joined = (
        batches.connect(kafka_tables.thresholds(tables, settings, run))
        .process(SpikesJoin(settings, run, flow.outside("spikes", settings, stages(settings), run)), output_type=MESSAGE)
        .name("spikes")
        .uid("spikes")
    )
    flow.send(tables, settings, run, joined)


if __name__ == "__main__":
    main()
