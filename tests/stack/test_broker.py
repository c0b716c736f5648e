"""The broker and the topics."""

import socket

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import ConfigResource

from commands import topics
from smartmeter.errors import UserError
from smartmeter.kafka import connection, topic_admin
from smartmeter.messages.topics import SCHEMA_OF
from smartmeter.settings import Settings
from stack import broker, ports
from stack.processes import Processes
from tests.ports import on_free_ports
from tests.waiting import STILL_S

APRIL_2011_MS = 1303099200000


@pytest.fixture
def settings(tmp_path):
    return on_free_ports(tmp_path / "a home", partitions=3)


def produce(settings, value: bytes):
    producer = Producer({"bootstrap.servers": settings.kafka.address})
    faults = []
    producer.produce(
        "readings", value, b"1", partition=0, timestamp=APRIL_2011_MS, on_delivery=lambda error, _: error and faults.append(error)
    )
    assert producer.flush(STILL_S) == 0 and not faults


def read(settings, count: int) -> list[tuple[int, int]]:
    """(length, timestamp) of the first messages of partition 0."""
    consumer = Consumer({"bootstrap.servers": settings.kafka.address, "group.id": "test"})
    consumer.assign([TopicPartition("readings", 0, 0)])
    messages = consumer.consume(count, timeout=STILL_S)
    consumer.close()
    return [(len(message.value()), message.timestamp()[1]) for message in messages]


def topic_config(settings, topic: str, *names: str) -> list[str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    client = connection.admin(settings)
    config = client.describe_configs([resource])[resource].result(timeout=STILL_S)
    return [config[name].value for name in names]


def test_messages_outlive_the_broker_whatever_their_age_and_the_ports(settings):
    with Processes(settings.stack.home) as processes:
        broker.start_broker(processes, settings)
        topic_admin.create_topics(settings)
        produce(settings, b"first")
    settings = ports.with_free_ports(settings.but(kafka="127.0.0.1:0", kafka_controller_port=0))
    with Processes(settings.stack.home) as processes:
        broker.start_broker(processes, settings)
        topic_admin.create_topics(settings)  # existing topics stay as they are
        produce(settings, b"second!")
        assert read(settings, 2) == [(5, APRIL_2011_MS), (7, APRIL_2011_MS)]
        assert topic_config(settings, "readings", "retention.ms", "max.message.bytes") == ["-1", "8388608"]
        assert topic_config(settings, "dead_letter", "max.message.bytes") == ["9437184"]
        assert topic_config(settings, "houses", "cleanup.policy") == ["compact"]
        described = connection.admin(settings).list_topics(timeout=STILL_S).topics
        assert {name: len(described[name].partitions) for name in SCHEMA_OF} == dict.fromkeys(SCHEMA_OF, 3)


def test_topic_settings_are_repaired_and_each_change_is_reported(with_topics):
    prefix, week = with_topics.kafka.topic_prefix, str(7 * 86_400_000)
    assert list(topic_admin.mend(with_topics)) == []
    assert topic_config(with_topics, prefix + "alerts", "cleanup.policy", "max.compaction.lag.ms", "segment.ms") == ["compact", week, week]
    limited = with_topics.but(readings_retention_days=400, readings_retention_gb=2.0, partitions=8, replication=3)
    changes = list(topic_admin.mend(limited))
    assert f"{prefix}readings: retention.ms is 34560000000 now, and was -1" in changes
    assert topic_config(with_topics, prefix + "readings", "retention.ms", "retention.bytes", "segment.ms", "min.insync.replicas") == [
        "34560000000",
        "500000000",
        "86400000",
        "2",
    ]
    assert topic_config(with_topics, prefix + "late", "retention.ms", "retention.bytes", "min.insync.replicas") == ["-1", "-1", "2"]
    left = [change for change in changes if "left as it is" in change]
    assert sum(" has 4 partitions, and SMW_PARTITIONS is 8" in change for change in left) == len(SCHEMA_OF)
    assert sum(" has 1 copies of each message, and SMW_REPLICATION is 3" in change for change in left) == len(SCHEMA_OF)
    assert list(topic_admin.mend(limited)) == left
    assert topics.run(None, with_topics) == 0
    assert topic_config(with_topics, prefix + "readings", "retention.ms", "retention.bytes") == ["-1", "-1"]


def test_a_taken_port_is_reported_with_its_setting(settings):
    host, port = settings.kafka.address.split(":")
    with socket.create_server((host, int(port))), Processes(settings.stack.home) as processes:
        with pytest.raises(UserError, match=f"port {port} at 127.0.0.1 is not free .*set SMW_KAFKA to another"):
            broker.start_broker(processes, settings)
        assert processes.children == {}


@pytest.mark.parametrize("secured", [dict(kafka_tls=True), dict(kafka_user="ann", kafka_password="secret")])
def test_the_local_broker_refuses_tls_and_users(settings, secured):
    with Processes(settings.stack.home) as processes, pytest.raises(UserError, match="unset SMW_KAFKA_TLS and SMW_KAFKA_USER"):
        broker.start_broker(processes, settings.but(**secured))


@pytest.mark.parametrize("kafka", ["localhost", ":9092", "localhost:http", ""])
def test_an_invalid_address(kafka):
    with pytest.raises(UserError, match=f"SMW_KAFKA={kafka}: it takes host:port"):
        ports.with_free_ports(Settings().but(kafka=kafka))


def test_free_ports_are_kept_and_taken_ones_replaced():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = ports.with_free_ports(
            Settings().but(kafka="127.0.0.1:0", kafka_controller_port=0, flink_ui_port=0, clickhouse_url=f"http://127.0.0.1:{port}")
        )
        again = ports.with_free_ports(free)
    assert free == again
    assert free.clickhouse.url != f"http://127.0.0.1:{port}"
    assert len({free.kafka.address, f"127.0.0.1:{free.kafka.controller_port}", f"127.0.0.1:{free.flink.ui_port}"}) == 3
