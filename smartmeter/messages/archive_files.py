"""The files of an archive: messages of the topic readings in Avro object container files, which any Avro tool can read.

    readings/date=2026-11-01/houses=000001-000100.avro    bursts, each with its columns
    unreadable/date=2026-11-01/messages.avro              messages that are not bursts
    imported/house=000007.avro                            bursts that were imported past the topic

The date is that of the burst's start, in UTC, or of the message's Kafka timestamp if it has no start that makes sense. A record is the
message's place (PLACE) and the burst's own bytes as they were in Kafka. They are copied, not encoded again, so a restored message equals
the original. Behind a burst of an earlier release come the empty arrays that it lacks. A file is in the order of partition and offset. An
imported burst has no place in the topic. It has one that sorts it by its end (imported), and the same burst has the same place again, so a file
holds it once.
"""

from __future__ import annotations

import heapq
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import fastavro

from smartmeter.errors import UserError
from smartmeter.messages.codec import Burst, decode_burst, encode_burst
from smartmeter.messages.schemas import FIRST_BURST_HEADER, HEADER_BYTES, SCHEMA_DIR, CodecError, Schema
from smartmeter.messages.topics import key
from smartmeter.settings import Settings

EPOCH = date(1970, 1, 1)
HOUSES_PER_FILE = 100
CODEC = "zstandard"
BLOCK_BYTES = 256 << 10
MOST_WAITING_BYTES = 256 << 20
IMPORTED_BLOCK_BYTES = 32 << 10
"""A block of each house is in memory while imported bursts are put among those of the topic."""
PARTIAL = ".partial"
IMPORTED = "imported"
CHECKSUM_BITS = 20
USUAL = Path("SMW_HOME", "archive")
"""Placeholder for the folder `archive` in settings.stack.home."""


def _record(name: str, time: str | Schema, fields: list[Schema]) -> Schema:
    return {
        "type": "record",
        "name": name,
        "namespace": "smartmeter",
        "fields": [
            {"name": "partition", "type": "int", "doc": "Partition of the topic readings that the message was in."},
            {"name": "offset", "type": "long", "doc": "Its offset there."},
            {"name": "timestamp", "type": time, "doc": "Its Kafka timestamp, in ms since 1970-01-01T00:00Z."},
            {"name": "key", "type": ["null", "bytes"], "doc": "Its key."},
            {
                "name": "head",
                "type": ["null", "bytes"],
                "doc": "What of the message comes before the burst; all of it where it is no burst.",
            },
            {"name": "crc32", "type": "long", "doc": "CRC-32 of all of it, by which damage is found."},
            {"name": "rest_bytes", "type": "int", "doc": "Bytes of the burst, which follows."},
            *fields,
        ],
    }


TIME = {"type": "long", "logicalType": "timestamp-millis"}
PLACE = fastavro.parse_schema(_record("Place", "long", []))
BURST = _record("ArchivedBurst", TIME, json.loads((SCHEMA_DIR / "reading_burst.avsc").read_text())["fields"])
UNREADABLE = _record("ArchivedMessage", TIME, [])


def folder_of(settings: Settings, named: Path) -> Path:
    """The folder that `named` means: itself, or the usual one for USUAL."""
    return settings.stack.home / USUAL.name if named == USUAL else named


class Message(NamedTuple):
    """A message of the topic readings, split where its burst begins. rest is empty if it is not a burst."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    head: bytes | None
    rest: bytes

    @property
    def value(self) -> bytes | None:
        """The message as it was in Kafka."""
        return None if self.head is None else self.head + self.rest

    @property
    def lacking(self) -> bytes:
        """What its burst lacks of the present schema, in which the archive has it: three empty arrays at the end of an earlier one."""
        return bytes(3) if self.rest and self.head == FIRST_BURST_HEADER else b""

    @property
    def crc32(self) -> int:
        """CRC-32 of the value."""
        return zlib.crc32(self.rest, zlib.crc32(self.head or b""))

    @property
    def readings(self) -> int:
        """The number of readings in its burst; 0 if it is not a burst."""
        return int(decode_burst(self.value or b"").counts.sum()) if self.rest else 0


@dataclass
class Records:
    """Records of one block, in the form that fastavro's writer takes."""

    bytes_: io.BytesIO = field(default_factory=io.BytesIO)
    num_records: int = 0

    def add(self, message: Message) -> int:
        """Add a message. Returns the bytes added."""
        before = self.bytes_.tell()
        fastavro.schemaless_writer(
            self.bytes_,
            PLACE,
            {
                "partition": message.partition,
                "offset": message.offset,
                "timestamp": message.timestamp_ms,
                "key": message.key,
                "head": message.head,
                "crc32": message.crc32,
                "rest_bytes": len(message.rest),
            },
        )
        self.bytes_.write(message.rest + message.lacking)
        self.num_records += 1
        return self.bytes_.tell() - before

    def append_to(self, path: Path, schema: Schema) -> None:
        """Append the records to a file as one block."""
        with path.open("a+b") as file:
            fastavro.write.Writer(file, schema, CODEC).write_block(self)


class _Writing:
    """Writes messages to many files at a time. A file gets its final name once all messages have been added.

    The records that wait for a full block are bounded, and no file stays open.
    """

    def __init__(self, left_behind: Iterable[Path], block_bytes: int):
        """left_behind: partial files of a run that was killed, which are deleted."""
        self._block_bytes = block_bytes
        self._waiting: dict[Path, Records] = {}
        self._waiting_bytes = 0
        for left in left_behind:
            left.unlink()

    def __len__(self) -> int:
        return len(self._waiting)

    def _add(self, path: Path, message: Message) -> None:
        if path not in self._waiting:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._waiting[path] = Records()
        self._waiting_bytes += self._waiting[path].add(message)
        if self._waiting[path].bytes_.tell() >= self._block_bytes:
            self._write(path)
        if self._waiting_bytes >= MOST_WAITING_BYTES:
            self._write_all()

    def complete(self) -> Iterator[Path]:
        """Move each file to its final name, merged with an existing file of that name, and yield it."""
        self._write_all()
        for path in sorted(self._waiting):
            written = _partial(path)
            if path.exists():
                written = path.with_suffix(f".united{PARTIAL}")
                _write(written, merged([path, _partial(path)]), _schema(path), self._block_bytes)
                _partial(path).unlink()
            with written.open("rb") as file:
                os.fsync(file.fileno())
            written.rename(path)
            yield path

    def _write_all(self) -> None:
        for path, records in self._waiting.items():
            if records.num_records:
                self._write(path)

    def _write(self, path: Path) -> None:
        self._waiting_bytes -= self._waiting[path].bytes_.tell()
        self._waiting[path].append_to(_partial(path), _schema(path))
        self._waiting[path] = Records()


class Files(_Writing):
    """The files of some days (days since 1970-01-01) of an archive, which messages are added to."""

    def __init__(self, folder: Path, days: range):
        self._folder = folder
        super().__init__((left for day in days for left in folder.glob(f"*/{_of_day(day)}/*{PARTIAL}")), BLOCK_BYTES)

    def add(self, message: Message, day: int, house_id: int) -> None:
        """Add a message to a day, in the order of Kafka. house_id: 0 if it is not a burst."""
        self._add(path_of(self._folder, day, house_id), message)


class ImportedFiles(_Writing):
    """The files of imported bursts of an archive."""

    def __init__(self, folder: Path):
        self._folder = folder
        super().__init__(folder.glob(f"{IMPORTED}/*{PARTIAL}"), IMPORTED_BLOCK_BYTES)

    def add(self, burst: Burst) -> None:
        """Add a burst; those of a house in the order of their ends."""
        self._add(_imported_path(self._folder, burst.house_id), imported(burst))


def imported(burst: Burst) -> Message:
    """The message of an imported burst. Its place (minus its house, its end and a checksum) is no message's in the topic."""
    value = encode_burst(burst)
    offset = burst.end_ms << CHECKSUM_BITS | zlib.crc32(value) & (1 << CHECKSUM_BITS) - 1
    of_house = key("readings", {"house_id": burst.house_id})
    return Message(-(burst.house_id % 2**31 or 1), offset, burst.start_ms, of_house, value[:HEADER_BYTES], value[HEADER_BYTES:])


def imported_end_ms(message: Message) -> int:
    """The end of an imported burst, in ms."""
    return message.offset >> CHECKSUM_BITS


def imported_files(folder: Path, house_id: int = 0) -> dict[int, Path]:
    """House -> the file of its imported bursts. house_id: only that house; 0: all."""
    name = _imported_path(folder, house_id).name if house_id else "house=*.avro"
    return {int(path.stem.removeprefix("house=")): path for path in sorted(folder.glob(f"{IMPORTED}/{name}"))}


def cut(partition: int, offset: int, timestamp_ms: int, key: bytes | None, value: bytes | None) -> tuple[Message, Burst | None]:
    """(message, its burst) of a message in the topic; the burst is None if it is not a burst of a house."""
    with suppress(CodecError):
        if value and (burst := decode_burst(value)).house_id >= 1:
            return Message(partition, offset, timestamp_ms, key, value[:HEADER_BYTES], value[HEADER_BYTES:]), burst
    return Message(partition, offset, timestamp_ms, key, value, b""), None


def read(path: Path) -> Iterator[Message]:
    """The messages of a file. Raises UserError if it is damaged."""
    try:
        with path.open("rb") as file:
            block: Any
            for block in fastavro.block_reader(file):
                is_present = block.writer_schema["fields"][-1]["name"] == BURST["fields"][-1]["name"]
                for _ in range(block.num_records):
                    message = _next_message(block.bytes_)
                    block.bytes_.seek(len(message.lacking) if is_present else 0, os.SEEK_CUR)
                    yield message
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except Exception as error:  # fastavro and the decompressor raise many kinds on damaged bytes
        raise UserError(f"{path} is damaged ({str(error) or type(error).__name__}): remove it, and archive its day again") from None


def _next_message(records: io.BytesIO) -> Message:
    place: Any = fastavro.schemaless_reader(records, PLACE, None)
    message = Message(
        place["partition"], place["offset"], place["timestamp"], place["key"], place["head"], records.read(place["rest_bytes"])
    )
    if message.crc32 != place["crc32"]:
        raise ValueError(f"offset {message.offset} of partition {message.partition} is not as it was written")
    return message


def merged(paths: Iterable[Path]) -> Iterator[Message]:
    """The messages of some files in the order of partition and offset, each once.

    Raises UserError if two files have different messages for the same place, as they come from two topics.
    """
    last = None
    for message in heapq.merge(*map(read, paths), key=lambda message: message[:2]):
        if last is None or message[:2] != last[:2]:
            yield message
        elif message != last:
            raise UserError(
                f"the archive has another message at offset {message.offset} of partition {message.partition} than Kafka: it is "
                "from another topic, or the topic was created again; use a folder of its own for this one (--into)"
            )
        last = message


def path_of(folder: Path, day: int, house_id: int) -> Path:
    """The file that a message of a day (days since 1970-01-01) belongs to. house_id: 0 if it is not a burst."""
    if not house_id:
        return folder / "unreadable" / _of_day(day) / "messages.avro"
    first = (house_id - 1) // HOUSES_PER_FILE * HOUSES_PER_FILE + 1
    return folder / "readings" / _of_day(day) / f"houses={first:06}-{first + HOUSES_PER_FILE - 1:06}.avro"


def files(folder: Path, days: range, house_id: int = 0) -> dict[str, list[Path]]:
    """File name -> the complete files of some days under that name. house_id: only the files with this house; 0: all."""
    wanted = path_of(folder, 0, house_id).name if house_id else "*.avro"
    found: dict[str, list[Path]] = {}
    for day in days:
        for path in sorted(folder.glob(f"*/{_of_day(day)}/{wanted}")):
            found.setdefault(path.name, []).append(path)
    return found


def last_day(folder: Path) -> int:
    """The last day (days since 1970-01-01) that has files; -1 if none has."""
    dates = (path.name.removeprefix("date=") for path in folder.glob("*/date=*"))
    return max(((date.fromisoformat(text) - EPOCH).days for text in dates), default=-1)


def _imported_path(folder: Path, house_id: int) -> Path:
    return folder / IMPORTED / f"house={house_id:06}.avro"


def _of_day(day: int) -> str:
    return f"date={EPOCH + timedelta(days=day)}"


def _partial(path: Path) -> Path:
    return path.with_suffix(PARTIAL)


def _schema(path: Path) -> Schema:
    return BURST if path.name.startswith("house") else UNREADABLE


def _write(path: Path, messages: Iterable[Message], schema: Schema, block_bytes: int) -> None:
    records = Records()
    for message in messages:
        records.add(message)
        if records.bytes_.tell() >= block_bytes:
            records.append_to(path, schema)
            records = Records()
    if records.num_records:
        records.append_to(path, schema)
