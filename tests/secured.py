"""A Kafka broker as a company runs one: TLS, SASL/SCRAM users, and separate rights for each user."""

from __future__ import annotations

import secrets
import subprocess

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from smartmeter.kafka import connection
from smartmeter.settings import JARS, Settings
from stack import broker, machine
from stack.processes import Processes
from tests.certificates import Authority

SECURITY_PROPERTIES = """\
listeners=SASL_SSL://{address},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=SASL_SSL://{address}
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
username="{user}" password="{password}";
# A changed password takes effect within seconds, also on open connections.
connections.max.reauth.ms=5000
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
# The controller's listener, on the loopback address, has no users.
super.users=User:{user};User:ANONYMOUS
"""
"""Appended to the local broker's properties, which they override."""


def start_broker(processes: Processes, settings: Settings, authority: Authority) -> None:
    """Start a broker at settings.kafka.address, with a certificate for that host, whose admin is settings.kafka.user."""
    host = settings.kafka.address.rpartition(":")[0]
    keystore = settings.stack.home / "keystore.pem"
    keystore.write_bytes(b"".join(file.read_bytes() for file in reversed(authority.issue(host))))
    data, properties = settings.stack.home / "kafka", settings.stack.home / "kafka.properties"
    places = dict(address=settings.kafka.address, controller_port=settings.kafka.controller_port)
    properties.write_text(
        broker.BROKER_PROPERTIES.format(**places, data=data)
        + SECURITY_PROPERTIES.format(
            **places, user=settings.kafka.user, password=settings.kafka.password, keystore=keystore, authority=authority.file
        )
    )
    java = [machine.java(), "-Xms128m", "-Xmx512m", *broker.QUICK_START, "-Dlog4j2.level=WARN", "-cp", str(JARS / "kafka" / "*")]
    subprocess.run(
        [
            *java,
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={secrets.token_urlsafe(16)}",
            "--config",
            str(properties),
            "--add-scram",
            f"SCRAM-SHA-512=[name={settings.kafka.user},password={settings.kafka.password}]",
        ],
        check=True,
        capture_output=True,
    )
    processes.start("kafka", [*java, "kafka.Kafka", str(properties)], {})
    processes.wait_until(lambda: broker.broker_answers(settings), "no secured broker answers")


def add_user(settings: Settings, name: str, password: str) -> None:
    """Add a user, or give it another password. settings: those of the admin."""
    change = UserScramCredentialUpsertion(name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode())
    admin = connection.admin(settings)
    for future in admin.alter_user_scram_credentials([change]).values():
        future.result()


def allow(settings: Settings, rights: list[tuple[str, ResourceType, str, AclOperation]]) -> None:
    """Give users rights: (user, kind, name, operation). settings: those of the admin."""
    admin = connection.admin(settings)
    acls = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for user, kind, name, operation in rights
    ]
    for future in admin.create_acls(acls).values():
        future.result()
