"""The producer, and a broker that is not there."""

import pytest
from confluent_kafka.admin import AdminClient

from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.kafka.producer import Producer
from smartmeter.settings import Settings
from stack.ports import free_port


def test_no_broker_is_one_sentence_within_ten_seconds(monkeypatch):
    address, waited = f"127.0.0.1:{free_port()}", []
    list_topics = AdminClient.list_topics
    monkeypatch.setattr(AdminClient, "list_topics", lambda self, timeout: waited.append(timeout) or list_topics(self, timeout=timeout))
    with pytest.raises(UserError) as error:
        Producer(Settings().but(kafka=address))
    assert sum(waited) < 10 > connection.PATIENCE_S
    assert str(error.value).startswith(f"no Kafka broker answers at {address}: ")
    assert "\n" not in str(error.value)
