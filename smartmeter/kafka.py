"""How every part connects to Kafka: librdkafka's properties for Python, and those of Kafka's own client for Flink."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from smartmeter.settings import Settings

MECHANISM = "SCRAM-SHA-512"


def client(settings: Settings) -> dict[str, str | int | float | bool]:
    """Properties of a client of librdkafka; what it logs, it also raises or hands to error_cb."""
    properties: dict[str, str | int | float | bool] = {
        "bootstrap.servers": settings.kafka, "security.protocol": protocol(settings), "log_level": 0}
    if settings.kafka_user:
        properties |= {"sasl.mechanism": MECHANISM, "sasl.username": settings.kafka_user, "sasl.password": settings.kafka_password}
    if settings.kafka_ca:
        properties |= {"ssl.ca.location": settings.kafka_ca}
    return properties


def java_client(settings: Settings) -> dict[str, str]:
    """The same for Kafka's client in Java."""
    properties = {"bootstrap.servers": settings.kafka, "security.protocol": protocol(settings)}
    if settings.kafka_user:
        login = " ".join(f'{name}="{_escaped(value)}"' for name, value in (
            ("username", settings.kafka_user), ("password", settings.kafka_password)))
        properties |= {"sasl.mechanism": MECHANISM,
                       "sasl.jaas.config": f"org.apache.kafka.common.security.scram.ScramLoginModule required {login};"}
    if settings.kafka_ca:
        properties |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": settings.kafka_ca}
    return properties


def protocol(settings: Settings) -> str:
    """Kafka's name for the way of connecting: with TLS or not, with a user or not."""
    return ("SASL_" if settings.kafka_user else "") + ("SSL" if settings.kafka_tls else "PLAINTEXT")


def admin(settings: Settings) -> AdminClient:
    return AdminClient(client(settings))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
