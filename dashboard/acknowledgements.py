"""Acknowledgements of alerts. They take the path of all data: into a topic, and through the sink into ClickHouse."""

from __future__ import annotations

import time

import streamlit as st
from confluent_kafka import KafkaException, Producer

from dashboard.connection import settings
from smartmeter.errors import UserError
from smartmeter.kafka import connection
from smartmeter.messages import topics
from smartmeter.messages.codec import encode
from smartmeter.messages.framing import framing

LONGEST_NOTE = 500
SENT_WITHIN_S = 5


@st.cache_resource(show_spinner=False)
def producer() -> Producer:
    """The producer shared by all sessions of this dashboard."""
    return Producer(connection.client(settings()) | {"enable.idempotence": True, "delivery.timeout.ms": SENT_WITHIN_S * 1000})


def acknowledge(alert_id: str, house_id: int, note: str, withdrawn: bool = False) -> None:
    """Acknowledge an alert, or withdraw its acknowledgement. Raises UserError if Kafka does not accept it."""
    record = {
        "alert_id": alert_id,
        "house_id": house_id,
        "note": note[:LONGEST_NOTE],
        "author": st.user.get("email") or "",
        "withdrawn": withdrawn,
        "acknowledged": round(time.time() * 1000),
    }
    failures = []
    name = topics.topic(settings(), "acknowledgements")
    try:
        message = framing(settings()).sent(encode("acknowledgement", record))
        producer().produce(
            name, message, topics.key("acknowledgements", record), on_delivery=lambda error, _: failures.append(error) if error else None
        )
        undelivered = producer().flush(SENT_WITHIN_S + 1)
    except (KafkaException, BufferError, SystemError) as error:  # a fatal error of the client may be the cause of a SystemError
        raise UserError(f"Kafka at {settings().kafka.address} does not accept the acknowledgement: {error.__cause__ or error}") from None
    if failures or undelivered:
        fault = connection.why_not(settings()) or f"Kafka reports {failures[0].str() if failures else 'nothing'}"
        raise UserError(f"The alert is not acknowledged: {fault}")
