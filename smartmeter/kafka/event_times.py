"""Finds where a time begins in the topic readings, by the bursts' own times and not by Kafka's timestamps.

Kafka looks messages up by its timestamps. A producer may set these in seconds, in nanoseconds, to the time of sending or not at all, and a
replay that relied on them would miss that producer's houses. So this module reads each message once, and keeps an index in two files: the
newest time of every thousand messages or so, and of every house.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from confluent_kafka import KafkaException, Message, TopicCollection

from smartmeter.arrays import Ints, Rows
from smartmeter.compiled import compiled
from smartmeter.errors import UserError
from smartmeter.kafka import connection, topic_log
from smartmeter.kafka.consumers import REPLAY, group_of
from smartmeter.kafka.offsets import Place
from smartmeter.loops import same_bytes
from smartmeter.messages.framing import framing
from smartmeter.messages.schemas import FIRST_BURST_HEADER, HEADER_BYTES, HEADERS
from smartmeter.messages.topics import topic
from smartmeter.messages.varints import BAD, read_long
from smartmeter.settings import DAY_MS, LONGEST_BURST_DAYS, Settings

BLOCK = np.dtype([("partition", "i8"), ("behind", "i8"), ("newest_ms", "i8")])
"""Consecutive messages of a partition: the offset after the last one, and the newest of their times."""

HOUSE = np.dtype([("house_id", "i8"), ("newest_ms", "i8")])
"""A house, and the latest end of its bursts."""

BLOCK_MESSAGES = 1000
FRONT_BYTES = 128
"""Enough of a message to hold everything before its arrays."""
NEVER = np.iinfo(np.int64).min
LONGEST_MS = LONGEST_BURST_DAYS * DAY_MS
TIMEOUT_S = 10

_HEADER, _FIRST_HEADER = (np.frombuffer(header, np.uint8) for header in (HEADERS["reading_burst"], FIRST_BURST_HEADER))


def starts(settings: Settings, folder: Path, bounds: dict[Place, tuple[int, int]], time_ms: int) -> dict[Place, int]:
    """For each partition, an offset before which no message reaches time_ms or later.

    bounds: (first offset, offset after the last) of each partition. Brings the index up to date, in a file in the folder. Raises UserError
    if Kafka cannot be used.
    """
    blocks, _ = _index(settings, folder, bounds)
    return {place: _start(blocks[blocks["partition"] == place[1]], *bound, time_ms) for place, bound in bounds.items()}


def newest_ms(settings: Settings, folder: Path, bounds: dict[Place, tuple[int, int]]) -> dict[int, int]:
    """House -> the latest end, in ms, of all bursts that the topic has had of it, as far as the index reaches back. See starts."""
    _, houses = _index(settings, folder, bounds)
    return dict(houses.tolist())


def folder_of(settings: Settings) -> Path:
    """The folder of the index."""
    return settings.stack.home.resolve() / "index"


def makes_sense(settings: Settings, start_ms: int, end_ms: int) -> bool:
    """Whether a burst may have this start and this end."""
    return settings.rules.oldest_ms <= start_ms < end_ms <= _latest_ms(settings) and end_ms - start_ms <= LONGEST_MS


def times(settings: Settings, messages: list[Message]) -> Ints:
    """int64, a row a message: start and end, in ms, of the burst in it, and its house.

    Without a burst that makes sense, both are Kafka's timestamp, or NEVER if that is in the future too, and the house is 0.
    """
    latest_ms = _latest_ms(settings)
    received, _ = framing(settings).all_received([message.value() or b"" for message in messages])
    spans = np.zeros((len(messages), 3), np.int64)
    fronts = [payload[:FRONT_BYTES] for payload in received]
    ends = np.cumsum(list(map(len, fronts)), dtype=np.int64)
    _spans(np.frombuffer(b"".join(fronts), np.uint8), ends, settings.rules.oldest_ms, latest_ms, spans)
    for i in np.flatnonzero(spans[:, 1] == NEVER).tolist():
        timestamp_ms = messages[i].timestamp()[1]
        spans[i, :2] = timestamp_ms if timestamp_ms <= latest_ms else NEVER
    return spans


def _latest_ms(settings: Settings) -> int:
    return round((time.time() + settings.rules.max_ahead_s) * 1000)


@compiled
def _spans(data, ends, oldest_ms, latest_ms, spans):
    """Fill in start, end and house of the burst in each message; NEVER where the times make no sense.

    data: the messages' first bytes, one message after the other; ends[i]: where those of message i end.
    """
    at = 0
    for i, end in enumerate(ends):
        spans[i, :2] = NEVER
        if end - at >= HEADER_BYTES and (same_bytes(data, at, _HEADER) or same_bytes(data, at, _FIRST_HEADER)):
            house_id, at = read_long(data, at + HEADER_BYTES, end)
            size, at = read_long(data, at, end)
            if at != BAD and 0 <= size <= end - at:
                start_ms, at = read_long(data, at + size, end)
                end_ms, at = read_long(data, at, end)
                if at != BAD and oldest_ms <= start_ms < end_ms <= latest_ms and end_ms - start_ms <= LONGEST_MS:
                    spans[i] = start_ms, end_ms, house_id
        at = end


def _index(settings: Settings, folder: Path, bounds: dict[Place, tuple[int, int]]) -> tuple[Rows, Rows]:
    """(BLOCK, HOUSE) of all messages up to the present, which are written to the folder. Raises UserError."""
    topic_id = _topic_id(settings)
    of_blocks, of_houses = folder / f"{topic_id}.npy", folder / f"{topic_id}.houses.npy"
    houses = _load(of_houses, HOUSE)
    blocks, houses = _updated(settings, _load(of_blocks, BLOCK) if len(houses) else np.empty(0, BLOCK), houses, bounds)
    _save(of_houses, houses)  # first: a message that is looked at again changes nothing in it
    _save(of_blocks, blocks)
    return blocks, houses


def _updated(settings: Settings, blocks: Rows, houses: Rows, bounds: dict[Place, tuple[int, int]]) -> tuple[Rows, Rows]:
    """The blocks and the houses, extended by the messages that arrived since."""
    ends = {partition: end for (_, partition), (_, end) in bounds.items()}
    blocks = blocks[[behind <= ends.get(partition, 0) for partition, behind, _ in blocks.tolist()]] if len(blocks) else blocks
    known = {
        partition: int(blocks["behind"][blocks["partition"] == partition].max()) for partition in np.unique(blocks["partition"]).tolist()
    }
    unseen = {place: (max(begin, known.get(place[1], 0)), end) for place, (begin, end) in bounds.items()}
    found: list[tuple[int, int, int]] = []
    newest: dict[int, int] = dict(houses.tolist())
    count = BLOCK_MESSAGES  # of the last block: it is full
    for (_, partition), messages in topic_log.messages(settings, group_of(settings, REPLAY), unseen, "messages indexed by time"):
        spans = times(settings, messages)
        behind, newest_ms = (messages[-1].offset() or 0) + 1, int(spans[:, 1].max())
        for end_ms, house_id in spans[:, 1:].tolist():
            newest[house_id] = max(newest.get(house_id, end_ms), end_ms)
        if count < BLOCK_MESSAGES and found[-1][0] == partition:
            newest_ms, count = max(newest_ms, found.pop()[2]), count + len(messages)
        else:
            count = len(messages)
        found.append((partition, behind, newest_ms))
    return np.concatenate([blocks, np.array(found, BLOCK)]), np.array(list(newest.items()), HOUSE)


def _start(blocks: Rows, begin: int, end: int, time_ms: int) -> int:
    """Offset, within bounds, where the first of a partition's blocks that reaches a time begins."""
    reach = np.flatnonzero(blocks["newest_ms"] >= time_ms)
    if not len(reach):
        return end
    return max(begin, int(blocks["behind"][reach[0] - 1])) if reach[0] else begin


def _topic_id(settings: Settings) -> str:
    """Kafka's id of the present topic; a topic that is deleted and created again has another. Raises UserError."""
    name, client = topic(settings, "readings"), connection.admin(settings)  # its futures end with it
    try:
        return str(client.describe_topics(TopicCollection([name]), request_timeout=TIMEOUT_S)[name].result().topic_id)
    except KafkaException as error:
        raise connection.failure(error, settings) from None


def _load(file: Path, of: np.dtype[np.void]) -> Rows:
    """The rows (BLOCK or HOUSE) in a file; none if it is missing or damaged."""
    with suppress(OSError, ValueError, EOFError):
        rows: Rows = np.load(file, allow_pickle=False)
        if rows.dtype == of:
            return rows
    return np.empty(0, of)


def _save(file: Path, rows: Rows) -> None:
    """Write the rows to a file, completely or not at all. Raises UserError."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent, delete=False) as written:
            np.save(written, rows)
        os.replace(written.name, file)
    except OSError as error:
        raise UserError(f"{error.filename or file}: {error.strerror}; the index of times needs a writable folder with free space") from None
