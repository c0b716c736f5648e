"""Properties of Kafka clients; tests/pipeline/test_security.py uses them with real users and certificates."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import certifi
import pytest
from confluent_kafka import KafkaError

from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.connection import ErrorLog, client, consumer, java_consumer, no_right, protocol
from smartmeter.settings import Settings

OPEN = Settings().but(kafka="broker:9092")
USER = Settings().but(kafka="broker:9092", kafka_user="jobs", kafka_password='a"b\\c')


@pytest.mark.parametrize(
    "fields, name",
    [
        (dict(), "PLAINTEXT"),
        (dict(kafka_tls=True), "SSL"),
        (dict(kafka_user="u", kafka_password="p"), "SASL_PLAINTEXT"),
        (dict(kafka_tls=True, kafka_user="u", kafka_password="p"), "SASL_SSL"),
    ],
)
def test_kafkas_name_for_the_protocol(fields, name):
    settings = Settings().but(**fields)
    assert protocol(settings) == client(settings)["security.protocol"] == java_consumer(settings, "g")["security.protocol"] == name


def test_a_consumer_reads_committed_messages_only_and_commits_on_call():
    assert consumer(OPEN, "g") == {
        "bootstrap.servers": "broker:9092",
        "security.protocol": "PLAINTEXT",
        "log_level": 0,
        "group.id": "g",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
    }
    assert java_consumer(OPEN, "g") == {
        "bootstrap.servers": "broker:9092",
        "security.protocol": "PLAINTEXT",
        "group.id": "g",
        "isolation.level": "read_committed",
    }


def test_a_password_is_escaped_for_java():
    assert client(USER)["sasl.password"] == 'a"b\\c'
    assert java_consumer(USER, "g")["sasl.jaas.config"].endswith(r'ScramLoginModule required username="jobs" password="a\"b\\c";')


def test_certificates_go_to_flink_as_text_and_to_librdkafka_as_a_file():
    settings = Settings().but(kafka_tls=True, kafka_ca=certifi.where())
    assert client(settings)["ssl.ca.location"] == certifi.where()
    assert java_consumer(settings, "g")["ssl.truststore.certificates"] == certifi.contents()


@pytest.mark.parametrize("settings, who", [(OPEN, "a client without a user"), (USER, "user jobs")])
def test_a_missing_right_is_reported(settings, who):
    sentence = no_right(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), settings)
    assert sentence.startswith(f"Kafka at broker:9092 does not let {who} do that (") and "docs/security.md" in sentence


def test_consumers_that_share_a_log_report_once_that_kafka_is_away(caplog, monkeypatch):
    together = threading.Barrier(2)

    def why_not(_):
        with suppress(threading.BrokenBarrierError):
            together.wait(0.2)  # no other thread may be here
        return "no broker answers"

    monkeypatch.setattr(connection, "why_not", why_not)
    errors = ErrorLog(OPEN, logging.getLogger("notify"))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(errors.take, [KafkaError(KafkaError._ALL_BROKERS_DOWN)] * 2))
    assert caplog.messages == ["waiting: no broker answers"]


def test_that_kafka_is_away_is_logged_once_until_a_message_comes(caplog, monkeypatch):
    monkeypatch.setattr(connection, "why_not", lambda settings: f"no broker at {settings.kafka.address}")
    errors = ErrorLog(OPEN, logging.getLogger("sink"))
    for code in (KafkaError._ALL_BROKERS_DOWN, KafkaError._SSL, KafkaError._TRANSPORT, KafkaError._PARTITION_EOF):
        errors.take(KafkaError(code))
    assert caplog.messages == ["waiting: no broker at broker:9092"]
    errors.is_away = False
    errors.take(KafkaError(KafkaError._AUTHENTICATION))
    errors.take(KafkaError(KafkaError._MAX_POLL_EXCEEDED, "too slow"))
    assert caplog.messages[1:] == ["waiting: no broker at broker:9092", "Kafka: too slow"]
    with pytest.raises(UserError, match="right"):
        errors.take(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
