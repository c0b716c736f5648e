"""./smw topics: creates the topics of the settings in the cluster, and corrects the configuration of existing ones."""

from __future__ import annotations

import argparse

from confluent_kafka import KafkaException

from smartmeter.kafka import connection, topic_admin
from smartmeter.kafka.topic_admin import mend
from smartmeter.run import Run
from smartmeter.settings import Settings


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Create missing topics, correct the others, and print what was changed. Raises UserError."""
    of_run = Run.load()
    topic_admin.create_topics(settings, of_run)
    try:
        changes = list(mend(settings, of_run))
    except KafkaException as error:
        raise connection.failure(error, settings) from None
    print("\n".join(changes) or "All topics match the settings.")
    return 0
