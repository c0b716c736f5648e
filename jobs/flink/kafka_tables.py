"""The topics as Flink tables, and their rows keyed by shard of houses."""

from __future__ import annotations

from functools import cache

import pandas as pd
from pyflink.common import TypeInformation, Types
from pyflink.datastream.data_stream import KeyedStream
from pyflink.java_gateway import get_gateway
from pyflink.table import DataTypes, StreamTableEnvironment
from pyflink.table.udf import ScalarFunction, udf
from pyflink.util.java_utils import to_jarray

from jobs.core.batches import Wanted
from jobs.core.shards import shard_of
from jobs.flink.operator import BATCHES, BYTES
from jobs.flink.to_batches import OF_SHARD, ToBatches
from smartmeter.kafka import connection
from smartmeter.kafka.consumers import group_of
from smartmeter.kafka.offsets import Offsets, specific_offsets
from smartmeter.messages.topics import LARGEST_DEAD_LETTER_BYTES, RESULTS, topic
from smartmeter.run import Run
from smartmeter.settings import Settings

PLACE = "`partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL"
ARCHIVED_PLACE = """
    `headers` MAP<STRING, BYTES> METADATA VIRTUAL,
    `at_partition` INT METADATA FROM 'partition' VIRTUAL,
    `at_offset` BIGINT METADATA FROM 'offset' VIRTUAL,
    `partition` AS COALESCE(TRY_CAST(DECODE(`headers`['partition'], 'UTF-8') AS INT), `at_partition`),
    `offset` AS COALESCE(TRY_CAST(DECODE(`headers`['offset'], 'UTF-8') AS BIGINT), `at_offset`)"""
"""Partition and offset of a message from an archive, as they were when it was archived: late records and dead letters point there. A
message without these headers did not come from the archive, and keeps its own."""

LATEST_RECEIVED_MS = 7_258_118_399_999
"""2199-12-31T23:59:59.999Z: the latest time that is passed on, so every program can show it."""

RECEIVED = f"""
    CASE WHEN `timestamp` > TO_TIMESTAMP_LTZ({LATEST_RECEIVED_MS}, 3) THEN TO_TIMESTAMP_LTZ({LATEST_RECEIVED_MS}, 3)
         WHEN `timestamp` < TO_TIMESTAMP_LTZ(0, 3) THEN TO_TIMESTAMP_LTZ(0, 3)
         ELSE `timestamp` END"""
"""The Kafka timestamp of a message, limited to 1970 to 2199: its producer may have set it to anything."""

NEW_PARTITIONS_S = 10
"""Longest time until partitions that are added to a topic are found."""

THRESHOLD = Types.ROW_NAMED(["house_id", "value"], [Types.LONG(), BYTES])


def batches(tables: StreamTableEnvironment, settings: Settings, run: Run, wanted: Wanted) -> KeyedStream:
    """The topic readings as rows (BATCHES) by shard: batches of houses, and dead letters."""
    readings(tables, settings, run)
    to_batches = udf(ToBatches(settings, wanted, shard_keys(settings.flink.max_parallelism), run), result_type=OF_SHARD, func_type="pandas")
    tables.create_temporary_function("to_batches", to_batches)  # type: ignore[arg-type]  # only a decorated function is not a wrapper
    return keyed(
        tables,
        BATCHES,
        f"""
        SELECT found.shard, ROW(found.batches, found.dead_letter)
        FROM (SELECT to_batches(`value`, `partition`, `offset`, {RECEIVED}) AS found FROM readings)
        WHERE found.shard IS NOT NULL""",
    )


def keyed(tables: StreamTableEnvironment, row_type: TypeInformation, query: str) -> KeyedStream:
    """The rows (row_type) of a query that returns (key, row), keyed by that key.

    DataStream.key_by would send each row to Python and back only to add its key. Here each row already has it.
    """
    stream = tables.to_append_stream(tables.sql_query(query), Types.ROW([Types.LONG(), row_type]))
    by_first_field = get_gateway().jvm.KeyByKeySelector()
    key_type = Types.ROW([Types.LONG()]).get_java_type_info()
    return KeyedStream(stream._j_data_stream.keyBy(by_first_field, key_type), row_type, stream)


@cache
def shard_keys(shards: int) -> list[int]:
    """A key for each shard, such that each shard is one of Flink's key groups. There are as many of these as shards.

    With the shard's number as key, Flink's hash would put several shards into one group, and none into others.
    """
    jvm, key = get_gateway().jvm, 0
    keys: dict[int, int] = {}
    # Py4J looks up each part of a name, so here and not in the loop.
    group_of, row_of = jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment.assignToKeyGroup, jvm.org.apache.flink.types.Row.of
    while len(keys) < shards:
        keys.setdefault(group_of(row_of(to_jarray(jvm.Object, [key])), shards), key)
        key += 1
    return [keys[shard] for shard in range(shards)]


def readings(tables: StreamTableEnvironment, settings: Settings, run: Run) -> None:
    """Declare the table `readings`: each message's bytes, partition, offset and timestamp."""
    place = ARCHIVED_PLACE if run.archived else PLACE
    tables.execute_sql(f"""
        CREATE TABLE readings (
            `value` BYTES,
            {place},
            `timestamp` TIMESTAMP_LTZ(3) METADATA VIRTUAL
        ) WITH (
            {_source_options(tables, settings, run, "readings")},
            'value.format' = 'raw'
        )""")


class ToKey(ScalarFunction):
    """Maps houses to the keys of their shards."""

    def __init__(self, keys: list[int]):
        self.keys = keys

    def eval(self, house_id: pd.Series) -> pd.Series:
        """The key of each house (int64 (k,))."""
        return house_id.map(lambda house_id: self.keys[shard_of(house_id, len(self.keys))])


def thresholds(tables: StreamTableEnvironment, settings: Settings, run: Run) -> KeyedStream:
    """The topic thresholds as rows (house_id, the message's bytes) by shard."""
    tables.execute_sql(f"""
        CREATE TABLE thresholds (
            `key` STRING,
            `value` BYTES
        ) WITH (
            {_source_options(tables, settings, run, "thresholds")},
            'key.format' = 'raw',
            'key.fields' = 'key',
            'value.format' = 'raw',
            'value.fields-include' = 'EXCEPT_KEY'
        )""")
    to_key = udf(ToKey(shard_keys(settings.flink.max_parallelism)), result_type=DataTypes.BIGINT(), func_type="pandas")
    tables.create_temporary_function("to_key", to_key)  # type: ignore[arg-type]  # only a decorated function is not a wrapper
    return keyed(
        tables,
        THRESHOLD,
        """
        SELECT to_key(house_id), ROW(house_id, `value`)
        FROM (SELECT TRY_CAST(SPLIT_INDEX(`key`, '/', 0) AS BIGINT) AS house_id, `value` FROM thresholds)
        WHERE house_id IS NOT NULL AND `value` IS NOT NULL""",
    )


def _source_options(tables: StreamTableEnvironment, settings: Settings, run: Run, name: str) -> str:
    group_id = group_of(settings, tables.get_config().get("pipeline.name", name))
    options = {
        "connector": "kafka",
        "topic": topic(settings, name, run),
        **kafka_properties(connection.java_consumer(settings, group_id)),
        "scan.startup.mode": "earliest-offset",
        "scan.topic-partition-discovery.interval": f"{NEW_PARTITIONS_S} s",
    }
    if run.offsets and name == "readings":
        options |= {"scan.startup.mode": "specific-offsets", "scan.startup.specific-offsets": run.offsets}
    if run.bounded:
        # The connector's own latest-offset would lie after open transactions, and the job would wait for their end.
        with Offsets(settings, (name,), group_id, run) as offsets:
            ends = {partition: end for (_, partition), (_, end) in offsets.bounds().items()}
        options |= {"scan.bounded.mode": "specific-offsets", "scan.bounded.specific-offsets": specific_offsets(ends)}
    return sql_options(options)


def kafka_properties(properties: dict[str, str]) -> dict[str, str]:
    """Properties of Kafka's client as table options of Flink's Kafka connector."""
    return {f"properties.{key}": value for key, value in properties.items()}


def sql_options(options: dict[str, str]) -> str:
    """The options as SQL, for the parentheses of WITH (...)."""
    return ", ".join("'{}' = '{}'".format(key, value.replace("'", "''")) for key, value in options.items())


def results(tables: StreamTableEnvironment, settings: Settings, run: Run) -> None:
    """Declare the table `results`: messages for the result topics."""
    options = {
        "connector": "kafka",
        "topic": ";".join(topic(settings, name, run) for name in RESULTS),
        **kafka_properties(connection.java_client(settings)),
        "properties.compression.type": "lz4",
        "properties.max.request.size": str(LARGEST_DEAD_LETTER_BYTES),
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    tables.execute_sql(f"""
        CREATE TABLE results (
            `topic` STRING METADATA,
            `key` BYTES,
            `value` BYTES
        ) WITH ({sql_options(options)})""")
