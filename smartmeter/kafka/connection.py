"""How every service connects to Kafka, and the sentence that explains a failed connection.

Python uses librdkafka's properties, Flink those of Kafka's own client.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from smartmeter.certificates import trusted
from smartmeter.errors import UserError
from smartmeter.settings import SMW, Settings

MECHANISM = "SCRAM-SHA-512"
LOGIN_MODULE = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security.scram.ScramLoginModule"
"""Kafka's login module, under its name inside Flink's connector."""
READ_COMMITTED = "read_committed"
PATIENCE_S = 30.0
"""How long to wait for the first answer of a broker that may only be busy."""
NOBODY_THERE_S = 5.0
"""How long to wait if connections fail. A broker that is just starting needs a few seconds."""
FIRST_STEP_S = 0.3
"""How long the first request of the wait is given; each further one twice as long, as a busy broker may need seconds for one."""
RIGHTS_MISSING = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
BROKER_STARTING = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._NOENT,  # librdkafka finds no leader
)
"""Errors of a broker that does not coordinate the group or lead the partition yet, or no longer does, or has started again since the client
asked it last: the same request succeeds a little later."""
AWAY = (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._SSL)
UNIMPORTANT = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._PARTITION_EOF)
"""Lost connections, a topic that does not exist yet, the end of a partition."""
HANDSHAKE_S = 3.0
OTHER_HOST = {62, 64}
"""OpenSSL's error codes for a certificate issued for another host name or IP address."""


def client(settings: Settings) -> dict[str, str | int | float | bool]:
    """Properties of a librdkafka client. Its own log is off, as it raises the same faults or passes them to error_cb.

    Raises UserError if the file of authorities cannot be used.
    """
    properties: dict[str, str | int | float | bool] = {
        "bootstrap.servers": settings.kafka.address,
        "security.protocol": protocol(settings),
        "log_level": 0,
    }
    if settings.kafka.user:
        properties |= {"sasl.mechanism": MECHANISM, "sasl.username": settings.kafka.user, "sasl.password": settings.kafka.password}
    if ca := trusted(settings.kafka.ca, "SMW_KAFKA_CA"):
        properties |= {"ssl.ca.location": ca}
    return properties


def consumer(settings: Settings, group_id: str) -> dict[str, str | int | float | bool]:
    """Properties of a consumer. It reads no message of an aborted or open transaction, and commits only on an explicit call."""
    return client(settings) | {"group.id": group_id, "isolation.level": READ_COMMITTED, "enable.auto.commit": False}


def java_consumer(settings: Settings, group_id: str) -> dict[str, str]:
    """The same for Flink's connector, which would otherwise read uncommitted messages too."""
    return java_client(settings) | {"group.id": group_id, "isolation.level": READ_COMMITTED}


def java_client(settings: Settings) -> dict[str, str]:
    """Properties of a client for Flink's connector. They hold the certificates themselves, so a Flink's nodes need no file."""
    properties = {"bootstrap.servers": settings.kafka.address, "security.protocol": protocol(settings)}
    if settings.kafka.user:
        login = " ".join(
            f'{name}="{_escaped(value)}"' for name, value in (("username", settings.kafka.user), ("password", settings.kafka.password))
        )
        properties |= {"sasl.mechanism": MECHANISM, "sasl.jaas.config": f"{LOGIN_MODULE} required {login};"}
    if ca := trusted(settings.kafka.ca, "SMW_KAFKA_CA"):
        properties |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": Path(ca).read_text()}
    return properties


def protocol(settings: Settings) -> str:
    """Kafka's name for the security protocol: with or without TLS, with or without a user."""
    return ("SASL_" if settings.kafka.user else "") + ("SSL" if settings.kafka.tls else "PLAINTEXT")


def admin(settings: Settings) -> AdminClient:
    """A client for the administration of topics and groups."""
    return AdminClient(client(settings))


def require_broker(settings: Settings) -> None:
    """Raise UserError when Kafka cannot be used."""
    if sentence := why_not(settings):
        raise UserError(sentence)


def failure(error: KafkaException, settings: Settings, patience_s: float = PATIENCE_S) -> UserError:
    """The UserError to raise in place of a Kafka error: the missing right, why Kafka cannot be used, or Kafka's own message."""
    if error.args[0].code() in RIGHTS_MISSING:
        return UserError(no_right(error.args[0], settings))
    return UserError(why_not(settings, patience_s) or f"Kafka at {settings.kafka.address} reports: {error.args[0].str()}")


def no_right(error: KafkaError, settings: Settings) -> str:
    """The sentence for an error of RIGHTS_MISSING."""
    user = f"user {settings.kafka.user}" if settings.kafka.user else "a client without a user"
    return f"Kafka at {settings.kafka.address} does not let {user} do that ({error.str()}): docs/security.md lists the required rights"


class ErrorLog:
    """Logs the errors of consumers, whose clients recover by themselves. Threads may share one, so that each sentence is logged once.

    is_away: whether Kafka is away, and that has been logged. Whoever receives a message sets it to False.
    """

    def __init__(self, settings: Settings, log: logging.Logger):
        self._settings, self._log, self.is_away = settings, log, False
        self._looking = threading.Lock()

    def take(self, error: KafkaError) -> None:
        """Log an error, unless it is unimportant. Raises UserError if the user lacks a right."""
        if error.code() in RIGHTS_MISSING:
            raise UserError(no_right(error, self._settings))
        if error.code() in AWAY:
            with self._looking:
                if not self.is_away and (sentence := why_not(self._settings)):
                    self.is_away = True
                    self._log.warning("waiting: %s", sentence)
        elif error.code() not in UNIMPORTANT:
            self._log.warning("Kafka: %s", error.str())


def why_not(settings: Settings, patience_s: float = PATIENCE_S) -> str | None:
    """Why Kafka cannot be used, and what to do, in one sentence; None when it answers within patience_s (NOBODY_THERE_S if connections fail).

    librdkafka retries whatever is wrong. It reports a wrong password through error_cb, and almost nothing about TLS.
    """
    faults: list[KafkaError] = []
    properties: dict[str, Any] = client(settings) | {"error_cb": faults.append}
    admin_client = AdminClient(properties)
    begun, step_s = time.monotonic(), FIRST_STEP_S
    while (left := begun + (min(patience_s, NOBODY_THERE_S) if faults else patience_s) - time.monotonic()) > 0:
        try:
            admin_client.list_topics(timeout=min(left, step_s))
            return None
        except KafkaException:
            admin_client.poll(0)
        for fault in faults:
            if fault.code() == KafkaError._AUTHENTICATION:
                return _refused(fault, settings)
        step_s *= 2
        addresses = settings.kafka.address.split(",")
        if sentence := next(filter(None, (_by_handshake(address.strip(), settings) for address in addresses)), None):
            return sentence
    sentence = f"no Kafka broker answers at {settings.kafka.address}: start one with {SMW} stack, or set SMW_KAFKA to its address"
    wants_user = settings.kafka.tls and not settings.kafka.user
    return sentence + (", or SMW_KAFKA_USER and SMW_KAFKA_PASSWORD if it requires a user" if wants_user else "")


def _refused(error: KafkaError, settings: Settings) -> str:
    if "mechanism handshake failed" in error.str():
        return (
            f"Kafka at {settings.kafka.address} does not accept {MECHANISM} users at this port: "
            "set SMW_KAFKA to a port that does, or unset SMW_KAFKA_USER"
        )
    return f"Kafka at {settings.kafka.address} refuses the user or the password: set SMW_KAFKA_USER and SMW_KAFKA_PASSWORD"


def _by_handshake(address: str, settings: Settings) -> str | None:
    """What a TLS handshake shows to be wrong, in one sentence; None if it shows nothing."""
    context = ssl.create_default_context(cafile=settings.kafka.ca or None)
    if not settings.kafka.tls:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = address.rpartition(":")
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), timeout=HANDSHAKE_S)
    except (OSError, ValueError):
        return None
    try:
        with connection, context.wrap_socket(connection, server_hostname=host.strip("[]")):
            return None if settings.kafka.tls else f"Kafka at {address} takes TLS only: set SMW_KAFKA_TLS=true"
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in OTHER_HOST:
            return f"the certificate of Kafka at {address} is for another host name: set SMW_KAFKA to the name in the certificate"
        return (
            f"the certificate of Kafka at {address} is not trusted ({error.verify_message}): "
            "set SMW_KAFKA_CA to the PEM file of the authority that signed it"
        )
    except TimeoutError:
        return None
    except OSError:
        no_tls = f"Kafka at {address} takes no TLS at this port: set SMW_KAFKA to its port for TLS, or SMW_KAFKA_TLS=false"
        return no_tls if settings.kafka.tls else None


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
