"""The daily energy job: topic readings -> topics daily_energy, late and dead_letter.

    readings --> integrate: many messages a call, to a section a meter, burst and day (integral.arrivals)
             --> key by house
             --> DailyEnergy: joins sections, tells late and repeated ones, closes days (integral.HouseDays)
             --> results
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction
from pyflink.datastream.state import ValueStateDescriptor
from pyflink.table import DataTypes, StreamTableEnvironment
from pyflink.table.udf import ScalarFunction, udf

from jobs import flow
from jobs.integral import ARRIVED, HouseDays, Rules, arrivals, kwh
from jobs.readings import midnights, read
from smartmeter import topics
from smartmeter.codec import decode, encode
from smartmeter.settings import Settings

NO_HOUSE = 0
"""In place of a house_id (they start at 1): the row is a dead letter, ready to be sent."""

END_OF_TIME_MS = 2**63 - 1
"""Event time of the last watermark, which only a source that has come to its end sends."""

BATCH = DataTypes.ROW([
    DataTypes.FIELD("house_id", DataTypes.BIGINT()),
    DataTypes.FIELD("timezone", DataTypes.STRING()),
    DataTypes.FIELD("newest_ms", DataTypes.BIGINT()),
    DataTypes.FIELD("body", DataTypes.BYTES()),
])
RESULT = Types.ROW_NAMED(
    ["topic", "key", "value"],
    [Types.STRING(), Types.PRIMITIVE_ARRAY(Types.BYTE()), Types.PRIMITIVE_ARRAY(Types.BYTE())],
)


class Integrate(ScalarFunction):
    """From messages to one row (BATCH) a house, many messages a call; as many rows as messages, the rest null."""

    def __init__(self, settings: Settings):
        self.max_gap_ms = round(settings.max_gap_s * 1000)
        self.max_ahead_ms = round(settings.max_ahead_s * 1000)

    def open(self, function_context):
        flow.keep_freed_memory()

    def eval(self, value: pd.Series, partition: pd.Series, offset: pd.Series, timestamp: pd.Series) -> pd.DataFrame:
        readings, reasons = read(value.tolist(), round(time.time() * 1000) + self.max_ahead_ms)
        message = readings.message
        sections = arrivals(readings, partition.to_numpy()[message], offset.to_numpy()[message], self.max_gap_ms)
        rows = list(house_batches(readings, sections))
        for i, reason in reasons.items():
            letter = dict(partition=partition[i], offset=offset[i], received=int(timestamp[i].timestamp() * 1000),
                          reason=reason, payload=value[i])
            rows.append((NO_HOUSE, None, None, encode("dead_letter", letter)))
        rows += [(None,) * 4] * (len(value) - len(rows))
        return pd.DataFrame(rows, columns=BATCH.names, dtype=object)


def house_batches(readings, sections):
    """Yield (house_id, timezone, newest_ms, sections as bytes) for each house and time zone, in order of arrival."""
    groups: dict[tuple, list[int]] = {}
    for index, burst in enumerate(readings.bursts):
        groups.setdefault((burst.house_id, burst.timezone), []).append(index)
    bounds = np.searchsorted(sections["burst"], np.arange(len(readings.bursts) + 1))
    for (house_id, timezone), bursts in groups.items():
        rows = np.concatenate([np.arange(bounds[b], bounds[b + 1]) for b in bursts])
        yield house_id, timezone, int(readings.newest_ms[bursts].max()), sections[rows].tobytes()


class DailyEnergy(KeyedProcessFunction):
    """Keeps the open days of a house; sends early results while a day runs, the final ones when it is closed."""

    def __init__(self, settings: Settings):
        self.rules = Rules(round(settings.max_gap_s * 1000), round(settings.allowed_lateness_s * 1000))
        self.emit_every_ms = max(1, round(settings.emit_every_s * 1000))
        self.topic_of = {name: topics.topic(settings, name) for name in flow.RESULT_TOPICS}

    def open(self, runtime_context):
        self.state = runtime_context.get_state(
            ValueStateDescriptor("house_days", Types.PRIMITIVE_ARRAY(Types.BYTE())))

    def process_element(self, batch, ctx):
        house_id, timezone, newest_ms, body = batch
        if house_id == NO_HOUSE:
            yield Row(self.topic_of["dead_letter"], topics.key("dead_letter", decode(body)[1]), body)
            return
        state = self.state.value()
        if state is None:
            house = HouseDays.new(timezone)
            ctx.timer_service().register_event_time_timer(END_OF_TIME_MS)
        else:
            house = HouseDays.from_bytes(state)
            house.timezone = timezone
        all_sent = house.all_sent
        late, overlapping = house.add(np.frombuffer(body, ARRIVED), newest_ms, self.rules)
        yield from self.late(house_id, house, late, "its day was closed")
        yield from self.late(house_id, house, overlapping, "it covers in part what was received before")
        if house.closes_a_day(self.rules):
            yield from self.results(house_id, house)
        elif all_sent and not house.all_sent:
            now_ms = ctx.timer_service().current_processing_time()
            ctx.timer_service().register_processing_time_timer(now_ms + self.emit_every_ms)
        self.state.update(house.to_bytes())

    def on_timer(self, timestamp, ctx):
        house = HouseDays.from_bytes(self.state.value())
        if not house.all_sent:
            yield from self.results(ctx.get_current_key(), house)
            self.state.update(house.to_bytes())

    def results(self, house_id, house):
        rows, final = house.results(self.rules, round(time.time() * 1000))
        bounds = midnights(house.timezone)
        for row, is_final in zip(rows, final.tolist()):
            day = int(row["day"])
            yield self.message("daily_energy", {
                "house_id": house_id, "meter_id": int(row["meter_id"]), "date": day,
                "kwh": float(kwh(row["energy_mj"], row["energy_rest"])),
                "readings": int(row["readings"]), "duplicates": int(row["duplicates"]),
                "covered_s": row["covered_ms"] / 1000, "max_gap_s": row["max_gap_ms"] / 1000,
                "day_s": int(bounds[day + 1] - bounds[day]) // 1000, "final": is_final, "revision": house.revision,
            })

    def late(self, house_id, house, sections, reason):
        """One record for each message and day among the sections."""
        sections = sections[sections["readings"] > 0]
        for offset, day in sorted({(int(row["offset"]), int(row["day"])) for row in sections}):
            part = sections[(sections["offset"] == offset) & (sections["day"] == day)]
            yield self.message("late", {
                "partition": int(part["partition"][0]), "offset": offset, "house_id": house_id,
                "date": day, "start": int(part["start_ms"].min()), "end": int(part["end_ms"].max()),
                "readings": int(part["readings"].sum()),
                "kwh": float(kwh(part["energy_mj"].sum(), part["energy_rest"].sum())),
                "house_time": house.clock_ms, "reason": reason,
            })

    def message(self, topic, record):
        return Row(self.topic_of[topic], topics.key(topic, record), encode(topics.SCHEMA_OF[topic], record))


def build(tables: StreamTableEnvironment, settings: Settings):
    """The job's flow, from topic to topics, as a table to be inserted into `results`."""
    flow.readings(tables, settings)
    flow.results(tables, settings)
    tables.create_temporary_function("integrate", udf(Integrate(settings), result_type=BATCH, func_type="pandas"))
    batches = tables.sql_query("""
        SELECT batch.house_id, batch.timezone, batch.newest_ms, batch.body
        FROM (SELECT integrate(`value`, `partition`, `offset`, `timestamp`) AS batch FROM readings)
        WHERE batch.house_id IS NOT NULL""")
    messages = (
        tables.to_data_stream(batches)
        .key_by(lambda batch: batch[0], key_type=Types.LONG())
        .process(DailyEnergy(settings), output_type=RESULT).name("daily energy").uid("daily-energy")
    )
    return tables.from_data_stream(messages)


def main():
    """Submit the job and stay with it until it ends; settings come from SMW_ environment variables."""
    settings = Settings.load()
    tables = flow.environment("daily_energy", settings)
    build(tables, settings).execute_insert("results").wait()


if __name__ == "__main__":
    main()
