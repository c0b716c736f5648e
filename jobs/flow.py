"""What the jobs have in common: Flink's settings, and the way from the topic readings to the topics of results.

    readings --> many messages a call, to a batch a house (jobs.batches) --> key by house --> Houses --> results
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from functools import reduce
from operator import or_

import pandas as pd
from pyflink.common import Configuration, Types
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import DataTypes, StreamTableEnvironment
from pyflink.table.udf import ScalarFunction, udf

from jobs.batches import Wanted, house_batches
from jobs.house import MESSAGE, NO_HOUSE, Houses, Part
from jobs.readings import read
from smartmeter.codec import encode
from smartmeter.savepoints import checkpoints_of
from smartmeter.settings import ROOT, Settings
from smartmeter.topics import RESULTS, topic

MESSAGES_PER_CALL = 250
"""Messages in one Arrow batch: few enough for their columns to stay in a processor's cache."""

MESSAGES_PER_BUNDLE = 20_000
"""Between two of Flink's bundles the Python worker waits for state to be written; settings.bundle_ms ends one too."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h

BATCH_COLUMNS = DataTypes.ROW([
    DataTypes.FIELD("house_id", DataTypes.BIGINT()),
    DataTypes.FIELD("timezone", DataTypes.STRING()),
    DataTypes.FIELD("newest_ms", DataTypes.BIGINT()),
    DataTypes.FIELD("body", DataTypes.BYTES()),
])


def run(name: str, parts_of: Callable[[Settings], list[Part]]) -> None:
    """Submit the job `name` and stay with it until it ends; settings come from SMW_ environment variables."""
    settings = Settings.load()
    name = "replay" if settings.replayed_days else name
    tables, parts = environment(name, settings), parts_of(settings)
    messages = (
        batches(tables, settings, reduce(or_, (part.wanted for part in parts)))
        .key_by(house_of, key_type=Types.LONG())
        .process(Houses(settings, parts), output_type=MESSAGE).name("houses").uid("houses")
    )
    send(tables, settings, messages)


def house_of(row) -> int:
    """The key of all keyed streams."""
    return row[0]


def environment(name: str, settings: Settings) -> StreamTableEnvironment:
    """A table environment for the job `name`, set up as `settings` say."""
    options = {
        "pipeline.name": name,
        "pipeline.object-reuse": "true",
        "pipeline.max-parallelism": str(settings.max_parallelism),
        "parallelism.default": str(settings.parallelism),
        "python.pythonpath": str(ROOT),
        "python.fn-execution.bundle.time": str(settings.bundle_ms),
        "python.fn-execution.arrow.batch.size": str(MESSAGES_PER_CALL),
        "python.fn-execution.bundle.size": str(MESSAGES_PER_BUNDLE),
        "table.exec.uid.generation": "ALWAYS",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
        "state.backend.type": settings.state_backend,
        "execution.checkpointing.incremental": "true",
    }
    if settings.checkpoint_every_s > 0:
        options |= {
            "execution.checkpointing.interval": f"{settings.checkpoint_every_s * 1000:.0f} ms",
            "execution.checkpointing.storage": "filesystem",
            "execution.checkpointing.dir": checkpoints_of(settings, name),
            "execution.checkpointing.num-retained": "3",
            "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        }
    # A local Flink would else run all Python workers as threads of this process, under one interpreter lock.
    os.environ.setdefault("_python_worker_execution_mode", "process")
    configuration = Configuration()
    for key, value in options.items():
        configuration.set_string(key, value)
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    env.add_jars(*(jar.as_uri() for jar in sorted((ROOT / "jars" / "flink").glob("*.jar"))))
    return StreamTableEnvironment.create(env)


class ToBatches(ScalarFunction):
    """From messages to one row (BATCH_COLUMNS) a house, many messages a call; as many rows as messages, the rest null."""

    def __init__(self, settings: Settings, wanted: Wanted):
        self.max_gap_ms = round(settings.max_gap_s * 1000)
        self.max_ahead_ms = round(settings.max_ahead_s * 1000)
        self.wanted = wanted

    def open(self, function_context):
        keep_freed_memory()

    def eval(self, value: pd.Series, partition: pd.Series, offset: pd.Series, timestamp: pd.Series) -> pd.DataFrame:
        payloads = [payload or b"" for payload in value]
        readings, reasons = read(payloads, round(time.time() * 1000) + self.max_ahead_ms)
        places = partition.to_numpy()[readings.message], offset.to_numpy()[readings.message]
        rows = [(house_id, timezone, newest_ms, batch.to_bytes()) for house_id, timezone, newest_ms, batch
                in house_batches(readings, *places, self.max_gap_ms, self.wanted)]
        for i, reason in reasons.items():
            letter = dict(partition=partition[i], offset=offset[i], received=int(timestamp[i].timestamp() * 1000),
                          reason=reason, payload=payloads[i])
            rows.append((NO_HOUSE, None, None, encode("dead_letter", letter)))
        rows += [(None,) * 4] * (len(value) - len(rows))
        return pd.DataFrame(rows, columns=BATCH_COLUMNS.names, dtype=object)


def batches(tables: StreamTableEnvironment, settings: Settings, wanted: Wanted) -> DataStream:
    """The topic readings as rows (BATCH_COLUMNS): batches of houses, and dead letters."""
    readings(tables, settings)
    tables.create_temporary_function("to_batches", udf(ToBatches(settings, wanted), result_type=BATCH_COLUMNS, func_type="pandas"))
    one_house = f"AND batch.house_id = {settings.replay_house}" if settings.replay_house else ""
    return tables.to_data_stream(tables.sql_query(f"""
        SELECT batch.house_id, batch.timezone, batch.newest_ms, batch.body
        FROM (SELECT to_batches(`value`, `partition`, `offset`, `timestamp`) AS batch FROM readings)
        WHERE batch.house_id IS NOT NULL {one_house}"""))


def readings(tables: StreamTableEnvironment, settings: Settings) -> None:
    """Declare the table `readings`: each message's bytes, and where and when it is in the topic."""
    tables.execute_sql(f"""
        CREATE TABLE readings (
            `value` BYTES,
            `partition` INT METADATA VIRTUAL,
            `offset` BIGINT METADATA VIRTUAL,
            `timestamp` TIMESTAMP_LTZ(3) METADATA VIRTUAL
        ) WITH (
            {_source_options(tables, settings, "readings")},
            'value.format' = 'raw'
        )""")


def thresholds(tables: StreamTableEnvironment, settings: Settings) -> DataStream:
    """The topic thresholds as rows (house_id, the message's bytes)."""
    tables.execute_sql(f"""
        CREATE TABLE thresholds (
            `key` STRING,
            `value` BYTES
        ) WITH (
            {_source_options(tables, settings, "thresholds")},
            'key.format' = 'raw',
            'key.fields' = 'key',
            'value.format' = 'raw',
            'value.fields-include' = 'EXCEPT_KEY'
        )""")
    return tables.to_data_stream(tables.sql_query("""
        SELECT house_id, `value`
        FROM (SELECT TRY_CAST(SPLIT_INDEX(`key`, '/', 0) AS BIGINT) AS house_id, `value` FROM thresholds)
        WHERE house_id IS NOT NULL AND `value` IS NOT NULL"""))


def _source_options(tables: StreamTableEnvironment, settings: Settings, name: str) -> str:
    options = {
        "connector": "kafka",
        "topic": topic(settings, name),
        "properties.bootstrap.servers": settings.kafka,
        "properties.group.id": settings.topic_prefix + tables.get_config().get("pipeline.name", name),
        "scan.startup.mode": "earliest-offset",
    }
    if settings.replayed_days:
        options |= {"scan.startup.mode": "timestamp",
                    "scan.startup.timestamp-millis": str(settings.replay_start_ms)}
    if settings.bounded:
        options["scan.bounded.mode"] = "latest-offset"
    return ", ".join(f"'{key}' = '{value}'" for key, value in options.items())


def send(tables: StreamTableEnvironment, settings: Settings, messages: DataStream) -> None:
    """Send messages (MESSAGE) to their topics; returns when the job has ended."""
    results(tables, settings)
    tables.from_data_stream(messages).execute_insert("results").wait()


def results(tables: StreamTableEnvironment, settings: Settings) -> None:
    """Declare the table `results`: a message for one of the topics of results."""
    tables.execute_sql(f"""
        CREATE TABLE results (
            `topic` STRING METADATA,
            `key` BYTES,
            `value` BYTES
        ) WITH (
            'connector' = 'kafka',
            'topic' = '{";".join(topic(settings, name) for name in RESULTS)}',
            'properties.bootstrap.servers' = '{settings.kafka}',
            'properties.compression.type' = 'lz4',
            'key.format' = 'raw',
            'key.fields' = 'key',
            'value.format' = 'raw',
            'value.fields-include' = 'EXCEPT_KEY'
        )""")


def keep_freed_memory() -> None:
    """Let this process reuse the memory of large arrays, where glibc would hand it back and fault it in each time.

    Half the time of vectorised work on batches of a few MB is otherwise spent in page faults.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 256 << 20)
