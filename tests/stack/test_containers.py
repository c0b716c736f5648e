"""Every service of docker-compose.yml as the process that its container would be: readings in, results out, with three brokers."""

from __future__ import annotations

import re
import time

import pytest
from confluent_kafka.admin import ConfigResource
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from generator.live import reached_ms
from smartmeter.kafka import connection
from smartmeter.messages.single_object import REGISTRY_MARKER
from smartmeter.messages.topics import SCHEMA_OF
from smartmeter.settings import Settings
from stack.broker import broker_answers
from stack.flink import Flink
from stack.processes import Processes
from stack.services import start_endpoint
from store.client import reader
from tests.processes import command_line
from tests.registry.evolved import with_type
from tests.stack.containers import CLUSTER, COMPOSE, SECRETS, Containers, make_image, services
from tests.topics import messages
from tests.waiting import STILL_S, until

TASKMANAGERS = 2


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path / "processes") as processes:
        yield processes
        for child in processes.children.values():
            child.kill()  # at once: the last of three brokers would wait for the others


def settings_at(containers: Containers, broker: str, home) -> Settings:
    """Settings of a client of a broker and of ClickHouse."""
    return Settings().but(
        home=home,
        kafka=containers.address(broker, 19092),
        clickhouse_url=f"http://{containers.address('clickhouse', 8123)}",
        clickhouse_password=SECRETS["SMW_CLICKHOUSE_PASSWORD"],
        clickhouse_reader_password=SECRETS["SMW_CLICKHOUSE_READER_PASSWORD"],
    )


def brokers_known(settings: Settings) -> int:
    """The number of brokers that one of them reports; 0 if it does not answer."""
    return broker_answers(settings) and len(connection.admin(settings).list_topics(timeout=5).brokers)


def copies(settings: Settings) -> set[tuple[int, str]]:
    """(copies of a message, and how many of them must have it before it counts as sent) of the project's topics."""
    admin = connection.admin(settings)
    topics = admin.list_topics(timeout=STILL_S).topics
    described = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name) for name in SCHEMA_OF])
    return {
        (len(partition.replicas), found.result()["min.insync.replicas"].value)
        for resource, found in described.items()
        for partition in topics[resource.name].partitions.values()
    }


def test_one_broker(tmp_path, processes):
    containers = Containers(services(COMPOSE), tmp_path, processes)
    settings = settings_at(containers, "kafka", tmp_path)
    containers.start_broker("kafka")
    until(lambda: brokers_known(settings) == 1)
    make_image(tmp_path / "image")
    containers.start_registry()
    until(lambda: containers.healthy("registry"))
    containers.run("topics")
    assert copies(settings) == {(1, "1")}
    assert list((tmp_path / "kafka").glob("readings-*/*.log"))  # in its volume
    registry = SchemaRegistryClient({"url": f"http://{containers.address('registry', 8080)}/apis/ccompat/v7"})
    assert set(registry.get_subjects()) == {f"{name}-value" for name in SCHEMA_OF}
    with pytest.raises(SchemaRegistryError) as error:  # with Apicurio's own default it would be taken
        registry.register_schema("readings-value", with_type("reading_burst", "house_id", "string"))
    assert error.value.http_status_code == 409


def test_three_brokers_and_all_that_reads_and_writes_them(tmp_path, processes):
    containers = Containers(services(COMPOSE, CLUSTER), tmp_path, processes)
    settings = settings_at(containers, "kafka", tmp_path / "home")
    make_image(tmp_path / "image")
    for broker in containers.brokers:
        containers.start_broker(broker)
    assert not containers.healthy("jobmanager")
    containers.start("jobmanager")
    for broker in containers.brokers:
        until(lambda: brokers_known(settings_at(containers, broker, tmp_path)) == 3)
    containers.start_registry()
    until(lambda: containers.healthy("registry"))
    containers.run("topics")
    assert copies(settings) == {(3, "2")}
    until(lambda: containers.healthy("jobmanager"))
    containers.start("flink-page")
    for number in range(TASKMANAGERS):
        containers.start("taskmanager", number)
    until(lambda: containers.healthy("taskmanager"))
    containers.start("pipeline")
    start_endpoint(processes, settings)  # in the place of ClickHouse's server
    containers.start("sink")
    containers.start("generator", **{"20": "2", "7": "2"})
    flink = Flink(containers.address("jobmanager", 8081))
    until(lambda: list(flink.jobs().values()) == ["pipeline"])
    until(lambda: containers.healthy("pipeline"))
    until(lambda: flink.slots() == (2, 4))
    assert containers.healthy("flink-page") and Flink(containers.address("flink-page", 8081)).jobs() == flink.jobs()
    assert all(b"-XX:+ExitOnOutOfMemoryError" in command_line(processes.children[name].pid) for name in ("jobmanager.1", "taskmanager.0"))
    until(lambda: containers.healthy("sink"))
    assert all(message.value().startswith(REGISTRY_MARKER) for name in ("readings", "daily_energy") for message in messages(settings, name))
    client = until(lambda: reader(settings))
    until(
        lambda: (
            client.query(
                "SELECT DISTINCT house_id, readings = day_s FROM daily_energy FINAL WHERE final AND meter_id <= 2 ORDER BY house_id"
            ).result_rows
            == [(1, True), (2, True)]
        )
    )
    until(lambda: reached_ms(settings) / 1000 > time.time() - 30)
    assert containers.healthy("generator")
    containers.start("dashboard")
    until(lambda: containers.healthy("dashboard"))
    ended = containers.smw()
    assert ended.returncode == 0 and "All is well." in ended.stdout, ended.stdout
    containers.stop("kafka-3")
    until(lambda: stored_since(client))
    containers.stop("jobmanager.1")  # as an update does
    assert containers.ended("pipeline.1") == 1
    containers.start("jobmanager", 2)
    until(lambda: containers.healthy("jobmanager") and flink.slots() == (4, 4))
    containers.start("pipeline", 2)
    until(lambda: list(flink.jobs().values()) == ["pipeline"] and stored_since(client))
    assert re.search("from file:.*/pipeline/hashmap/.*/chk-", processes.log("pipeline.2").read_text())


def stored_since(client) -> bool:
    """Whether the job makes results of what it reads now, which come to ClickHouse."""
    [[before]] = client.query("SELECT max(revision) FROM daily_energy").result_rows
    return until(lambda: client.query(f"SELECT count() FROM daily_energy WHERE revision > {before + 1000}").result_rows != [(0,)])
