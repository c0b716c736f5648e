"""Fixtures: real services on free ports, shared by all tests of a run and ended with it."""

from __future__ import annotations

import hypothesis
import pytest

from smartmeter.kafka import connection, topic_admin
from stack import broker, services
from stack.processes import Processes
from tests.ports import on_free_ports

hypothesis.settings.register_profile(  # the first call of a compiled function waits for its compiler, and machines are slow or busy
    "compiled", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("compiled")


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="kill parts of the stack for a quarter of an hour, not only five")
    parser.addoption(
        "--screenshots", metavar="DIR", help="where the dashboard's screenshots are kept (default: with pytest's temporary files)"
    )


@pytest.fixture(scope="session")
def stack_home(tmp_path_factory):
    """Folder in which the shared services keep their data and logs."""
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="session")
def stack_settings(stack_home):
    """Settings of the shared services, which the fixtures kafka and clickhouse start."""
    return on_free_ports(stack_home, flink_metrics_port=0, sink_metrics_port=0)


@pytest.fixture(scope="session")
def processes(stack_home):
    with Processes(stack_home) as processes:
        yield processes


@pytest.fixture(scope="session")
def kafka(stack_settings, processes):
    """Settings whose .kafka is a running broker. A test sets a topic_prefix of its own and creates its topics."""
    broker.start_broker(processes, stack_settings)
    return stack_settings


@pytest.fixture
def no_kafka(monkeypatch):
    """An address at which there is no Kafka. This process waits half a second for one that is just starting, in place of five."""
    monkeypatch.setattr(connection, "NOBODY_THERE_S", 0.5)
    return "127.0.0.1:1"


@pytest.fixture(scope="session")
def clickhouse(stack_settings, processes):
    """Settings whose .clickhouse_url is a running endpoint. A test sets a clickhouse_database of its own."""
    services.start_endpoint(processes, stack_settings)
    return stack_settings


@pytest.fixture
def with_topics(kafka, request):
    """The settings of `kafka` with topics that belong to one test alone."""
    settings = kafka.but(topic_prefix=f"{request.node.name}.".translate(str.maketrans("[]/", "...")))
    topic_admin.create_topics(settings)
    return settings
