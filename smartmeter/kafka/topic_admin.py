"""Creates the topics, and corrects the configuration of existing ones."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, TopicMetadata

from smartmeter.kafka import connection
from smartmeter.messages import topics
from smartmeter.messages.framing import framing
from smartmeter.run import LIVE, Run
from smartmeter.settings import Settings

TIMEOUT_S = 10


def mend(settings: Settings, run: Run = LIVE) -> Iterator[str]:
    """Correct the configuration of the topics. Yields a sentence for each change, and for each difference that it leaves."""
    client = connection.admin(settings)
    known = _known(client, {topics.topic(settings, name, run) for name in topics.SCHEMA_OF})
    partitions = {full: len(found.partitions) for full, found in known.items()}
    found = _configurations(client, list(partitions))
    changes: dict[str, dict[str, str]] = {}
    for name in topics.SCHEMA_OF:
        full = topics.topic(settings, name, run)
        wanted = topics.configuration(settings, name, partitions[full], run)
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
    """Topic -> its metadata. Waits for a broker that does not list a new topic yet. Raises KafkaException."""
    deadline = time.monotonic() + TIMEOUT_S
    while missing := names - (known := client.list_topics(timeout=TIMEOUT_S).topics).keys():
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"it does not know of {', '.join(sorted(missing))}"))
        time.sleep(0.1)
    return {name: known[name] for name in names}


def _configurations(client: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Topic -> its configuration, including values inherited from the broker."""
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
    """A sentence for each difference that only the user may change."""
    if partitions != settings.kafka.partitions:
        yield (
            f"{name}: it has {partitions} partitions, and SMW_PARTITIONS is {settings.kafka.partitions}; left as it is, because "
            "houses would move to other partitions than their earlier messages: see docs/retention.md"
        )
    if settings.kafka.replication not in (0, replication):
        yield (
            f"{name}: it has {replication} copies of each message, and SMW_REPLICATION is {settings.kafka.replication}; left as it is: "
            "use kafka-reassign-partitions.sh to change it"
        )


def create_topics(settings: Settings, run: Run = LIVE) -> None:
    """Create missing topics, and register their schemas if there is a registry. Raises UserError if either cannot be used, or refuses."""
    framing(settings, run)
    connection.require_broker(settings)
    client = connection.admin(settings)  # its futures end with it
    there = client.list_topics(timeout=connection.PATIENCE_S).topics
    partitions, copies = settings.kafka.partitions, settings.kafka.replication or -1
    new = [
        NewTopic(full, partitions, copies, config=topics.configuration(settings, name, partitions, run))
        for name in topics.SCHEMA_OF
        if (full := topics.topic(settings, name, run)) not in there
    ]
    for created in client.create_topics(new, request_timeout=TIMEOUT_S).values() if new else ():
        try:
            created.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise connection.failure(error, settings) from None
