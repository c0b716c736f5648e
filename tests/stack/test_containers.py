"""Every service of docker-compose.yml as the process that its container would be: readings in, results out, with three brokers.

Whatever then happens to Kafka while data flows, the tables are what the oracle finds: a broker is restarted, the leader of a partition is
killed, partitions are added, ten times as much comes at once.
"""

from __future__ import annotations

import re
import time
from datetime import date

import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka.admin import ConfigResource
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from generator.live import reached_ms
from generator.synthetic import SyntheticHouse
from smartmeter.kafka import connection
from smartmeter.messages.single_object import REGISTRY_MARKER
from smartmeter.messages.topics import SCHEMA_OF
from smartmeter.settings import Settings
from stack.broker import broker_answers
from stack.flink import Flink
from stack.processes import Processes
from stack.services import start_endpoint
from store.client import reader
from tests.faults.brokers import Brokers
from tests.faults.pieces import AFTER, BEFORE, MOVE, pieces_of_a_log
from tests.pipeline.conftest import without
from tests.pipeline.flow import WINDOW_DAYS, Flow, all_read, judge_stack, unread
from tests.pipeline.logs import Log
from tests.processes import command_line
from tests.registry.evolved import with_type
from tests.stack.containers import CLUSTER, COMPOSE, SECRETS, Containers, make_image, services
from tests.topics import messages, offsets
from tests.waiting import STILL_S, until

TASKMANAGERS = 2
GENERATED = (1, 2)
"""The generator's houses."""
METERS = """
broker: {url: "mqtt://127.0.0.1:9", user: meters, password: "${MQTT_PASSWORD}"}
houses: [{id: 90, timezone: Europe/London, meters: [{id: 1, label: mains, preset: dsmr-reader}]}]
"""
DAYS_OVER = """
    SELECT house_id, date, groupArray(readings) FROM (SELECT * FROM daily_energy FINAL WHERE final AND readings > 0 ORDER BY meter_id)
    GROUP BY ALL"""
CALM_S = 90  # or until what happens meanwhile has happened


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
    return broker_answers(settings) and len(connection.admin(settings).list_topics(timeout=STILL_S).brokers)


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
    make_image(containers.image)
    assert not containers.healthy("kafka")
    containers.start_broker("kafka")
    until(lambda: containers.healthy("kafka"))
    until(lambda: brokers_known(settings) == 1)
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


def test_three_brokers_and_all_that_reads_and_writes_them_whatever_happens_to_kafka(tmp_path, processes):
    parts = services(COMPOSE, CLUSTER, SMW_PARTITIONS="2", MQTT_PASSWORD="the meters'")
    parts["pipeline"]["environment"] |= {"SMW_CHECKPOINT_EVERY_S": "1", "SMW_WINDOW_DAYS": str(WINDOW_DAYS)}
    parts["notify"]["volumes"] = [{"source": "routes", "target": "/notify"}]
    (tmp_path / "routes").mkdir()
    (tmp_path / "routes" / "routes.toml").write_text('[[route]]\nname = "a"\nurl = "webhook+http://127.0.0.1:9/"\n')
    parts["gateway"]["volumes"] = [{"source": "meters", "target": "/gateway"}, {"source": "spool", "target": "/spool"}]
    (tmp_path / "meters").mkdir()
    (tmp_path / "meters" / "meters.yaml").write_text(METERS)
    containers = Containers(parts, tmp_path, processes)
    settings = settings_at(containers, "kafka", tmp_path / "home").but(
        kafka=",".join(containers.address(broker, 19092) for broker in containers.brokers), partitions=2, window_days=WINDOW_DAYS
    )
    flink = Flink(containers.address("jobmanager", 8081))
    start_all(containers, processes, settings, flink)
    client = containers.until(lambda: reader(settings))
    results_of_the_generator(containers, settings, client)
    update(containers, processes, flink, client)
    containers.stop("generator.1")
    log = disturb(Brokers(containers, processes, settings), client)
    judge_stack(containers, settings, without(settings, GENERATED), log)
    containers.check()


def start_all(containers: Containers, processes: Processes, settings: Settings, flink: Flink) -> None:
    """Start all services but the dashboard, and see that each is healthy."""
    make_image(containers.image)
    for broker in containers.brokers:
        containers.start_broker(broker)
    assert not containers.healthy("jobmanager")
    containers.start("jobmanager")
    for broker in containers.brokers:
        containers.until(lambda: brokers_known(settings_at(containers, broker, settings.stack.home)) == 3)
    containers.start_registry()
    containers.until(lambda: containers.healthy("registry"))
    containers.run("topics")
    assert copies(settings) == {(3, "2")}
    containers.until(lambda: containers.healthy("jobmanager"))
    containers.start("flink-page")
    for number in range(TASKMANAGERS):
        containers.start("taskmanager", number)
    containers.until(lambda: flink.slots() == (4, 4))  # a question to Flink takes less than a health check, which starts Python
    containers.until(lambda: containers.healthy("taskmanager"))
    containers.start("pipeline")
    start_endpoint(processes, settings)  # in the place of ClickHouse's server
    containers.start("sink")
    containers.start("notify")
    containers.start("gateway")
    containers.start("generator", **{"20": "2", "7": "1"})
    containers.until(lambda: list(flink.jobs().values()) == ["pipeline"])
    containers.until(lambda: containers.healthy("pipeline"))
    containers.until(lambda: flink.slots() == (2, 4))
    assert containers.healthy("flink-page") and Flink(containers.address("flink-page", 8081)).jobs() == flink.jobs()
    assert all(b"-XX:+ExitOnOutOfMemoryError" in command_line(processes.children[name].pid) for name in ("jobmanager.1", "taskmanager.0"))
    containers.until(lambda: all(containers.healthy(name) for name in ("sink", "notify", "gateway")))


def results_of_the_generator(containers: Containers, settings: Settings, client: Client) -> None:
    """Wait until the readings that the generator sends have come as far as the dashboard."""
    assert all(message.value().startswith(REGISTRY_MARKER) for name in ("readings", "daily_energy") for message in messages(settings, name))
    containers.until(lambda: all_as_generated(client.query(DAYS_OVER).result_rows))
    containers.until(lambda: reached_ms(settings) / 1000 > time.time() - 30, progress=lambda: reached_ms(settings))
    assert containers.healthy("generator")
    containers.start("dashboard")
    containers.until(lambda: containers.healthy("dashboard"))
    ended = containers.smw()
    assert ended.returncode == 0 and "All is well." in ended.stdout, ended.stdout
    containers.stop("dashboard.1")


def all_as_generated(days_over: list[tuple[int, date, list[int]]]) -> bool:
    """Whether each house has a day that is over, and all such days have the readings that the generator made for each of their meters."""
    houses = {number: SyntheticHouse(number, seed=1) for number in GENERATED}
    made = [(number, day, [len(times) for times, _ in houses[number].day(day).readings if len(times)]) for number, day, _ in days_over]
    return {number for number, *_ in days_over} == set(GENERATED) and days_over == made


def update(containers: Containers, processes: Processes, flink: Flink, client: Client) -> None:
    """Have another JobManager in place of the first; the job goes on from its newest checkpoint."""
    containers.stop("jobmanager.1")
    assert containers.ended("pipeline.1") == 1
    containers.stop("pipeline.1")
    containers.start("jobmanager", 2)
    containers.until(lambda: flink.slots() == (4, 4) and containers.healthy("jobmanager"))
    containers.start("pipeline", 2)
    containers.until(lambda: list(flink.jobs().values()) == ["pipeline"] and stored_since(containers, client))
    started = "".join(log.read_text() for log in processes.logs.glob("pipeline.2.log*"))
    assert re.search("from file:.*/pipeline/hashmap/.*/chk-", started)


def disturb(brokers: Brokers, client: Client) -> Log:
    """Send a log while brokers end and partitions are added. Returns it."""
    log, pieces = pieces_of_a_log(seed=17)
    calm = Flow(brokers.settings, pieces[BEFORE], CALM_S, shares=2)
    calm.start()
    restarted = brokers.leader("thresholds")
    brokers.stop(restarted)
    brokers.containers.until(lambda: stored_since(brokers.containers, client))
    brokers.start_again(restarted)
    brokers.containers.until(lambda: all(read_from(brokers.settings, partition) for partition in range(2)))
    victim = brokers.leader("readings")
    calm.go_on()
    brokers.kill(victim)
    calm.hurry()
    calm.end()
    assert brokers.leader("readings") != victim
    brokers.start_again(victim)
    brokers.containers.until(lambda: all_read(brokers.settings), progress=lambda: unread(brokers.settings))

    meanwhile = Flow(brokers.settings, pieces[MOVE], 8)
    meanwhile.start()
    brokers.add_partitions(4)
    meanwhile.end()
    brokers.containers.until(lambda: all_read(brokers.settings), progress=lambda: unread(brokers.settings))
    brokers.containers.until(lambda: all(read_from(brokers.settings, partition) for partition in range(4)))

    burst = Flow(brokers.settings, pieces[AFTER], len(pieces[AFTER]) / len(pieces[BEFORE]) * CALM_S / 10)
    burst.start()
    burst.end()
    return log


def read_from(settings: Settings, partition: int) -> bool:
    """Whether a checkpoint of the job holds something of a partition of readings."""
    return offsets(settings, ("readings",), "pipeline").committed()["readings", partition] > 0


def stored_since(containers: Containers, client: Client) -> bool:
    """Whether the job makes results of what it reads now, which come to ClickHouse."""
    [[before]] = client.query("SELECT max(revision) FROM daily_energy").result_rows
    return containers.until(
        lambda: client.query(f"SELECT count() FROM daily_energy WHERE revision > {before + 1000}").result_rows != [(0,)]
    )
