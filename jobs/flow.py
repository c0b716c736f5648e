"""What the jobs have in common: Flink's settings, and the way from the topic readings to the topics of results.

    readings --> many messages a call, to a batch a house (jobs.batches) --> key by shard of houses --> Houses --> results
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_

import numpy as np
import pandas as pd
from pyflink.common import Configuration, TypeInformation, Types
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.datastream.data_stream import KeyedStream
from pyflink.java_gateway import get_gateway
from pyflink.table import DataTypes, StreamTableEnvironment
from pyflink.table.udf import ScalarFunction, udf
from pyflink.util.java_utils import to_jarray

from jobs.batches import Batches, Wanted, house_batches
from jobs.guard import LONGEST_REASON, Guard
from jobs.house import BATCHES, BYTES, MESSAGE, Houses, Part
from jobs.integral import sections_in
from jobs.metrics import Counts, own_group
from jobs.overlaps import Horizon
from jobs.readings import NEVER, days_of, read
from jobs.shards import shard_of
from smartmeter import kafka
from smartmeter.codec import encode
from smartmeter.framing import framing
from smartmeter.offsets import Offsets, specific_offsets
from smartmeter.savepoints import checkpoints_of
from smartmeter.settings import JARS, Settings
from smartmeter.topics import LARGEST_DEAD_LETTER_BYTES, RESULTS, topic

MESSAGES_PER_CALL = 250
"""Messages in one Arrow batch: few enough for their columns to stay in a processor's cache."""

MESSAGES_PER_BUNDLE = 20_000
"""Between two of Flink's bundles the Python worker waits for state to be written; settings.bundle_ms ends one too."""

MOST_BYTES_AT_ONCE = 16 << 20
"""Of messages that are decoded together; that takes up to 15 times as much memory."""

MOST_SECTIONS_AT_ONCE = 200_000
"""Sections (144 bytes each) that messages may give together."""

PLACE = "`partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL"
ARCHIVED_PLACE = """
    `headers` MAP<STRING, BYTES> METADATA VIRTUAL,
    `at_partition` INT METADATA FROM 'partition' VIRTUAL,
    `at_offset` BIGINT METADATA FROM 'offset' VIRTUAL,
    `partition` AS COALESCE(TRY_CAST(DECODE(`headers`['partition'], 'UTF-8') AS INT), `at_partition`),
    `offset` AS COALESCE(TRY_CAST(DECODE(`headers`['offset'], 'UTF-8') AS BIGINT), `at_offset`)"""
"""Of a message from an archive: where it was when it was archived, so that what is told of it still points there. One without headers
that say so is no message of the archive's, and is where it is."""

LATEST_RECEIVED_MS = 7_258_118_399_999
"""2199-12-31T23:59:59.999Z: no later time is shown, so that any program can."""

RECEIVED = f"""
    CASE WHEN `timestamp` > TO_TIMESTAMP_LTZ({LATEST_RECEIVED_MS}, 3) THEN TO_TIMESTAMP_LTZ({LATEST_RECEIVED_MS}, 3)
         WHEN `timestamp` < TO_TIMESTAMP_LTZ(0, 3) THEN TO_TIMESTAMP_LTZ(0, 3)
         ELSE `timestamp` END"""
"""The time of a message in Kafka, which may be anything that its producer made up: one before 1970 or after 2199 is set to the nearest."""

NEW_PARTITIONS_S = 10
"""How long partitions that are added to a topic may go unseen."""

THRESHOLD = Types.ROW_NAMED(["house_id", "value"], [Types.LONG(), BYTES])
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h

OF_SHARD = DataTypes.ROW([
    DataTypes.FIELD("shard", DataTypes.BIGINT()),
    DataTypes.FIELD("batches", DataTypes.BYTES()),
    DataTypes.FIELD("dead_letter", DataTypes.BYTES()),
])
"""What to_batches gives: the batches of a shard of houses, packed, or a dead letter; all null beyond the last."""


def run(name: str, parts_of: Callable[[Settings], list[Part]]) -> None:
    """Submit the job `name` and stay with it until it ends; settings come from SMW_ environment variables."""
    settings = Settings.load()
    name = "replay" if settings.replayed_days else name
    tables, parts = environment(name, settings), parts_of(settings)
    messages = (
        batches(tables, settings, reduce(or_, (part.wanted for part in parts)))
        .process(Houses(settings, parts), output_type=MESSAGE).name("houses").uid("houses")
    )
    send(tables, settings, messages)


def environment(name: str, settings: Settings) -> StreamTableEnvironment:
    """A table environment for the job `name`, set up as `settings` say. Ends the process when Kafka cannot be used."""
    if sentence := kafka.why_not(settings):
        sys.exit(f"smw: {sentence}")
    options = {
        "pipeline.name": name,
        "pipeline.object-reuse": "true",
        "pipeline.max-parallelism": str(settings.max_parallelism),
        "parallelism.default": str(settings.parallelism),
        "python.fn-execution.bundle.time": str(settings.bundle_ms),
        "python.fn-execution.arrow.batch.size": str(MESSAGES_PER_CALL),
        "python.fn-execution.bundle.size": str(MESSAGES_PER_BUNDLE),
        "table.exec.uid.generation": "ALWAYS",
        "table.local-time-zone": "UTC",
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
    env.add_jars(*(jar.as_uri() for jar in sorted((JARS / "flink").glob("*.jar"))))
    return StreamTableEnvironment.create(env)


@dataclass(frozen=True)
class Messages:
    """m messages of the topic readings."""

    payloads: list[bytes]
    partition: np.ndarray  # int (m,)
    offset: np.ndarray  # int (m,)
    received_ms: np.ndarray  # int64 (m,), their times in Kafka

    def __len__(self) -> int:
        return len(self.payloads)

    def halves(self) -> tuple[Messages, Messages] | None:
        """The first half of them, and the others; None for a single one."""
        middle = len(self) // 2
        return (self[:middle], self[middle:]) if middle else None

    def __getitem__(self, part: slice) -> Messages:
        return Messages(self.payloads[part], self.partition[part], self.offset[part], self.received_ms[part])

    def of_bounded_size(self) -> Iterator[Messages]:
        """Yield them in parts of MOST_BYTES_AT_ONCE, or of one message."""
        begin = size = 0
        for i, payload in enumerate(self.payloads):
            if size + len(payload) > MOST_BYTES_AT_ONCE and i > begin:
                yield self[begin:i]
                begin, size = i, 0
            size += len(payload)
        yield self[begin:]


class ToBatches(ScalarFunction):
    """From messages to a row (OF_SHARD) a shard of houses, many messages a call; as many rows as messages, the rest null."""

    def __init__(self, settings: Settings, wanted: Wanted, keys: list[int]):
        self.max_gap_ms = round(settings.max_gap_s * 1000)
        self.max_ahead_ms = round(settings.max_ahead_s * 1000)
        self.oldest_ms = settings.oldest_ms
        self.allowed_lateness_ms = round(settings.allowed_lateness_s * 1000)
        self.only_house = settings.replay_house
        self.last_day = settings.replayed_days[-1] if settings.replayed_days and settings.replay_with_late else None
        self.wanted, self.keys = wanted, keys
        self.framing = framing(settings)

    def open(self, function_context):
        keep_freed_memory()
        self.horizon = Horizon(self.allowed_lateness_ms)
        group = own_group(function_context.get_metric_group())
        self.counts = Counts(group, ("bursts", "readings", "dead_letters", "messages_failed"))
        self.guard = Guard()
        self.newest_reading_s = 0
        group.gauge("newest_reading_s", lambda: self.newest_reading_s)

    def eval(self, value: pd.Series, partition: pd.Series, offset: pd.Series, timestamp: pd.Series) -> pd.DataFrame:
        received_ms = timestamp.to_numpy("datetime64[ms]").astype(np.int64)
        messages = Messages([payload or b"" for payload in value], partition.to_numpy(), offset.to_numpy(), received_ms)
        rows = [row for part in messages.of_bounded_size() for row in self.rows_of(part)]
        self.counts.tell()
        rows += [(None,) * 3] * (len(value) - len(rows))
        return pd.DataFrame(rows, columns=OF_SHARD.names, dtype=object)

    def rows_of(self, messages: Messages) -> list[tuple]:
        """The rows (OF_SHARD) of messages, of which there are as many or fewer. A message that makes this fail is a dead letter."""
        return self.guard.each(messages, self.rows, Messages.halves, self.failed)

    def rows(self, messages: Messages) -> list[tuple]:
        payloads, refused = self.framing.all_received(messages.payloads)
        if self.last_day is not None:
            payloads = self.without_later(payloads)
        readings, reasons = read(payloads, round(time.time() * 1000) + self.max_ahead_ms, len(self.keys), self.oldest_ms)
        if sections_in(readings) > MOST_SECTIONS_AT_ONCE and (parts := messages.halves()):
            return [row for part in parts for row in self.rows_of(part)]
        reasons |= refused
        partitions, offsets = (column[readings.bursts["message"]] for column in (messages.partition, messages.offset))
        may_overlap = self.horizon.passed(readings.bursts, messages.partition, messages.offset)
        batches = house_batches(readings, partitions, offsets, self.max_gap_ms, self.wanted, may_overlap)
        if self.only_house:
            batches, reasons = batches.of(self.only_house), {}
        rows: list[tuple] = [(self.keys[shard], body, None) for shard, body in batches.by_shard(len(self.keys))]
        rows += [self.dead_letter(messages, i, reason) for i, reason in reasons.items()]
        self.count(readings.bursts["newest_ms"], batches, reasons)
        return rows

    def failed(self, messages: Messages, reason: str) -> list[tuple]:
        """The row of the one message on which all else failed."""
        self.counts.add("messages_failed")
        self.counts.add("dead_letters")
        return [] if self.only_house else [self.dead_letter(messages, 0, reason)]

    def dead_letter(self, messages: Messages, i: int, reason: str) -> tuple:
        offset = int(messages.offset[i])
        return self.keys[offset % len(self.keys)], None, encode("dead_letter", {
            "partition": int(messages.partition[i]), "offset": offset, "received": int(messages.received_ms[i]),
            "reason": reason[:LONGEST_REASON], "payload": messages.payloads[i]})

    def without_later(self, messages: list[bytes]) -> list[bytes]:
        """The messages, empty where a burst begins once the last day of a replay may be closed: none closes it, or a day before, too early."""
        readings, _ = read(messages, round(time.time() * 1000) + self.max_ahead_ms, len(self.keys), self.oldest_ms)
        begun = days_of(readings.zones, readings.bursts["zone"], readings.bursts["start_ms"] - self.allowed_lateness_ms)
        later = set(readings.bursts["message"][begun > self.last_day].tolist())
        return [b"" if i in later else message for i, message in enumerate(messages)]

    def count(self, newest_ms: np.ndarray, batches: Batches, reasons: dict[int, str]) -> None:
        """Tell Flink what was in a call's messages. Of their newest readings the middle one counts: no house whose clock is wrong does."""
        self.counts.add("bursts", len(newest_ms))
        self.counts.add("readings", int(batches.sections["readings"].sum() + batches.sections["refused"].sum()))
        self.counts.add("dead_letters", len(reasons))
        if len(known := newest_ms[newest_ms > NEVER]):
            self.newest_reading_s = int(np.median(known)) // 1000


def batches(tables: StreamTableEnvironment, settings: Settings, wanted: Wanted) -> KeyedStream:
    """The topic readings as rows (BATCHES) by shard: batches of houses, and dead letters."""
    readings(tables, settings)
    to_batches = udf(ToBatches(settings, wanted, shard_keys(settings.max_parallelism)), result_type=OF_SHARD, func_type="pandas")
    tables.create_temporary_function("to_batches", to_batches)
    return keyed(tables, BATCHES, f"""
        SELECT found.shard, ROW(found.batches, found.dead_letter)
        FROM (SELECT to_batches(`value`, `partition`, `offset`, {RECEIVED}) AS found FROM readings)
        WHERE found.shard IS NOT NULL""")


def keyed(tables: StreamTableEnvironment, row_type: TypeInformation, query: str) -> KeyedStream:
    """The rows (row_type) of a query for (key, row), by that key.

    DataStream.key_by would send each row to Python and back, just to have the key put before it. Here it is there already.
    """
    stream = tables.to_append_stream(tables.sql_query(query), Types.ROW([Types.LONG(), row_type]))
    by_first_field = get_gateway().jvm.KeyByKeySelector()
    key_type = Types.ROW([Types.LONG()]).get_java_type_info()
    return KeyedStream(stream._j_data_stream.keyBy(by_first_field, key_type), row_type, stream)


@cache
def shard_keys(shards: int) -> list[int]:
    """A key for each shard, so that each is one of Flink's key groups, of which there are as many.

    Were the shard's number the key, Flink's hash would put several into one group, and none into others.
    """
    jvm, key = get_gateway().jvm, 0
    keys: dict[int, int] = {}
    group_of = jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment.assignToKeyGroup
    while len(keys) < shards:
        keys.setdefault(group_of(jvm.org.apache.flink.types.Row.of(to_jarray(jvm.Object, [key])), shards), key)
        key += 1
    return [keys[shard] for shard in range(shards)]


def readings(tables: StreamTableEnvironment, settings: Settings) -> None:
    """Declare the table `readings`: each message's bytes, and where and when it is in the topic."""
    place = ARCHIVED_PLACE if settings.replay_archived else PLACE
    tables.execute_sql(f"""
        CREATE TABLE readings (
            `value` BYTES,
            {place},
            `timestamp` TIMESTAMP_LTZ(3) METADATA VIRTUAL
        ) WITH (
            {_source_options(tables, settings, "readings")},
            'value.format' = 'raw'
        )""")


class ToKey(ScalarFunction):
    """From houses to the keys of their shards."""

    def __init__(self, keys: list[int]):
        self.keys = keys

    def eval(self, house_id: pd.Series) -> pd.Series:
        return house_id.map(lambda house_id: self.keys[shard_of(house_id, len(self.keys))])


def thresholds(tables: StreamTableEnvironment, settings: Settings) -> KeyedStream:
    """The topic thresholds as rows (house_id, the message's bytes) by shard."""
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
    to_key = udf(ToKey(shard_keys(settings.max_parallelism)), result_type=DataTypes.BIGINT(), func_type="pandas")
    tables.create_temporary_function("to_key", to_key)
    return keyed(tables, THRESHOLD, """
        SELECT to_key(house_id), ROW(house_id, `value`)
        FROM (SELECT TRY_CAST(SPLIT_INDEX(`key`, '/', 0) AS BIGINT) AS house_id, `value` FROM thresholds)
        WHERE house_id IS NOT NULL AND `value` IS NOT NULL""")


def _source_options(tables: StreamTableEnvironment, settings: Settings, name: str) -> str:
    group_id = settings.topic_prefix + tables.get_config().get("pipeline.name", name)
    options = {
        "connector": "kafka",
        "topic": topic(settings, name),
        **kafka_properties(kafka.java_consumer(settings, group_id)),
        "scan.startup.mode": "earliest-offset",
        "scan.topic-partition-discovery.interval": f"{NEW_PARTITIONS_S} s",
    }
    if settings.replay_offsets and name == "readings":
        options |= {"scan.startup.mode": "specific-offsets", "scan.startup.specific-offsets": settings.replay_offsets}
    if settings.bounded:
        # Its own latest-offset would lie behind transactions that are open, and the job would wait for their end.
        with Offsets(settings, (name,), group_id) as offsets:
            ends = {partition: end for (_, partition), (_, end) in offsets.bounds().items()}
        options |= {"scan.bounded.mode": "specific-offsets", "scan.bounded.specific-offsets": specific_offsets(ends)}
    return sql_options(options)


def kafka_properties(properties: dict[str, str]) -> dict[str, str]:
    """Properties of Kafka's client as options of a table of its connector."""
    return {f"properties.{key}": value for key, value in properties.items()}


def sql_options(options: dict[str, str]) -> str:
    """What stands between the brackets of WITH (...)."""
    return ", ".join("'{}' = '{}'".format(key, value.replace("'", "''")) for key, value in options.items())


def send(tables: StreamTableEnvironment, settings: Settings, messages: DataStream) -> None:
    """Send messages (MESSAGE) to their topics; returns when the job has ended, or at once where flink run was told --detached."""
    results(tables, settings)
    job = tables.from_data_stream(messages).execute_insert("results")
    if tables.get_config().get("execution.attached", "true") == "true":
        job.wait()


def results(tables: StreamTableEnvironment, settings: Settings) -> None:
    """Declare the table `results`: a message for one of the topics of results."""
    options = {
        "connector": "kafka",
        "topic": ";".join(topic(settings, name) for name in RESULTS),
        **kafka_properties(kafka.java_client(settings)),
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


def keep_freed_memory() -> None:
    """Let this process reuse the memory of large arrays, where glibc would hand it back and fault it in each time.

    Half the time of vectorised work on batches of a few MB is otherwise spent in page faults.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 256 << 20)
