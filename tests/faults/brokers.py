"""A Kafka cluster of three brokers, each a process of its own that is a controller as well."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess

from confluent_kafka import KafkaException
from confluent_kafka.admin import NewPartitions

from smartmeter.kafka import connection
from smartmeter.messages import topics
from smartmeter.settings import JARS, Settings
from stack import broker, ports
from stack.processes import Processes, marked
from tests.waiting import STILL_S

NODES = (1, 2, 3)
OF_A_CLUSTER = """\
node.id={node}
controller.quorum.voters={voters}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
"""
JAVA = ["java", "-Xms64m", "-Xmx256m", *broker.QUICK_START, "-Dlog4j2.level=WARN", "-cp", str(JARS / "kafka" / "*")]


class Brokers:
    """Three brokers. settings: those of a stack; its .kafka lists all three."""

    def __init__(self, processes: Processes, settings: Settings):
        self.processes = processes
        settings_of = [ports.with_free_ports(settings.but(kafka="127.0.0.1:0", kafka_controller_port=0)) for _ in NODES]
        self.address = {node: of_node.kafka.address for node, of_node in zip(NODES, settings_of)}
        self.settings = settings.but(kafka=",".join(self.address.values()))
        voters = ",".join(f"{node}@127.0.0.1:{of_node.kafka.controller_port}" for node, of_node in zip(NODES, settings_of))
        cluster_id = secrets.token_urlsafe(16)
        for node, of_node in zip(NODES, settings_of):
            data = settings.stack.home / f"kafka{node}"
            self.properties(node).write_text(
                broker.BROKER_PROPERTIES.format(address=of_node.kafka.address, controller_port=of_node.kafka.controller_port, data=data)
                + OF_A_CLUSTER.format(node=node, voters=voters)
            )  # if a property occurs twice, the last one holds
            subprocess.run(
                [*JAVA, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "--config", str(self.properties(node))],
                check=True,
                capture_output=True,
            )
        for node in NODES:
            self.start(node)
        self.wait_for_all()

    def properties(self, node: int):
        return self.processes.run / f"kafka{node}.properties"

    def start(self, node: int) -> None:
        self.processes.start(f"kafka{node}", [*JAVA, "kafka.Kafka", str(self.properties(node))], {})

    def restart(self, node: int) -> None:
        """Have a broker end in its own time, and start it again."""
        self.processes.stop(f"kafka{node}")
        self.start(node)
        self.wait_for_all()

    def kill(self, node: int) -> None:
        """kill -9 a broker."""
        for pid in marked(self.processes.run / f"kafka{node}.pid"):
            os.kill(pid, signal.SIGKILL)
        self.processes.stop(f"kafka{node}")

    def wait_for_all(self) -> None:
        """Until all are there and have all there is."""
        self.processes.wait_until(self.complete, "the brokers are not complete")

    def complete(self) -> bool:
        try:
            cluster = connection.admin(self.settings).list_topics(timeout=2)
        except KafkaException:
            return False
        return len(cluster.brokers) == len(NODES) and all(
            len(partition.isrs) == len(NODES) for topic in cluster.topics.values() for partition in topic.partitions.values()
        )

    def leader(self, name: str, partition: int = 0) -> int:
        """The node that leads a partition of a topic."""
        full = topics.topic(self.settings, name)
        return connection.admin(self.settings).list_topics(timeout=STILL_S).topics[full].partitions[partition].leader

    def add_partitions(self, total: int) -> None:
        """Raise the number of partitions of all topics."""
        admin = connection.admin(self.settings)
        names = [topics.topic(self.settings, name) for name in topics.SCHEMA_OF]
        for added in admin.create_partitions([NewPartitions(name, total) for name in names]).values():
            added.result()
