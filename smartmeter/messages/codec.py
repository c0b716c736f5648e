"""Avro messages: single-object framing, and a vectorised reader and writer for records that are nearly all arrays.

A message is C3 01, the 8-byte little-endian CRC-64-AVRO fingerprint of the writer's schema, then the record
(Avro specification, "Single-object encoding"). fastavro handles any schema. Bursts and power profiles are nearly all
arrays. An Avro array of floats is a block of packed little-endian float32, and an array of small ints has one byte each,
so NumPy reads and writes them without a Python loop. The reader accepts any block structure that Avro allows.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar, cast, overload

import fastavro
import numpy as np

from smartmeter.arrays import Float32s, Int32s, Ints
from smartmeter.messages.records import AnyRecord, DeadLetterRecord, ThresholdRecord
from smartmeter.messages.schemas import EARLIER, FIRST_BURST_HEADER, HEADER_BYTES, HEADERS, SCHEMAS, CodecError, Schema, schema_name
from smartmeter.messages.varints import BAD, MOST_BLOCKS, int_block, write_ints

Read = Callable[[bytes, int], tuple[Any, int]]
"""Returns (value of a field, position after it) at a position of a message."""
Write = Callable[[Any], bytes]
Column = TypeVar("Column", Int32s, Ints, Float32s)

POWER, IMPORT, EXPORT = range(3)
"""Quantities of a channel: power, the register of import, the register of export (avro/reading_burst.avsc)."""


class _Malformed(ValueError):
    """A record's bytes are malformed; the message is the reason."""


class Columns:
    """A record that is nearly all arrays; its fields are in the order of its schema."""

    def __eq__(self, other: object) -> bool:
        """Equal in every field; NaN equals NaN."""
        return isinstance(other, type(self)) and all(
            np.array_equal(mine, theirs, equal_nan=True)
            if isinstance(mine, np.ndarray) and mine.dtype.kind == "f"
            else np.array_equal(mine, theirs)
            for mine, theirs in zip(vars(self).values(), vars(other).values())
        )


@dataclass(frozen=True, eq=False)
class Burst(Columns):
    """What c channels of a house measured in [start_ms, end_ms): n readings, in the order of meter_ids. A channel: a quantity of a meter."""

    house_id: int
    timezone: str
    start_ms: int
    end_ms: int
    tick_ms: int
    meter_ids: Int32s  # int32 (c,)
    counts: Int32s  # int32 (c,), readings of each channel
    deltas: Int32s  # int32 (n,), ticks since the channel's previous reading, or since start_ms for its first
    watts: Float32s  # float32, readings of the power channels
    quantities: Int32s = field(default_factory=lambda: np.empty(0, np.int32))  # int32 (c,), see avro/reading_burst.avsc; empty: all power
    holds_s: Int32s = field(default_factory=lambda: np.empty(0, np.int32))  # int32 (c,); empty or 0: SMW_MAX_GAP_S
    energies: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # int64, mWh, readings of the register channels


@dataclass(frozen=True, eq=False)
class Profile(Columns):
    """Lowest, mean and highest power of m meters of a house over n minutes (UTC), in the order of meter_ids."""

    house_id: int
    date: int  # local day, days since 1970-01-01
    part: int  # 0, or the start in ms of a span that arrived later
    start: int  # of the first minute, in ms since 1970-01-01T00:00Z
    meter_ids: Int32s  # int32 (m,)
    counts: Int32s  # int32 (m,), minutes of each meter
    deltas: Int32s  # int32 (n,), minutes since the meter's previous one, or since start for its first
    readings: Int32s  # int32 (n,)
    min_watts: Float32s  # float32 (n,)
    mean_watts: Float32s  # float32 (n,)
    max_watts: Float32s  # float32 (n,)


def encode(name: str, record: Mapping[str, Any]) -> bytes:
    """A record of schema `name` as a message. Times in ms and dates in days, both since 1970-01-01, are plain ints.

    Bursts and power profiles may hold NumPy arrays (int32, float32), which are written without a Python loop.
    Raises CodecError for a record that does not fit the schema.
    """
    if name in _KINDS and any(isinstance(value, np.ndarray) for value in record.values()):
        return _write(name, [record[item["name"]] for item in SCHEMAS[name]["fields"]])
    out = io.BytesIO(HEADERS[name])
    out.seek(HEADER_BYTES)
    try:
        fastavro.schemaless_writer(out, SCHEMAS[name], record, strict_allow_default=True)
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise CodecError(f"record does not fit schema {name}: {error}") from error
    return out.getvalue()


def decode(payload: bytes) -> tuple[str, AnyRecord]:
    """(schema name, record) of a message. Raises CodecError if it cannot be decoded."""
    name = schema_name(payload)
    _, written_as = EARLIER.get(payload[:HEADER_BYTES], (name, None))
    return name, read_record(name, payload, HEADER_BYTES, written_as)


def read_record(name: str, payload: bytes, at: int, written_as: Schema | None = None) -> AnyRecord:
    """The record of schema `name` that starts at position `at` of a message. written_as: the version that it was written with, if not ours.

    Raises CodecError if it cannot be decoded.
    """
    body = io.BytesIO(payload)
    body.seek(at)
    try:
        record = cast(AnyRecord, fastavro.schemaless_reader(body, written_as or SCHEMAS[name], SCHEMAS[name] if written_as else None))
    except Exception as error:  # fastavro raises many kinds on malformed bytes
        raise CodecError(f"malformed {name}: {str(error) or type(error).__name__}") from error
    if body.tell() != len(payload):
        raise CodecError(f"malformed {name}: {len(payload) - body.tell()} bytes too many")
    return record


@overload
def decode_as(name: Literal["threshold"], payload: bytes) -> ThresholdRecord: ...
@overload
def decode_as(name: Literal["dead_letter"], payload: bytes) -> DeadLetterRecord: ...
@overload
def decode_as(name: str, payload: bytes) -> Any: ...


def decode_as(name: str, payload: bytes) -> Any:
    """The record of schema `name` in a message. Raises CodecError for any other message."""
    found, record = decode(payload)
    if found != name:
        raise CodecError(f"a message of schema {found}, where {name} was expected")
    return record


def encode_burst(burst: Burst) -> bytes:
    """A burst as a message, each array in one block. Raises CodecError for values beyond 32 or 64 bits."""
    return _write("reading_burst", vars(burst).values())


def decode_burst(payload: bytes) -> Burst:
    """The burst in a message. Raises CodecError for any other message. Does not check whether the values make sense."""
    return Burst(*_read("reading_burst", payload))


def decode_profile(payload: bytes) -> Profile:
    """The power profile in a message. Raises CodecError for any other message. Does not check whether the values make sense."""
    return Profile(*_read("power_profile", payload))


def _write(name: str, values: Iterable[Any]) -> bytes:
    """A message of schema `name` with these field values, in the schema's order, each array in one block."""
    return b"".join((HEADERS[name], *(write(value) for (_, write), value in zip(_KINDS[name], values))))


def _read(name: str, payload: bytes) -> list[Any]:
    """The field values in a message of schema `name`, in the schema's order. A message of an earlier version lacks the last ones."""
    header = payload[:HEADER_BYTES]
    if header not in _FIELDS or schema_name(payload) != name:
        raise CodecError(f"a message of schema {schema_name(payload)}, where a {name} was expected")
    values, at = [], HEADER_BYTES
    try:
        for read, _ in _KINDS[name][: _FIELDS[header]]:
            value, at = read(payload, at)
            values.append(value)
        if at != len(payload):
            raise _Malformed(f"{len(payload) - at} bytes too many")
    except IndexError as error:
        raise CodecError(f"malformed {name}: it ends too early") from error
    except _Malformed as error:
        raise CodecError(f"malformed {name}: {error}") from error
    return values


def _write_long(value: int) -> bytes:
    """The zigzag varint (Avro specification, "Binary encoding") of a 64-bit value."""
    if not -(2**63) <= value < 2**63:
        raise CodecError(f"{value} is beyond 64 bits")
    rest, out = (value << 1) ^ (value >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _write_text(text: str) -> bytes:
    body = text.encode()
    return _write_long(len(body)) + body


def _write_int_array(dtype: type[np.integer[Any]], values: Int32s | Ints) -> bytes:
    if not len(values):
        return b"\0"
    if values.dtype != dtype:
        raise CodecError(f"an array of these ints is {np.dtype(dtype)}, not {values.dtype}")
    out = np.empty(10 * len(values), np.uint8)
    return _write_long(len(values)) + out[: write_ints(values, out)].tobytes() + b"\0"


def _write_float_array(values: Float32s) -> bytes:
    if not len(values):
        return b"\0"
    return _write_long(len(values)) + values.astype("<f4", copy=False).tobytes() + b"\0"


def _read_long(payload: bytes, at: int) -> tuple[int, int]:
    """(value, position after it) of the zigzag varint at `at`."""
    byte = payload[at]
    value, shift = byte & 0x7F, 7
    at += 1
    while byte > 0x7F:
        if shift > 63:
            raise _Malformed("a number of more than 10 bytes")
        byte = payload[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
    value = (value >> 1) ^ -(value & 1)
    if not -(2**63) <= value < 2**63:
        raise _Malformed("a number beyond 64 bits")
    return value, at


def _read_int(payload: bytes, at: int) -> tuple[int, int]:
    value, at = _read_long(payload, at)
    if not -(2**31) <= value < 2**31:
        raise _Malformed("an int beyond 32 bits")
    return value, at


def _read_text(payload: bytes, at: int) -> tuple[str, int]:
    size, at = _read_long(payload, at)
    if not 0 <= size <= len(payload) - at:
        raise _Malformed(f"a text of {size} bytes")
    try:
        return payload[at : at + size].decode(), at + size
    except UnicodeDecodeError:
        raise _Malformed("a text that is not UTF-8") from None


def _read_array(read_block: Callable[[bytes, int, int], tuple[Column, int]], payload: bytes, at: int) -> tuple[Column, int]:
    """(array, position after it): blocks of items until an empty one; a negative count is followed by a size."""
    blocks: list[Column] = []
    while True:
        count, at = _read_long(payload, at)
        if count == 0:
            break
        if len(blocks) == MOST_BLOCKS:
            raise _Malformed(f"an array of more than {MOST_BLOCKS} blocks")
        if count < 0:
            count, (_, at) = -count, _read_long(payload, at)
        if count > len(payload) - at:  # an item takes a byte or more
            raise _Malformed(f"an array block of {count} items in {len(payload) - at} bytes")
        block, at = read_block(payload, at, count)
        blocks.append(block)
    if len(blocks) == 1:
        return blocks[0], at
    return np.concatenate(blocks) if blocks else read_block(b"", 0, 0)[0], at


def _read_floats(payload: bytes, at: int, count: int) -> tuple[Float32s, int]:
    if 4 * count > len(payload) - at:
        raise IndexError
    return np.frombuffer(payload, "<f4", count, at), at + 4 * count


def _read_ints(read: Read, dtype: type[np.integer[Any]], payload: bytes, at: int, count: int) -> tuple[Any, int]:
    values = np.empty(count, dtype)
    end = int_block(np.frombuffer(payload, np.uint8), at, len(payload), count, values, 0, 8 * values.itemsize)
    if end != BAD:
        return values, end
    while True:  # finds and raises the reason
        _, at = read(payload, at)


_KIND_OF: dict[str, tuple[Read, Write]] = {
    "long": (_read_long, _write_long),
    "int": (_read_int, _write_long),
    "string": (_read_text, _write_text),
    "int array": (partial(_read_array, partial(_read_ints, _read_int, np.int32)), partial(_write_int_array, np.int32)),
    "long array": (partial(_read_array, partial(_read_ints, _read_long, np.int64)), partial(_write_int_array, np.int64)),
    "float array": (partial(_read_array, _read_floats), _write_float_array),
}


def _kind(schema: Any) -> tuple[Read, Write]:
    """(reader, writer) of a field, by its type."""
    if isinstance(schema, str):
        return _KIND_OF[schema]
    return _KIND_OF[f"{schema['items']} array" if schema["type"] == "array" else schema["type"]]


_KINDS = {name: [_kind(item["type"]) for item in SCHEMAS[name]["fields"]] for name in ("reading_burst", "power_profile")}
"""Schema -> (reader, writer) of each of its fields."""
_FIELDS = {HEADERS[name]: len(kinds) for name, kinds in _KINDS.items()} | {
    FIRST_BURST_HEADER: len(EARLIER[FIRST_BURST_HEADER][1]["fields"])
}
"""Header -> how many of these fields a message with it has."""
