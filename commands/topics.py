"""./smw topics: the topics of the cluster as the settings say, those that are there already included."""

from __future__ import annotations

import argparse

from confluent_kafka import KafkaException

from smartmeter.kafka import connection, topic_admin
from smartmeter.kafka.topic_admin import mend
from smartmeter.settings import Settings


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Create the topics that are missing, mend the others, and tell what was changed. Raises UserError."""
    topic_admin.create_topics(settings)
    try:
        changes = list(mend(settings))
    except KafkaException as error:
        raise connection.failure(error, settings) from None
    print("\n".join(changes) or "All topics are as the settings say.")
    return 0
