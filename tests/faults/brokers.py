"""What may happen to the three brokers of docker-compose.cluster.yml, and how they are then."""

from __future__ import annotations

import os
import signal

from confluent_kafka import KafkaException
from confluent_kafka.admin import NewPartitions

from smartmeter.kafka import connection
from smartmeter.messages import topics
from smartmeter.settings import Settings
from stack.processes import Processes, marked
from tests.stack.containers import Containers
from tests.topics import offsets
from tests.waiting import STILL_S


class Brokers:
    """The brokers among some containers, which are `processes`. settings: those of a client of all of them."""

    def __init__(self, containers: Containers, processes: Processes, settings: Settings):
        self.containers, self.processes, self.settings = containers, processes, settings

    def stop(self, name: str) -> None:
        """Have a broker end in its own time."""
        self.containers.stop(name)

    def kill(self, name: str) -> None:
        """kill -9 a broker."""
        for pid in marked(self.processes.run / f"{name}.pid"):
            os.kill(pid, signal.SIGKILL)
        self.containers.stop(name)

    def start_again(self, name: str) -> None:
        """Start a broker, and wait until all are there and have all there is."""
        self.containers.start_broker(name)
        self.containers.until(self.complete)

    def complete(self) -> bool:
        try:
            cluster = connection.admin(self.settings).list_topics(timeout=STILL_S)
        except KafkaException:
            return False
        count = len(self.containers.brokers)
        return len(cluster.brokers) == count and all(
            len(partition.isrs) == count for topic in cluster.topics.values() for partition in topic.partitions.values()
        )

    def leader(self, name: str, partition: int = 0) -> str:
        """The broker that leads a partition of a topic."""
        found = connection.admin(self.settings).list_topics(timeout=STILL_S).topics[topics.topic(self.settings, name)]
        return self.containers.brokers[found.partitions[partition].leader - 1]

    def add_partitions(self, total: int) -> None:
        """Raise the number of partitions of all topics."""
        admin = connection.admin(self.settings)
        names = [topics.topic(self.settings, name) for name in topics.SCHEMA_OF]
        for added in admin.create_partitions([NewPartitions(name, total) for name in names]).values():
            added.result()
        offsets.cache_clear()
