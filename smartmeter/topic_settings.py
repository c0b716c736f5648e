"""./smw topics: the topics of the cluster as the settings say, those that are there already included."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, TopicMetadata

from smartmeter import kafka, stack, topics
from smartmeter.settings import Settings

TIMEOUT_S = 10


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Create the topics that are missing, mend the others, and tell what was changed. Raises UserError."""
    stack.create_topics(settings)
    try:
        changes = list(mend(settings))
    except KafkaException as error:
        raise kafka.failure(error, settings) from None
    print("\n".join(changes) or "All topics are as the settings say.")
    return 0


def mend(settings: Settings) -> Iterator[str]:
    """Change the configuration of topics to what it should be; yields a sentence on each change, and on what has to be left."""
    client = kafka.admin(settings)
    known = _known(client, {topics.topic(settings, name) for name in topics.SCHEMA_OF})
    partitions = {full: len(found.partitions) for full, found in known.items()}
    found = _configurations(client, list(partitions))
    changes: dict[str, dict[str, str]] = {}
    for name in topics.SCHEMA_OF:
        full = topics.topic(settings, name)
        wanted = topics.configuration(settings, name, partitions[full])
        changed = {key: value for key, value in wanted.items() if found[full][key] != value}
        if changed:
            _change(client, full, changed)
            changes[full] = changed
        for key, value in changed.items():
            yield f"{full}: {key} is {value} now, and was {found[full][key]}"
        yield from _left(settings, full, partitions[full], len(known[full].partitions[0].replicas))
    if changes:
        _wait_until_shown(client, changes)


def _known(client: AdminClient, names: set[str]) -> dict[str, TopicMetadata]:
    """Topic -> what is known of it; a broker may hear a moment later of one that another has just made. Raises KafkaException."""
    deadline = time.monotonic() + TIMEOUT_S
    while missing := names - (known := client.list_topics(timeout=TIMEOUT_S).topics).keys():
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"it does not know of {', '.join(sorted(missing))}"))
        time.sleep(0.1)
    return {name: known[name] for name in names}


def _configurations(client: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Topic -> its configuration, with what it has from its broker."""
    answers = client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name) for name in names], request_timeout=TIMEOUT_S)
    return {resource.name: {key: entry.value for key, entry in answer.result().items()} for resource, answer in answers.items()}


def _change(client: AdminClient, name: str, values: dict[str, str]) -> None:
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()]
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
    [answer] = client.incremental_alter_configs([resource], request_timeout=TIMEOUT_S).values()
    answer.result()


def _wait_until_shown(client: AdminClient, changes: dict[str, dict[str, str]]) -> None:
    """Wait until the broker shows the changes, which it does a moment after the controller has accepted them. Raises KafkaException."""
    deadline = time.monotonic() + TIMEOUT_S
    while missing := [name for name, found in _configurations(client, list(changes)).items() if not changes[name].items() <= found.items()]:
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"it does not show the new settings of {', '.join(missing)}"))
        time.sleep(0.1)


def _left(settings: Settings, name: str, partitions: int, replication: int) -> Iterator[str]:
    """What differs, and is the user's to change."""
    if partitions != settings.partitions:
        yield (f"{name}: it has {partitions} partitions, and SMW_PARTITIONS is {settings.partitions}; left as it is, as houses would move to other "
               "partitions, away from what they sent before: see docs/retention.md")
    if settings.replication not in (0, replication):
        yield (f"{name}: it has {replication} copies of each message and SMW_REPLICATION is {settings.replication}; left as it is, as copies are moved between "
               "brokers by kafka-reassign-partitions.sh")
