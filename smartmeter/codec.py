"""Avro messages: single-object framing, and a vectorised reader and writer for records that are nearly all arrays.

A message is C3 01, the 8-byte little-endian CRC-64-AVRO fingerprint of the writer's schema, then the record
(Avro specification, "Single-object encoding"). fastavro serves every schema. Bursts and power profiles are nearly all
arrays, and an Avro array of floats is a block of packed little-endian float32, one of small ints a byte each, so NumPy
reads and writes those without a loop of Python's. Whatever block structure Avro allows is read.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import fastavro
import numpy as np

from smartmeter.compiled import compiled
from smartmeter.settings import RESOURCES

SCHEMA_DIR = RESOURCES / "avro"
MARKER = b"\xc3\x01"
HEADER_BYTES = len(MARKER) + 8
MOST_BLOCKS = 10_000
"""Of an array. Writers make one, or one in some kB."""
BAD = -1
"""In place of a position, where something cannot be read."""


class CodecError(ValueError):
    """A message that cannot be decoded, or a record that does not fit its schema."""


class _Malformed(ValueError):
    """What is wrong with the bytes of a record, in words."""


class Columns:
    """A record that is nearly all arrays; its fields are in the order of its schema."""

    def __eq__(self, other) -> bool:
        """Equal in every field; NaN equals NaN."""
        return isinstance(other, type(self)) and all(
            np.array_equal(mine, theirs, equal_nan=True) if isinstance(mine, np.ndarray) and mine.dtype.kind == "f"
            else np.array_equal(mine, theirs)
            for mine, theirs in zip(vars(self).values(), vars(other).values())
        )


@dataclass(frozen=True, eq=False)
class Burst(Columns):
    """What m meters of a house measured in [start_ms, end_ms): n readings, those of meter_ids[0] first."""

    house_id: int
    timezone: str
    start_ms: int
    end_ms: int
    tick_ms: int
    meter_ids: np.ndarray  # int32 (m,)
    counts: np.ndarray  # int32 (m,), readings of each meter
    deltas: np.ndarray  # int32 (n,), ticks since the meter's previous reading, its first since start_ms
    watts: np.ndarray  # float32 (n,)


@dataclass(frozen=True, eq=False)
class Profile(Columns):
    """Lowest, mean and highest power of m meters of a house over n minutes (UTC), those of meter_ids[0] first."""

    house_id: int
    date: int  # local day, days since 1970-01-01
    part: int  # 0, or the start in ms of a span that came later
    start: int  # of the first minute, in ms since 1970-01-01T00:00Z
    meter_ids: np.ndarray  # int32 (m,)
    counts: np.ndarray  # int32 (m,), minutes of each meter
    deltas: np.ndarray  # int32 (n,), minutes since the meter's previous one, its first since start
    readings: np.ndarray  # int32 (n,)
    min_watts: np.ndarray  # float32 (n,)
    mean_watts: np.ndarray  # float32 (n,)
    max_watts: np.ndarray  # float32 (n,)


def _without_logical_types(schema):
    """The schema with times and dates as plain numbers; its fingerprint is the same."""
    if isinstance(schema, dict):
        return {k: _without_logical_types(v) for k, v in schema.items() if k != "logicalType"}
    if isinstance(schema, list):
        return [_without_logical_types(item) for item in schema]
    return schema


def parsed(schema) -> tuple[dict, str]:
    """(schema as fastavro takes it, its canonical form) of a schema as JSON has it; times and dates become plain numbers."""
    schema = fastavro.parse_schema(_without_logical_types(schema))
    return schema, fastavro.schema.to_parsing_canonical_form(schema)


def _load(path: Path):
    schema, canonical = parsed(json.loads(path.read_text()))
    return schema, bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


_LOADED = {path.stem: _load(path) for path in sorted(SCHEMA_DIR.glob("*.avsc"))}
SCHEMAS = {name: schema for name, (schema, _) in _LOADED.items()}
HEADERS = {name: MARKER + fingerprint for name, (_, fingerprint) in _LOADED.items()}
_NAME_OF = {header: name for name, header in HEADERS.items()}
_EARLIER = {MARKER + fingerprint: (path.stem.split("-")[0], schema)
            for path in sorted((SCHEMA_DIR / "earlier").glob("*.avsc")) for schema, fingerprint in [_load(path)]}
"""Header -> (name, schema) of what earlier releases wrote, and topics may still hold."""


def encode(name: str, record: dict) -> bytes:
    """A record of schema `name` as a message; times in ms and dates in days since 1970-01-01 are plain ints.

    A record of a schema that is nearly all arrays may have NumPy's (int32, float32): it is written without a loop.
    Raises CodecError for a record that does not fit the schema.
    """
    if any(isinstance(value, np.ndarray) for value in record.values()):
        return _write(name, [record[item["name"]] for item in SCHEMAS[name]["fields"]])
    out = io.BytesIO(HEADERS[name])
    out.seek(HEADER_BYTES)
    try:
        fastavro.schemaless_writer(out, SCHEMAS[name], record, strict_allow_default=True)
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise CodecError(f"record does not fit schema {name}: {error}") from error
    return out.getvalue()


def schema_name(payload: bytes) -> str:
    """Name of the schema that a message was written with, by this release or an earlier one. Raises CodecError when it is none of ours."""
    header = payload[:HEADER_BYTES]
    name = _NAME_OF.get(header) or _EARLIER.get(header, (None,))[0]
    if name is None:
        if payload[:2] != MARKER:
            raise CodecError(f"no Avro single-object message: it begins with {payload[:2].hex() or 'nothing'}, not c301")
        raise CodecError(f"schema fingerprint {payload[2:HEADER_BYTES].hex()} is none of those in avro/")
    return name


def decode(payload: bytes) -> tuple[str, dict]:
    """(schema name, record) of a message. Raises CodecError for anything else."""
    name = schema_name(payload)
    _, written_as = _EARLIER.get(payload[:HEADER_BYTES], (name, None))
    return name, read_record(name, payload, HEADER_BYTES, written_as)


def read_record(name: str, payload: bytes, at: int, written_as: dict | None = None) -> dict:
    """The record of schema `name` from position `at` of a message on, which may be written as another version of it.

    Raises CodecError for anything else.
    """
    body = io.BytesIO(payload)
    body.seek(at)
    try:
        record = cast(dict, fastavro.schemaless_reader(body, written_as or SCHEMAS[name], SCHEMAS[name] if written_as else None))
    except Exception as error:  # fastavro raises many kinds on malformed bytes
        raise CodecError(f"malformed {name}: {str(error) or type(error).__name__}") from error
    if body.tell() != len(payload):
        raise CodecError(f"malformed {name}: {len(payload) - body.tell()} bytes too many")
    return record


def decode_as(name: str, payload: bytes) -> dict:
    """The record of schema `name` in a message. Raises CodecError for anything else."""
    found, record = decode(payload)
    if found != name:
        raise CodecError(f"a message of schema {found}, where {name} was expected")
    return record


def encode_burst(burst: Burst) -> bytes:
    """A burst as a message, each array in one block. Raises CodecError for values beyond 32 or 64 bits."""
    return _write("reading_burst", vars(burst).values())


def decode_burst(payload: bytes) -> Burst:
    """The burst in a message. Raises CodecError for anything else; what its numbers mean is not judged here."""
    return Burst(*_read("reading_burst", payload))


def decode_profile(payload: bytes) -> Profile:
    """The power profile in a message. Raises CodecError for anything else; what its numbers mean is not judged here."""
    return Profile(*_read("power_profile", payload))


def _write(name: str, values) -> bytes:
    """A message of schema `name`, the values of its fields in their order, each array in one block."""
    return b"".join((HEADERS[name], *(write(value) for (_, write), value in zip(_KINDS[name], values))))


def _read(name: str, payload: bytes) -> list:
    """The values of the fields in a message of schema `name`, in their order."""
    if payload[:HEADER_BYTES] != HEADERS[name]:
        raise CodecError(f"a message of schema {schema_name(payload)}, where a {name} was expected")
    values, at = [], HEADER_BYTES
    try:
        for read, _ in _KINDS[name]:
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


def _write_int_array(values: np.ndarray) -> bytes:
    if not len(values):
        return b"\0"
    if values.dtype != np.int32:
        raise CodecError(f"an int array is int32, not {values.dtype}")
    out = np.empty(5 * len(values), np.uint8)
    return _write_long(len(values)) + out[:_write_ints(values, out)].tobytes() + b"\0"


@compiled
def _write_ints(values, out):
    """Write the zigzag varints of int32 to out. Returns how many bytes they take."""
    at = 0
    for value in values:
        rest = np.uint32((value << 1) ^ (value >> 31))
        while rest > 0x7F:
            out[at] = rest & 0x7F | 0x80
            rest >>= np.uint32(7)
            at += 1
        out[at] = rest
        at += 1
    return at


def _write_float_array(values: np.ndarray) -> bytes:
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
        return payload[at:at + size].decode(), at + size
    except UnicodeDecodeError:
        raise _Malformed("a text that is not UTF-8") from None


def _read_array(read_block, payload: bytes, at: int) -> tuple[np.ndarray, int]:
    """(array, position after it): blocks of items until an empty one; a negative count is followed by a size."""
    blocks: list[np.ndarray] = []
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


def _read_floats(payload: bytes, at: int, count: int) -> tuple[np.ndarray, int]:
    if 4 * count > len(payload) - at:
        raise IndexError
    return np.frombuffer(payload, "<f4", count, at), at + 4 * count


def _read_ints(payload: bytes, at: int, count: int) -> tuple[np.ndarray, int]:
    values = np.empty(count, np.int32)
    end = _int_block(np.frombuffer(payload, np.uint8), at, len(payload), count, values, 0)
    if end != BAD:
        return values, end
    while True:  # as far as what is wrong
        _, at = _read_int(payload, at)


@compiled
def read_long(data, at, end):
    """(value, position after it) of the zigzag varint (Avro specification, "Binary encoding") at `at`; BAD where there is none."""
    value, shift = np.uint64(0), np.uint64(0)
    while 0 <= at < end and shift < 70:
        byte = np.uint64(data[at])
        if shift == 63 and byte > 1:
            break
        value |= (byte & np.uint64(0x7F)) << shift
        at, shift = at + 1, shift + np.uint64(7)
        if byte < 0x80:
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), at
    return np.int64(0), BAD


@compiled
def _block(data, at, end):
    """(items in the block of an array at `at`, 0 for its end; position after its head, or BAD). A negative count is followed by a size."""
    count, at = read_long(data, at, end)
    if count < 0:
        count = -count
        _, at = read_long(data, at, end)
    return (count, at) if 0 <= count <= end - at else (np.int64(0), BAD)


@compiled
def read_ints(data, at, end, into, k):
    """Read an array of ints into into[k:]. Returns (position after it, or BAD; k after the last)."""
    for _ in range(MOST_BLOCKS + 1):
        count, at = _block(data, at, end)
        if at == BAD or count == 0:
            return at, k
        if count > len(into) - k:
            return BAD, k
        at, k = _int_block(data, at, end, count, into, k), k + count
    return BAD, k


@compiled
def _int_block(data, at, end, count, into, k):
    """Read so many ints into into[k:]. Returns the position after them, or BAD."""
    for i in range(k, k + count):
        if at < end and data[at] < 0x80:
            value, at = np.int64(data[at] >> 1) ^ -np.int64(data[at] & 1), at + 1
        else:
            value, at = read_long(data, at, end)
        if at == BAD or not -(2**31) <= value < 2**31:
            return BAD
        into[i] = value
    return at


@compiled
def read_floats(data, at, end, into, k):
    """Read an array of floats into into[k:]. Returns (position after it, or BAD; k after the last)."""
    for _ in range(MOST_BLOCKS + 1):
        count, at = _block(data, at, end)
        if at == BAD or count == 0:
            return at, k
        if count > len(into) - k or 4 * count > end - at:
            return BAD, k
        into[k:k + count] = data[at:at + 4 * count].view(np.float32)
        at, k = at + 4 * count, k + count
    return BAD, k


_KIND_OF = {
    "long": (_read_long, _write_long),
    "int": (_read_int, _write_long),
    "string": (_read_text, _write_text),
    "int array": (partial(_read_array, _read_ints), _write_int_array),
    "float array": (partial(_read_array, _read_floats), _write_float_array),
}


def _kind(schema) -> tuple:
    """(reader, writer) of a field, by its type."""
    if isinstance(schema, str):
        return _KIND_OF[schema]
    return _KIND_OF[f"{schema['items']} array" if schema["type"] == "array" else schema["type"]]


_KINDS = {name: [_kind(item["type"]) for item in SCHEMAS[name]["fields"]] for name in ("reading_burst", "power_profile")}
"""Schema -> (reader, writer) of each of its fields."""
