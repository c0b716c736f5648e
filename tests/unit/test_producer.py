"""The producer, and a broker that is not there."""

import socket

import pytest
from confluent_kafka.admin import AdminClient

from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.producer import Producer
from smartmeter.settings import Settings
from stack.ports import free_port


@pytest.fixture
def waited(monkeypatch) -> list[float]:
    """How long clients waited for an answer, each time."""
    waited, list_topics = [], AdminClient.list_topics
    monkeypatch.setattr(AdminClient, "list_topics", lambda self, timeout: waited.append(timeout) or list_topics(self, timeout=timeout))
    return waited


def test_no_broker_is_one_sentence_within_ten_seconds(waited):
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UserError) as error:
        Producer(Settings().but(kafka=address))
    assert sum(waited) < 10 > connection.NOBODY_THERE_S
    assert str(error.value).startswith(f"no Kafka broker answers at {address}: ")
    assert "\n" not in str(error.value)


def test_a_broker_that_accepts_connections_has_more_time_to_answer(waited, monkeypatch):
    monkeypatch.setattr(connection, "NOBODY_THERE_S", 0.2)
    monkeypatch.setattr(connection, "HANDSHAKE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        assert connection.why_not(Settings().but(kafka=address), patience_s=1).startswith(f"no Kafka broker answers at {address}: ")
    assert sum(waited) > 0.5 > connection.NOBODY_THERE_S
