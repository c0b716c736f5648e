"""ClickHouse SQL in chDB: the bursts in a MergeTree table, whose arrays are sliced, summed and differenced by array functions.

It is a database, not a stream processor: the topic is loaded into the table first. That time is printed as load_seconds and
is not part of seconds. A row is a burst, with the arrays of the topic as columns. A section (one meter of one burst) is cut
out with arrayCumSum and arraySlice. The window function leadInFrame finds the meter's next section, so 100 times fewer rows
than readings are sorted. Each section is joined with the local days that it touches, and its intervals are clipped to them.
ClickHouse accepts a time zone only as a constant, so the local days are a table that is made while loading.

--work all adds alerts and thresholds. The latter come from ClickHouse's own DDSketch (quantileDD, 1 %), with one state a day,
merged over the days of the window.

Tuned: two threads; the table has the order in which the query sorts.
"""

from __future__ import annotations

import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from chdb.session import Session
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from bench.peers import CORES, MAINS, MAX_GAP_MS, RULE, WATT_MS_PER_KWH, arguments, carry_out, report
from smartmeter.messages.codec import Burst, decode_burst

BURSTS_A_FILE = 20_000
LATENESS_MS = round(RULE.rules.allowed_lateness_s * 1000)
LEAST_HISTORY_MS = 20 * 3_600_000
FEW_DAYS = 4

BURSTS = """
    CREATE TABLE bursts (
        house_id Int64, timezone LowCardinality(String), start_ms Int64, tick_ms Int32,
        meter_ids Array(Int32), counts Array(Int32), deltas Array(Int32), watts Array(Float32)
    ) ENGINE = MergeTree ORDER BY (house_id, start_ms)"""

LOCAL_DAYS = """
    CREATE TABLE local_days (timezone LowCardinality(String), date Date32, begin_ms Int64, end_ms Int64)
    ENGINE = MergeTree ORDER BY (timezone, date)"""

SECTIONS = """
    CREATE VIEW sections AS
    WITH slices AS (
        SELECT house_id, timezone, meter_id,
               arrayMap(ticks -> start_ms + ticks * tick_ms, arrayCumSum(arraySlice(deltas, upto - n + 1, n))) AS times_ms,
               arraySlice(watts, upto - n + 1, n) AS powers
        FROM bursts ARRAY JOIN meter_ids AS meter_id, counts AS n, arrayCumSum(counts) AS upto
        WHERE n > 0),
    linked AS (
        SELECT *, leadInFrame(times_ms[1]) OVER (PARTITION BY house_id, meter_id ORDER BY times_ms[1]
                                                 ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS lead_ms
        FROM slices)
    SELECT house_id, meter_id, timezone, times_ms, powers,
           arrayPushBack(arrayPopFront(times_ms), if(lead_ms > 0, lead_ms, newest_ms)) AS next_ms
    FROM linked JOIN newest USING house_id"""

NEWEST = """
    CREATE VIEW newest AS
    SELECT house_id, any(timezone) AS timezone, max(last_ms) AS newest_ms
    FROM (SELECT house_id, timezone, start_ms + tick_ms * arraySum(arraySlice(deltas, upto - n + 1, n)) AS last_ms
          FROM bursts ARRAY JOIN counts AS n, arrayCumSum(counts) AS upto WHERE n > 0)
    GROUP BY house_id"""

DAYS = f"""
    CREATE TABLE days ENGINE = MergeTree ORDER BY (house_id, meter_id, date) AS
    SELECT house_id, meter_id, date, sum(energy) / {WATT_MS_PER_KWH} AS kwh, sum(length(day_watts)) AS readings{{more}}
    FROM (
        SELECT house_id, meter_id, date,
               arrayMap((time, next) -> greatest(0, least(next, time + {MAX_GAP_MS}, end_ms) - greatest(time, begin_ms)),
                        times_ms, next_ms) AS held_ms,
               arraySum((power, held) -> toFloat64(power) * held, powers, held_ms) AS energy,
               arrayFilter((power, time) -> time >= begin_ms AND time < end_ms, powers, times_ms) AS day_watts
        FROM sections JOIN local_days USING timezone
        WHERE begin_ms < times_ms[-1] + {MAX_GAP_MS} AND end_ms > times_ms[1])
    GROUP BY house_id, meter_id, date
    HAVING readings > 0 OR sum(arraySum(held_ms)) > 0
    SETTINGS max_threads = {CORES}"""

SKETCHES = f""",
    sum(arraySum(held_ms)) AS covered_ms,
    quantileDDArrayState(0.01, {RULE.rules.quantile})(arrayFilter(power -> power > 1e-5, day_watts)) AS sketch,
    sum(arrayCount(power -> power > 1e-5, day_watts)) AS powered,
    groupArraySortedArray(2)(arrayMap(power -> -power, arrayFilter(power -> power > {RULE.rules.on_watts}, day_watts))) AS highest,
    if(length(highest) > 1, arrayReduce('quantileDD(0.01, 1)', [-highest[2]]), 0) AS peak_watts"""

THRESHOLDS = f"""
    CREATE TABLE thresholds ENGINE = MergeTree ORDER BY (house_id, meter_id, date) AS
    WITH history AS (
        SELECT house_id, meter_id, days.date + after AS date, sumIf(powered, after <= {RULE.rules.window_days}) AS powered,
               quantileDDArrayMergeIf(0.01, {RULE.rules.quantile})(sketch, after <= {RULE.rules.window_days}) AS percentile_watts,
               sum(covered_ms) AS covered_ms, countIf(readings > 0) AS days_with_readings,
               arrayReverseSort(groupArrayIf(peak_watts, peak_watts > 0)) AS peaks,
               length(peaks) < {FEW_DAYS} AND 2 * length(peaks) <= days_with_readings AS seldom_on
        FROM days ARRAY JOIN range(1, {RULE.rules.limit_days + 1}) AS after
        GROUP BY house_id, meter_id, date)
    SELECT house_id, meter_id, date, if(powered > 0, percentile_watts, 0) AS percentile_watts,
           if(covered_ms < {LEAST_HISTORY_MS} OR empty(peaks), NULL,
              greatest(peaks[if(length(peaks) < {FEW_DAYS}, 1, 2)] * {1 + RULE.rules.margin}
                       + if(meter_id IN {MAINS}, {RULE.rules.mains_watts}, {RULE.rules.min_watts}),
                       if(seldom_on, {RULE.rules.mains_watts}, 0))) AS limit_watts,
           begin_ms + {LATENESS_MS} AS from_ms, end_ms + {LATENESS_MS} AS to_ms
    FROM history JOIN newest USING house_id JOIN local_days ON local_days.timezone = newest.timezone AND local_days.date = history.date
    WHERE (powered > 0 OR notEmpty(peaks)) AND from_ms <= newest_ms
    SETTINGS max_threads = {CORES}"""

ALERTS = f"""
    WITH over AS (
        SELECT house_id, meter_id, time_ms, watts, limit_watts,
               lagInFrame(time_ms) OVER meter AS last_ms, lagInFrame(follows_ms) OVER meter AS follows_last_ms
        FROM (SELECT house_id, meter_id, limit_watts, time_ms, watts, follows_ms
              FROM sections JOIN thresholds USING (house_id, meter_id)
              ARRAY JOIN times_ms AS time_ms, powers AS watts, next_ms AS follows_ms
              WHERE arrayMax(powers) > limit_watts AND watts > limit_watts AND time_ms >= from_ms AND time_ms < to_ms)
        WINDOW meter AS (PARTITION BY house_id, meter_id ORDER BY time_ms ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)),
    numbered AS (
        SELECT *, sum(time_ms - last_ms > if(follows_last_ms = time_ms, {MAX_GAP_MS}, {round(RULE.rules.hold_s * 1000)}))
                  OVER (PARTITION BY house_id, meter_id ORDER BY time_ms) AS episode
        FROM over)
    SELECT house_id, meter_id, min(time_ms) AS start, count() AS readings, toFloat64(max(watts)) AS peak_watts,
           argMin(limit_watts, time_ms) AS limit_watts
    FROM numbered GROUP BY house_id, meter_id, episode
    HAVING readings > 1 OR peak_watts >= 2 * limit_watts"""


def main() -> None:
    args = arguments(__doc__, ("energy", "all"))
    with tempfile.TemporaryDirectory() as folder:
        database = Session(f"{folder}/database")
        begun = time.monotonic()
        load(database, args.kafka, args.topic, Path(folder))
        loaded = time.monotonic()
        database.query(DAYS.format(more=SKETCHES if args.work == "all" else ""))
        write(database, "SELECT house_id, meter_id, date, kwh, readings FROM days", args.out, "daily_energy")
        if args.work == "all":
            database.query(THRESHOLDS)
            write(database, "SELECT house_id, meter_id, date, percentile_watts, limit_watts FROM thresholds", args.out, "thresholds")
            write(database, ALERTS, args.out, "alerts")
        report(time.monotonic() - loaded, load_seconds=loaded - begun)
        database.close()


def load(database: Session, kafka: str, topic: str, folder: Path) -> None:
    """Create the tables and fill them with the bursts in the topic."""
    days, batch, files = {}, [], 0
    for table in (BURSTS, LOCAL_DAYS, NEWEST, SECTIONS):
        database.query(table)
    for burst in bursts(kafka, topic):
        first_ms, last_ms = days.get(burst.timezone, (burst.start_ms, burst.end_ms))
        days[burst.timezone] = min(first_ms, burst.start_ms), max(last_ms, burst.end_ms)
        batch.append(burst)
        if len(batch) == BURSTS_A_FILE:
            pq.write_table(columns(batch), folder / f"bursts_{files}.parquet")
            batch, files = [], files + 1
    if batch:
        pq.write_table(columns(batch), folder / f"bursts_{files}.parquet")
    pq.write_table(local_days(days), folder / "local_days.parquet")
    database.query(f"INSERT INTO bursts SELECT * FROM file('{folder}/bursts_*.parquet') SETTINGS max_threads = {CORES}")
    database.query(f"INSERT INTO local_days SELECT * FROM file('{folder}/local_days.parquet')")


def bursts(kafka: str, topic: str):
    """Yield the bursts in the topic, up to its current end."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "peer", "enable.auto.commit": False, "enable.partition.eof": True})
    left = set(consumer.list_topics(topic, 10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
    while left:
        for message in consumer.consume(1000, 1):
            if message.error():
                left.discard(message.partition())
            else:
                yield decode_burst(message.value())
    consumer.close()


def columns(batch: list[Burst]) -> pa.Table:
    """A row a burst, in the order of the table's columns."""
    scalars = {name: [getattr(burst, name) for burst in batch] for name in ("house_id", "timezone", "start_ms", "tick_ms")}
    return pa.table(
        scalars | {name: lists([getattr(burst, name) for burst in batch]) for name in ("meter_ids", "counts", "deltas", "watts")}
    )


def lists(arrays: list[np.ndarray]) -> pa.ListArray:
    ends = np.cumsum([len(array) for array in arrays], dtype=np.int32)
    return pa.ListArray.from_arrays(np.concatenate([[0], ends]).astype(np.int32), np.concatenate(arrays))


def local_days(spans_ms: dict[str, tuple[int, int]]) -> pa.Table:
    """A row for each local day that touches the span of a time zone or the MAX_GAP_MS after it."""
    rows = []
    for timezone, (first_ms, last_ms) in spans_ms.items():
        zone = ZoneInfo(timezone)
        day, end_ms = datetime.fromtimestamp(first_ms / 1000, zone).date(), 0
        while end_ms <= last_ms + MAX_GAP_MS:
            begin, end = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (day, day + timedelta(days=1)))
            end_ms = round(end.timestamp() * 1000)
            rows.append({"timezone": timezone, "date": day, "begin_ms": round(begin.timestamp() * 1000), "end_ms": end_ms})
            day += timedelta(days=1)
    return pa.Table.from_pylist(rows)


def write(database: Session, query: str, out: Path, name: str) -> None:
    path = out.resolve() / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    database.query(f"INSERT INTO FUNCTION file('{path}', 'Parquet') {query} SETTINGS max_threads = {CORES}")


if __name__ == "__main__":
    carry_out(main)
