"""Flink SQL, only in the JVM: the topic as a bounded table, UNNEST to a row a reading, GROUP BY, OVER windows.

It runs in batch mode, which a user of Flink would choose for a backlog: there OVER can sort by any column. Python only submits
the statements.

Sorting every reading would take longer than everything else, so readings are first summed to a *piece* for each meter and
burst, whose intervals follow from the deltas. LEAD over the pieces then gives how long the last reading of each holds. In a
burst that spans midnight each reading is a piece, with its time from a running sum. Flink copies an array for each row that
accesses it, and the query has one such access a reading. That is fine for bursts of minutes; with bursts of hours the copies
take nearly all the time.

The format `avro` does not support the single-object header. Its 10 bytes are read as two extra columns: C3 01 is the Avro int
-98, and the fingerprint has the size of a double. All columns are NOT NULL, because Flink reads nullable ones as unions. SQL has
no running sum of an array, so the start of a meter's readings is a sum of IFs, for up to MOST_METERS meters.

Tuned: batch mode, object reuse, 512 MB of managed memory for sorting and grouping.
"""

from __future__ import annotations

import shutil

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

from bench.peers import CORES, JARS, MAX_GAP_MS, WATT_MS_PER_KWH, arguments, carry_out, report

MOST_METERS = 64

BURSTS = """
    CREATE TABLE bursts (
        marker INT NOT NULL, fingerprint DOUBLE NOT NULL, house_id BIGINT NOT NULL, timezone STRING NOT NULL,
        start_ms BIGINT NOT NULL, end_ms BIGINT NOT NULL, tick_ms INT NOT NULL,
        meter_ids ARRAY<INT NOT NULL> NOT NULL, counts ARRAY<INT NOT NULL> NOT NULL,
        deltas ARRAY<INT NOT NULL> NOT NULL, watts ARRAY<FLOAT NOT NULL> NOT NULL,
        quantities ARRAY<INT NOT NULL> NOT NULL, holds_s ARRAY<INT NOT NULL> NOT NULL, energies ARRAY<BIGINT NOT NULL> NOT NULL
    ) WITH (
        'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{kafka}',
        'properties.group.id' = 'peer', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
        'format' = 'avro')"""

DAILY_ENERGY = """
    CREATE TABLE daily_energy (house_id BIGINT, meter_id INT, `date` DATE, kwh DOUBLE, readings BIGINT)
    WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv')"""

LOCAL_DATE = "CAST(SUBSTRING(CONVERT_TZ(FROM_UNIXTIME({time_ms} / 1000), 'UTC', timezone), 1, 10) AS DATE)"
MIDNIGHT_MS = "UNIX_TIMESTAMP(CONVERT_TZ(CAST(`date` + INTERVAL '1' DAY AS STRING) || ' 00:00:00', timezone, 'UTC')) * 1000"

DATED = f"""
    CREATE VIEW dated AS
    SELECT *, {MIDNIGHT_MS} AS midnight_ms FROM (SELECT *, {LOCAL_DATE.format(time_ms="start_ms")} AS `date` FROM bursts)"""


def readings(condition: str) -> str:
    """SQL for a row for each reading of the bursts that fulfil a condition. before_watts held for delta_ms."""
    return f"""
        SELECT house_id, meter_id, timezone, start_ms, `date`, midnight_ms, i, last_watts,
               CAST(delta AS BIGINT) * tick_ms AS delta_ms, CAST(watts[i] AS DOUBLE) AS watts,
               IF(i = 1, 0e0, CAST(watts[i - 1] AS DOUBLE)) AS before_watts
        FROM (
            SELECT house_id, meter_id, timezone, start_ms, tick_ms, `date`, midnight_ms, n, CAST(watts[before + n] AS DOUBLE) AS last_watts,
                   ARRAY_SLICE(deltas, before + 1, before + n) AS deltas, ARRAY_SLICE(watts, before + 1, before + n) AS watts
            FROM (
                SELECT dated.*, meter_id, counts[m] AS n, {" + ".join(f"IF(m > {k}, counts[{k}], 0)" for k in range(1, MOST_METERS))} AS before
                FROM dated CROSS JOIN UNNEST(meter_ids) WITH ORDINALITY AS u (meter_id, m)
                WHERE {condition})
            WHERE n > 0)
        CROSS JOIN UNNEST(deltas) WITH ORDINALITY AS u (delta, i)"""


PIECES = f"""
    CREATE VIEW pieces AS
    SELECT house_id, meter_id, `date`, midnight_ms, COUNT(*) AS readings, SUM(before_watts * LEAST(delta_ms, {MAX_GAP_MS})) AS energy,
           start_ms + SUM(IF(i = 1, delta_ms, 0)) AS first_ms, start_ms + SUM(delta_ms) AS last_ms, MAX(last_watts) AS last_watts
    FROM ({readings("end_ms <= midnight_ms")})
    GROUP BY house_id, meter_id, start_ms, `date`, midnight_ms
    UNION ALL
    SELECT house_id, meter_id, `date`, {MIDNIGHT_MS}, 1, 0e0, time_ms, time_ms, watts
    FROM (
        SELECT *, {LOCAL_DATE.format(time_ms="time_ms")} AS `date`
        FROM (
            SELECT house_id, meter_id, timezone, watts,
                   start_ms + SUM(delta_ms) OVER (PARTITION BY house_id, meter_id, start_ms ORDER BY i) AS time_ms
            FROM ({readings("end_ms > midnight_ms")})))"""

HELD = f"""
    CREATE VIEW held AS
    SELECT *, LEAST(LEAD(first_ms, 1, newest_ms) OVER (PARTITION BY house_id, meter_id ORDER BY first_ms),
                    last_ms + {MAX_GAP_MS}) AS until_ms
    FROM (SELECT *, MAX(last_ms) OVER (PARTITION BY house_id) AS newest_ms FROM pieces)"""

INSERT = f"""
    INSERT INTO daily_energy
    SELECT house_id, meter_id, `date` + later * INTERVAL '1' DAY,
           SUM(IF(later = 0, energy + last_watts * (LEAST(until_ms, midnight_ms) - last_ms), last_watts * (until_ms - midnight_ms)))
               / {WATT_MS_PER_KWH}e0,
           SUM(IF(later = 0, readings, 0))
    FROM held CROSS JOIN (VALUES 0, 1) AS days (later)
    WHERE later = 0 OR until_ms > midnight_ms
    GROUP BY house_id, meter_id, `date` + later * INTERVAL '1' DAY"""


def main() -> None:
    args = arguments(__doc__)
    out = args.out.resolve() / "daily_energy.csv"
    shutil.rmtree(out, ignore_errors=True)
    tables = environment()
    for statement in (BURSTS.format(topic=args.topic, kafka=args.kafka), DAILY_ENERGY.format(path=out.as_uri()), DATED, PIECES, HELD):
        tables.execute_sql(statement)
    job = tables.execute_sql(INSERT).get_job_client()
    report(job.get_job_execution_result().result().get_net_runtime() / 1000)


def environment() -> TableEnvironment:
    """A local Flink in batch mode."""
    configuration = Configuration()
    for key, value in {
        "parallelism.default": str(CORES),
        "pipeline.object-reuse": "true",
        "pipeline.jars": ";".join(jar.as_uri() for folder in ("flink", "flink-bench") for jar in (JARS / folder).glob("*.jar")),
        "table.local-time-zone": "UTC",
        "taskmanager.memory.managed.size": "512m",
    }.items():
        configuration.set_string(key, value)
    return TableEnvironment.create(EnvironmentSettings.new_instance().in_batch_mode().with_configuration(configuration).build())


if __name__ == "__main__":
    carry_out(main)
