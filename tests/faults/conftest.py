"""The results of a log with all kinds of faults in it, made once by the pipeline on real Kafka and Flink."""

from __future__ import annotations

import pytest

from smartmeter.kafka import connection, topic_admin
from smartmeter.kafka.consumers import sink_group
from smartmeter.settings import Settings
from tests.faults.logs import faulty_log
from tests.pipeline.conftest import run_job
from tests.pipeline.flow import expected_of
from tests.pipeline.logs import Log, produce


@pytest.fixture(scope="module")
def log() -> Log:
    return faulty_log(seed=3)


@pytest.fixture(scope="module")
def processed(kafka, clickhouse, log) -> Settings:
    """The settings whose topics of results hold all of the log's. One partition, so that all messages have an order."""
    settings = kafka.but(topic_prefix="faults.", partitions=1, window_days=2)
    topic_admin.create_topics(settings)
    produce(settings, log.messages)
    run_job(settings, "pipeline")
    return settings


@pytest.fixture(scope="module")
def expected(processed, log):
    return expected_of(processed, log)


def forget_what_is_stored(settings: Settings) -> None:
    """Make the next sink store all results again."""
    admin, name = connection.admin(settings), sink_group(settings)
    if name in {known.group_id for known in admin.list_consumer_groups().result().valid}:
        admin.delete_consumer_groups([name])[name].result()
