"""Shared by all jobs: Flink's settings, and the flow from the topic readings to the result topics.

readings --> many messages a call, reduced to a batch a house (jobs.flink.to_batches) --> key by shard of houses --> Houses --> results
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_

from pyflink.common import Configuration
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

from jobs.core.stage import Stage
from jobs.flink.absence import TopicBacklog
from jobs.flink.kafka_tables import batches, results
from jobs.flink.kind_source import KindsTopic
from jobs.flink.operator import MESSAGE, NOTHING, Houses
from jobs.flink.outside import Outside
from jobs.flink.rule_source import RulesTopic
from smartmeter import reports
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.run import Run
from smartmeter.settings import JARS, Settings
from smartmeter.state_folders import checkpoints_of

MESSAGES_PER_CALL = 500
"""Messages in one Arrow batch: few enough to stay in a processor's cache, and enough that a house's work for each batch weighs little."""

MESSAGES_PER_BUNDLE = 2_000
"""Most messages in one of Flink's bundles; SMW_BUNDLE_MS also ends one. After each, the Python worker waits until state is written.

A checkpoint waits for the bundles that have begun. With many houses that send little, 20,000 messages took it 7 to 10 s, and 2,000 take 4 to 6.
"""


def run(name: str, stages_of: Callable[[Settings], list[Stage]]) -> None:
    """Submit the job `name` and wait until it ends. Settings and run come from SMW_ environment variables."""
    settings, of_run = Settings.load(), Run.load()
    name = "replay" if of_run.days else name
    tables, stages = environment(name, settings, of_run), stages_of(settings)
    messages = (
        batches(tables, settings, of_run, reduce(or_, (stage.wanted for stage in stages)))
        .process(Houses(settings, stages, of_run, outside(name, settings, stages, of_run)), output_type=MESSAGE)
        .name("houses")
        .uid("houses")
    )
    send(tables, settings, of_run, messages)


def outside(name: str, settings: Settings, stages: Sequence[Stage], run: Run) -> Outside:
    """What the stages of a job need besides its messages. Exits the process if a topic that they need does not exist."""
    found = NOTHING
    try:
        if any(stage.judges for stage in stages):
            backlog = None if run.bounded or run.anew else TopicBacklog(settings, name)
            found = found._replace(user_rules=RulesTopic(settings, name, run), backlog=backlog)
        if any(stage.makes_thresholds for stage in stages):
            found = found._replace(kinds=KindsTopic(settings, name, run))
        return found
    except UserError as error:
        sys.exit(reports.fail("smw", str(error)))


def environment(name: str, settings: Settings, run: Run) -> StreamTableEnvironment:
    """A table environment for a run of the job `name`, configured from `settings`. Exits the process if Kafka cannot be used."""
    try:
        connection.require_broker(settings)
    except UserError as error:
        sys.exit(reports.fail("smw", str(error)))
    # Otherwise a local Flink runs all Python workers as threads of this process, under one interpreter lock.
    os.environ.setdefault("_python_worker_execution_mode", "process")
    configuration = Configuration()
    for key, value in flink_options(name, settings, run).items():
        configuration.set_string(key, value)
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    env.add_jars(*(jar.as_uri() for jar in sorted((JARS / "flink").glob("*.jar"))))
    return StreamTableEnvironment.create(env)


def flink_options(name: str, settings: Settings, run: Run) -> dict[str, str]:
    """Flink's options for a run of the job `name`."""
    options = {
        "pipeline.name": name,
        "pipeline.object-reuse": "true",
        "pipeline.max-parallelism": str(settings.flink.max_parallelism),
        "parallelism.default": str(settings.flink.parallelism),
        "python.fn-execution.bundle.time": str(settings.flink.bundle_ms),
        "python.fn-execution.arrow.batch.size": str(MESSAGES_PER_CALL),
        "python.fn-execution.bundle.size": str(MESSAGES_PER_BUNDLE),
        "python.map-state.read-cache-size": "0",  # jobs.core.state.HouseMap counts bytes, not values
        "table.exec.uid.generation": "ALWAYS",
        # By other names, or a source would take the other topic's place for its own.
        "table.exec.uid.format": "anew_<id>_<transformation>" if run.anew else "<id>_<transformation>",
        "table.local-time-zone": "UTC",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
        "state.backend.type": settings.flink.state_backend,
        "execution.checkpointing.incremental": "true",
    }
    if settings.flink.checkpoint_every_s > 0:
        options |= {
            "execution.checkpointing.interval": f"{settings.flink.checkpoint_every_s * 1000:.0f} ms",
            "execution.checkpointing.storage": "filesystem",
            "execution.checkpointing.dir": checkpoints_of(settings, name),
            "execution.checkpointing.num-retained": "3",
            "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        }
    if run.bounded:
        # At its end the results of all houses are made in one piece. With many houses a checkpoint expires meanwhile, which must not fail the
        # job: a bounded source of Kafka that is restored never ends (FLINK-31006).
        options["execution.checkpointing.tolerable-failed-checkpoints"] = str(2**31 - 1)
    return options


def send(tables: StreamTableEnvironment, settings: Settings, run: Run, messages: DataStream) -> None:
    """Send messages (MESSAGE) to their topics. Returns when the job has ended, or immediately after `flink run --detached`."""
    results(tables, settings, run)
    job = tables.from_data_stream(messages).execute_insert("results")
    if tables.get_config().get("execution.attached", "true") == "true":
        job.wait()
