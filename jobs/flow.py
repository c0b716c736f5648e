"""What the jobs have in common: Flink's settings, the topic readings as a table, the topics of results as another."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

from smartmeter.settings import ROOT, Settings
from smartmeter.topics import topic

MESSAGES_PER_CALL = 250
"""Messages in one Arrow batch: few enough for their columns to stay in a processor's cache."""

MESSAGES_PER_BUNDLE = 20_000
"""Between two of Flink's bundles the Python worker waits for state to be written; settings.bundle_ms ends one too."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
RESULT_TOPICS = ("daily_energy", "late", "dead_letter")


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
    }
    if settings.checkpoint_every_s > 0:
        options |= {
            "execution.checkpointing.interval": f"{settings.checkpoint_every_s * 1000:.0f} ms",
            "execution.checkpointing.storage": "filesystem",
            "execution.checkpointing.dir": settings.checkpoint_dir or (Path(settings.home) / "checkpoints").as_uri(),
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


def readings(tables: StreamTableEnvironment, settings: Settings) -> None:
    """Declare the table `readings`: each message's bytes, and where and when it is in the topic."""
    tables.execute_sql(f"""
        CREATE TABLE readings (
            `value` BYTES,
            `partition` INT METADATA VIRTUAL,
            `offset` BIGINT METADATA VIRTUAL,
            `timestamp` TIMESTAMP_LTZ(3) METADATA VIRTUAL
        ) WITH (
            'connector' = 'kafka',
            'topic' = '{topic(settings, "readings")}',
            'properties.bootstrap.servers' = '{settings.kafka}',
            'properties.group.id' = '{settings.topic_prefix}daily_energy',
            'scan.startup.mode' = 'earliest-offset',
            {"'scan.bounded.mode' = 'latest-offset'," if settings.bounded else ""}
            'value.format' = 'raw'
        )""")


def results(tables: StreamTableEnvironment, settings: Settings) -> None:
    """Declare the table `results`: a message for one of the topics of results."""
    tables.execute_sql(f"""
        CREATE TABLE results (
            `topic` STRING METADATA,
            `key` BYTES,
            `value` BYTES
        ) WITH (
            'connector' = 'kafka',
            'topic' = '{";".join(topic(settings, name) for name in RESULT_TOPICS)}',
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
