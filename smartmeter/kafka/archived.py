"""The topic archived.readings, filled for a replay: from an archive's files, or from Kafka's log with what was imported between."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException

from smartmeter.errors import UserError
from smartmeter.kafka import connection, event_times, topic_admin, topic_log
from smartmeter.kafka.consumers import REPLAY, group_of
from smartmeter.kafka.offsets import Offsets, Place
from smartmeter.kafka.producer import BY_KEY, Producer
from smartmeter.messages import archive_files
from smartmeter.messages.archive_files import Message
from smartmeter.messages.codec import Burst
from smartmeter.messages.framing import framing
from smartmeter.messages.in_order import InOrder
from smartmeter.messages.schemas import CodecError
from smartmeter.messages.topics import topic
from smartmeter.progress import Pace
from smartmeter.run import Run
from smartmeter.settings import DAY_MS, LONGEST_BURST_DAYS, Settings

STALLED_S = 60

DAYS_AFTER = LONGEST_BURST_DAYS + 3
"""Days that a replay reads past its last one: their readings advance the house's clock, which closes that day."""

NO_LIMIT_MS = 2**61


def needed_days(run: Run, limit_days: int) -> range:
    """The days (UTC, days since 1970-01-01) whose files a replay needs to reproduce the earlier results."""
    assert run.days, "there is no replay"
    return range(run.start_ms(limit_days) // DAY_MS, run.days[-1] + 1 + DAYS_AFTER)


@contextmanager
def in_kafka(settings: Settings, run: Run, messages: Iterable[tuple[Message, int]]) -> Iterator[None]:
    """Fill the topic that a replay reads with messages, each with its partition, and delete it afterwards. Raises UserError."""
    _delete(settings, run)  # left behind by a replay that was killed
    topic_admin.create_topics(settings, run)
    try:
        with Producer(settings, run) as producer:
            for message, partition in messages:
                place: dict[str, str | bytes | None] = {"partition": b"%d" % message.partition, "offset": b"%d" % message.offset}
                producer.send("readings", message.key, message.value, message.timestamp_ms, partition, place)
        yield
    finally:
        _delete(settings, run)


def of_archive(settings: Settings, run: Run, folder: Path) -> Iterator[tuple[Message, int]]:
    """The messages that a replay needs of an archive, each house's in their original order, each with its partition. Raises UserError."""
    found = archive_files.files(folder, needed_days(run, settings.rules.limit_days), run.house)
    if not found:
        raise UserError(f"{folder} has no readings of {run.replay_from} or the days before or after it")
    first = min(path.parent.name for paths in found.values() for path in paths)
    print(
        f"The needed part of the archive starts on {first.removeprefix('date=')}: if these houses have earlier readings, results may "
        "differ from the old ones.",
        file=sys.stderr,
    )
    return ((message, message.partition % settings.kafka.partitions) for message in _counted(found.values()))


def _counted(of_each_range: Collection[list[Path]]) -> Iterator[Message]:
    """The messages in an archive's files, range by range, with their progress."""
    messages = 0
    with Pace("archive files counted", sum(map(len, of_each_range))) as pace:
        for path in chain.from_iterable(of_each_range):
            messages += sum(1 for _ in archive_files.read(path))
            pace.add(1)
    with Pace("archived messages sent to Kafka", messages) as pace:
        for paths in of_each_range:
            for message in archive_files.merged(paths):
                yield message
                pace.add(1)


def with_imported(
    settings: Settings, run: Run, folder: Path, archive: Path, houses: Collection[int] | None = None, ends: dict[int, int] | None = None
) -> Iterator[tuple[Message, int]]:
    """All messages that a replay needs, each with its partition: those of the topic, in their order, and between them, in the order of
    their time, the bursts that an archive's folder has as imported.

    archive: the folder of what Kafka has deleted of the topic. houses: only these (default: all). ends: partition -> the offset before
    which the replay ends (default: the present end). Raises UserError.
    """
    wanted = None if houses is None else set(houses)
    first_ms = run.start_ms(settings.rules.limit_days)
    max_jump_ms = round(settings.rules.max_jump_s * 1000) or NO_LIMIT_MS
    of_house = {
        house_id: InOrder(_imported_from(path, first_ms), max_jump_ms)
        for house_id, path in archive_files.imported_files(folder, run.house).items()
        if wanted is None or house_id in wanted
    }
    partition_of: dict[int, int] = {}
    of_topic = ((message, burst) for _, message, burst in in_topic(settings, group_of(settings, REPLAY), first_ms, ends))
    for message, burst in chain(_deleted(settings, run, archive), of_topic):
        house_id = burst.house_id if burst else 0
        if (wanted is not None and house_id not in wanted) or (run.house and house_id != run.house):
            continue
        partition_of[house_id] = partition = message.partition % settings.kafka.partitions
        if order := of_house.get(house_id):
            sensible = burst if burst and event_times.makes_sense(settings, burst.start_ms, burst.end_ms) else None
            yield from ((each, partition) for each in order.arrived(message, sensible))
        else:
            yield message, partition
    for house_id, order in of_house.items():
        yield from ((each, partition_of.get(house_id, BY_KEY)) for each in order.ended())


def _imported_from(path: Path, first_ms: int) -> Iterator[Message]:
    return (message for message in archive_files.read(path) if archive_files.imported_end_ms(message) > first_ms)


def _deleted(settings: Settings, run: Run, folder: Path) -> Iterator[tuple[Message, Burst | None]]:
    """(message, its burst) of the needed messages in an archive that Kafka has deleted."""
    begins = {partition: begin for (_, partition), (begin, _) in _bounds(settings, group_of(settings, REPLAY)).items()}
    if any(begins.values()):
        print(f"Kafka has deleted earlier messages; results lack what the archive {folder} has not got of them.", file=sys.stderr)
        days = range(run.start_ms(settings.rules.limit_days) // DAY_MS, archive_files.last_day(folder) + 1)
        for paths in archive_files.files(folder, days, run.house).values():
            for message in archive_files.merged(paths):
                if message.offset < begins.get(message.partition, 0):
                    yield archive_files.cut(*message[:4], message.value)


def in_topic(
    settings: Settings, group_id: str, first_ms: int, ends: dict[int, int] | None = None
) -> Iterator[tuple[int, Message, Burst | None]]:
    """The present messages of the topic readings as (start in ms, message, its burst), without any before the first that reaches first_ms.

    The start is that of the burst, or Kafka's timestamp if there is no burst that makes sense. Messages are in the order of partition and
    offset. ends: partition -> the offset to end at, if not the present end. Raises UserError.
    """
    bounds = _bounds(settings, group_id)
    starts = event_times.starts(settings, event_times.folder_of(settings), bounds, first_ms)
    ranges = {place: (starts[place], (ends or {}).get(place[1], end)) for place, (_, end) in bounds.items()}
    for (_, partition), found in topic_log.messages(settings, group_id, ranges, "messages read"):
        starts_ms = event_times.times(settings, found)[:, 0].tolist()
        for start_ms, message in zip(starts_ms, found):
            offset = message.offset()
            assert offset is not None  # only errors have none
            value = _received(settings, message.value())
            yield start_ms, *archive_files.cut(partition, offset, message.timestamp()[1], message.key(), value)


def _bounds(settings: Settings, group_id: str) -> dict[Place, tuple[int, int]]:
    with Offsets(settings, ("readings",), group_id) as offsets:
        return offsets.bounds()


def _received(settings: Settings, value: bytes | None) -> bytes | None:
    """A message in single-object framing, readable without a registry. A message of another schema is returned unchanged."""
    with suppress(CodecError):
        return value and framing(settings).received(value)
    return value


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
