"""The spikes job: topics readings and thresholds -> topics alerts, late and dead_letter.

    readings   --> batches of sections with their readings, a house each (flow.batches)  --+
    thresholds --> versions, by house                                                    --+
             --> Spikes: a batch waits until versions have come for all of its time, then its readings are held
                 against the version of their own time; those over their limit make episodes (jobs.episodes)
             --> results
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pyflink.common import Types
from pyflink.datastream import KeyedCoProcessFunction
from pyflink.datastream.state import ListStateDescriptor, ValueStateDescriptor

from jobs import flow
from jobs.batches import Batch, Wanted
from jobs.episodes import Runs, Spell, Versions, changes, runs_over
from jobs.house import (
    BATCH,
    BYTES,
    END_OF_TIME_MS,
    MESSAGE,
    NO_HOUSE,
    Change,
    Houses,
    Part,
    refused,
)
from jobs.integral import Rules, kwh
from jobs.readings import day_of, midnights
from smartmeter.codec import CodecError, decode_as
from smartmeter.settings import Settings

NO_THRESHOLD = "the topics ended before a threshold for its time had come"
log = logging.getLogger("spikes")


class Spikes(Part):
    """Alerts: an episode is told at once, again whenever it has changed, and taken back when it proves to be none."""

    def __init__(self, settings: Settings):
        self.rules, self.spell = Rules.of(settings), Spell.of(settings)
        self.wanted = Wanted(readings_over_watts=min(settings.min_watts, settings.mains_watts))  # no limit is lower

    def open(self, runtime_context):
        self.versions = runtime_context.get_state(ValueStateDescriptor("versions", BYTES))
        self.runs = runtime_context.get_state(ValueStateDescriptor("runs", BYTES))

    def hear(self, thresholds: list[dict]) -> Versions:
        """Keep new versions (records of schema threshold). Returns all that are at hand."""
        versions = Versions.from_bytes(self.versions.value())
        for threshold in thresholds:
            versions.add(threshold)
        if thresholds:
            self.versions.update(versions.to_bytes())
        return versions

    def take(self, change: Change) -> Iterator[tuple[str, dict]]:
        house, spell = change.house, self.spell
        versions, state = self.hear(change.thresholds), self.runs.value()
        runs = Runs.from_bytes(state)
        before = runs.episodes(change.clock_before_ms, spell)
        runs.add(runs_over(change.batch, change.used, versions, spell.max_gap_ms), change.links, house.sections, spell)
        after = runs.episodes(house.clock_ms, spell)
        yield from self.alerts(change, *changes(before, after))
        if (over := house.over_by_now(self.rules)) > house.closed_day:
            open_from_ms = int(midnights(house.timezone)[over + 1])
            runs.forget_before(open_from_ms, spell)
            versions.forget_before(open_from_ms)
            self.versions.update(versions.to_bytes())
        if (new_state := runs.to_bytes()) != state:
            self.runs.update(new_state)

    def alerts(self, change: Change, changed, gone) -> Iterator[tuple[str, dict]]:
        if not len(changed) and not len(gone):
            return
        revision = change.house.next_revision(change.now_ms)
        for episodes, retracted in ((gone, True), (changed, False)):
            for episode in episodes:
                meter_id, start_ms = int(episode["meter_id"]), int(episode["start_ms"])
                yield "alerts", {
                    "alert_id": f"{change.house_id}/{meter_id}/{start_ms}",
                    "house_id": change.house_id, "meter_id": meter_id,
                    "date": int(day_of(change.house.timezone, start_ms)),
                    "start": start_ms, "end": int(episode["end_ms"]), "open": bool(episode["open"]) and not retracted,
                    "retracted": retracted, "readings": int(episode["readings"]),
                    "peak_watts": float(episode["peak_watts"]),
                    "percentile_watts": float(episode["percentile_watts"]),
                    "limit_watts": float(episode["limit_watts"]),
                    "excess_kwh": float(kwh(episode["excess_mj"], episode["excess_rest"])), "revision": revision,
                }


class SpikesJoin(KeyedCoProcessFunction):
    """Lets the batches of a house wait, in their order, for the thresholds of all of their time."""

    def __init__(self, settings: Settings):
        self.spikes = Spikes(settings)
        self.houses = Houses(settings, [self.spikes])

    def open(self, runtime_context):
        self.houses.open(runtime_context)
        self.waiting = runtime_context.get_list_state(ListStateDescriptor("waiting", BATCH))

    def process_element1(self, row, ctx):
        if row[0] == NO_HOUSE:
            yield from self.houses.process_element(row, ctx)
        elif next(iter(self.waiting.get()), None) or not self.ready(row):
            self.waiting.add(row)
            ctx.timer_service().register_event_time_timer(END_OF_TIME_MS)
        else:
            yield from self.houses.process_element(row, ctx)

    def process_element2(self, row, ctx):
        try:
            self.spikes.hear([decode_as("threshold", row[1])])
        except CodecError as error:
            log.warning("a message of the topic thresholds is left out: %s", error)
        rows = list(self.waiting.get())
        while rows and self.ready(rows[0]):
            yield from self.houses.process_element(rows.pop(0), ctx)
        self.waiting.update(rows)

    def on_timer(self, timestamp, ctx):
        for house_id, timezone, newest_ms, body in self.waiting.get():
            house = self.houses.house(timezone)
            house.clock_ms = max(house.clock_ms, newest_ms)
            yield from self.houses.messages(refused(house_id, house, Batch.from_bytes(body).sections, NO_THRESHOLD))
        self.waiting.clear()

    def ready(self, row) -> bool:
        """Whether thresholds are at hand for all the time of a batch that may be used."""
        _, _, newest_ms, body = row
        oldest_ms = int(Batch.from_bytes(body).sections["start_ms"].min(initial=newest_ms))
        return self.spikes.hear([]).cover(oldest_ms, newest_ms)


def main():
    settings = Settings.load()
    tables = flow.environment("spikes", settings)
    batches = flow.batches(tables, settings, Spikes(settings).wanted)
    joined = (
        batches.connect(flow.thresholds(tables, settings))
        .key_by(flow.house_of, flow.house_of, key_type=Types.LONG())
        .process(SpikesJoin(settings), output_type=MESSAGE).name("spikes").uid("spikes")
    )
    flow.send(tables, settings, joined)


if __name__ == "__main__":
    main()
