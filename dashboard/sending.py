"""Messages that the dashboard sends. They take the path of all data: into a topic, and through the sink into ClickHouse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st
from confluent_kafka import KafkaException, Producer

from dashboard.connection import settings
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.messages import topics
from smartmeter.messages.codec import encode
from smartmeter.messages.framing import framing

SENT_WITHIN_S = 20


@st.cache_resource(show_spinner=False)
def producer() -> Producer:
    """The producer shared by all sessions of this dashboard."""
    return Producer(connection.client(settings()) | {"enable.idempotence": True, "delivery.timeout.ms": SENT_WITHIN_S * 1000})


def author() -> str:
    """Who uses this session; empty when there is no login."""
    return str(st.user.get("email") or "")


def send(name: str, record: Mapping[str, Any], otherwise: str) -> None:
    """Send a record to the topic `name`. Raises UserError, which begins with `otherwise`, if Kafka does not accept it."""
    failures = []
    try:
        message = framing(settings()).sent(encode(topics.SCHEMA_OF[name], record))
        producer().produce(
            topics.topic(settings(), name),
            message,
            topics.key(name, record),
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
        undelivered = producer().flush(SENT_WITHIN_S + 1)
    except (KafkaException, BufferError, SystemError) as error:  # a fatal error of the client may be the cause of a SystemError
        raise UserError(f"{otherwise}: Kafka at {settings().kafka.address} does not accept it: {error.__cause__ or error}") from None
    if failures or undelivered:
        fault = connection.why_not(settings()) or f"Kafka reports {failures[0].str() if failures else 'nothing'}"
        raise UserError(f"{otherwise}: {fault}")
