"""The topic archived.readings, filled from an archive's files for a replay."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException

from smartmeter.errors import UserError
from smartmeter.kafka import connection, topic_admin
from smartmeter.kafka.producer import Producer
from smartmeter.messages import archive_files
from smartmeter.messages.topics import topic
from smartmeter.progress import Pace
from smartmeter.run import Run
from smartmeter.settings import DAY_MS, LONGEST_BURST_DAYS, Settings

STALLED_S = 60

DAYS_AFTER = LONGEST_BURST_DAYS + 3
"""Days that a replay reads past its last one: their readings advance the house's clock, which closes that day."""


def needed_days(run: Run, limit_days: int) -> range:
    """The days (UTC, days since 1970-01-01) whose files a replay needs to reproduce the earlier results."""
    assert run.days, "there is no replay"
    return range(run.start_ms(limit_days) // DAY_MS, run.days[-1] + 1 + DAYS_AFTER)


@contextmanager
def in_kafka(settings: Settings, run: Run, folder: Path) -> Iterator[None]:
    """Fill the topic that a replay reads with the days that it needs from an archive, and delete it afterwards. Raises UserError."""
    found = archive_files.files(folder, needed_days(run, settings.rules.limit_days), run.house)
    if not found:
        raise UserError(f"{folder} has no readings of {run.replay_from} or the days before or after it")
    first = min(path.parent.name for paths in found.values() for path in paths)
    print(
        f"The needed part of the archive starts on {first.removeprefix('date=')}: if these houses have earlier readings, results may "
        "differ from the old ones.",
        file=sys.stderr,
    )
    _delete(settings, run)  # left behind by a replay that was killed
    topic_admin.create_topics(settings, run)
    try:
        _fill(settings, run, found.values())
        yield
    finally:
        _delete(settings, run)


def _fill(settings: Settings, run: Run, of_each_range: Collection[list[Path]]) -> None:
    """Send an archive's messages to the replay's topic, each house's in their original order."""
    messages = 0
    with Pace("archive files counted", sum(map(len, of_each_range))) as pace:
        for path in chain.from_iterable(of_each_range):
            messages += sum(1 for _ in archive_files.read(path))
            pace.add(1)
    with Producer(settings, run) as producer, Pace("archived messages sent to Kafka", messages) as pace:
        for paths in of_each_range:
            for message in archive_files.merged(paths):
                producer.send(
                    "readings",
                    message.key,
                    message.value,
                    message.timestamp_ms,
                    message.partition % settings.kafka.partitions,
                    {"partition": b"%d" % message.partition, "offset": b"%d" % message.offset},
                )
                pace.add(1)


def _delete(settings: Settings, run: Run) -> None:
    """Delete the replay's topic if it exists."""
    name = topic(settings, "readings", run)
    client = connection.admin(settings)  # its futures end with it
    [deleted] = client.delete_topics([name], operation_timeout=STALLED_S).values()
    try:
        deleted.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise connection.failure(error, settings) from None
