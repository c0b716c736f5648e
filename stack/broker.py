"""The local Kafka broker, in KRaft mode."""

from __future__ import annotations

import secrets
import subprocess

from confluent_kafka import KafkaException

from smartmeter import logs
from smartmeter.errors import UserError
from smartmeter.folders import private_folder
from smartmeter.kafka import connection
from smartmeter.settings import JARS, Settings
from stack import machine
from stack.machine import END_WITHOUT_MEMORY
from stack.ports import LOOPBACK, is_listening, require_free_port
from stack.processes import Processes

QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Java compiles less. A new storage, the broker's start and the topics take 7.8 s of CPU instead of 13.5."""

BROKER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{address}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.cleaner.dedupe.buffer.size=16777216
# Nobody follows this controller: without its two records a second, an idle broker takes half as much of a core (1.9 % instead of 3.5 %).
metadata.max.idle.interval.ms=0
message.max.bytes=8388608
# Timestamps are those of the readings, which may be years old: no message is too old, and none is deleted by age.
log.message.timestamp.type=CreateTime
log.message.timestamp.before.max.ms=9223372036854775807
log.message.timestamp.after.max.ms=9223372036854775807
log.retention.ms=-1
"""


def start_broker(processes: Processes, settings: Settings) -> None:
    """Start the broker at settings.kafka.address. Its data is in settings.stack.home/kafka. Raises UserError when it cannot start."""
    if settings.kafka.tls or settings.kafka.user:
        raise UserError("the local broker supports neither TLS nor users: unset SMW_KAFKA_TLS and SMW_KAFKA_USER")
    require_free_port(settings.kafka.address, "SMW_KAFKA")
    require_free_port(f"{LOOPBACK}:{settings.kafka.controller_port}", "SMW_KAFKA_CONTROLLER_PORT")
    data = settings.stack.home / "kafka"
    private_folder(data)
    properties = settings.stack.home / "kafka.properties"
    properties.write_text(
        BROKER_PROPERTIES.format(address=settings.kafka.address, controller_port=settings.kafka.controller_port, data=data)
    )
    java = [
        machine.java(),
        "-Xms128m",
        "-Xmx768m",
        *QUICK_START,
        END_WITHOUT_MEMORY,
        *logs.java_options("kafka", "WARN"),
        "-cp",
        str(JARS / "kafka" / "*"),
    ]
    if not (data / "meta.properties").exists():
        cluster_id = f"--cluster-id={secrets.token_urlsafe(16)}"
        subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", cluster_id, "--config", str(properties)], check=True, capture_output=True
        )
    processes.start("kafka", [*java, "kafka.Kafka", str(properties)], {})
    processes.wait_until(lambda: broker_answers(settings), f"no Kafka broker answers at {settings.kafka.address}")


def broker_answers(settings: Settings) -> bool:
    """Whether Kafka answers."""
    if not is_listening(settings.kafka.address):
        return False
    try:
        connection.admin(settings).list_topics(timeout=1)
        return True
    except KafkaException:
        return False
