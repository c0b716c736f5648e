"""Avro messages: single-object framing, and a vectorised reader and writer for records that are nearly all arrays.

A message is C3 01, the 8-byte little-endian CRC-64-AVRO fingerprint of the writer's schema, then the record
(Avro specification, "Single-object encoding"). fastavro serves every schema. Bursts and power profiles are nearly all
arrays, and an Avro array of floats is a block of packed little-endian float32, one of small ints a byte each, so NumPy
reads and writes those without a loop. Whatever block structure Avro allows is read.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fastavro
import numpy as np

SCHEMA_DIR = Path(__file__).resolve().parent.parent / "avro"
MARKER = b"\xc3\x01"
HEADER_BYTES = len(MARKER) + 8
FEW = 32  # items below which a loop is quicker than NumPy


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


def _load(path: Path):
    schema = fastavro.parse_schema(_without_logical_types(json.loads(path.read_text())))
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    return schema, bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


_LOADED = {path.stem: _load(path) for path in sorted(SCHEMA_DIR.glob("*.avsc"))}
SCHEMAS = {name: schema for name, (schema, _) in _LOADED.items()}
HEADERS = {name: MARKER + fingerprint for name, (_, fingerprint) in _LOADED.items()}
_NAME_OF = {header: name for name, header in HEADERS.items()}


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
    """Name of the schema that a message was written with. Raises CodecError when it is none of ours."""
    name = _NAME_OF.get(payload[:HEADER_BYTES])
    if name is None:
        if payload[:2] != MARKER:
            raise CodecError(f"no Avro single-object message: it begins with {payload[:2].hex() or 'nothing'}, not c301")
        raise CodecError(f"schema fingerprint {payload[2:HEADER_BYTES].hex()} is none of those in avro/")
    return name


def decode(payload: bytes) -> tuple[str, dict]:
    """(schema name, record) of a message. Raises CodecError for anything else."""
    name = schema_name(payload)
    body = io.BytesIO(payload)
    body.seek(HEADER_BYTES)
    try:
        record = fastavro.schemaless_reader(body, SCHEMAS[name], None)
    except Exception as error:  # fastavro raises many kinds on malformed bytes
        raise CodecError(f"malformed {name}: {str(error) or type(error).__name__}") from error
    if body.tell() != len(payload):
        raise CodecError(f"malformed {name}: {len(payload) - body.tell()} bytes too many")
    return name, record


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
    zigzag = ((values << 1) ^ (values >> 31)).view(np.uint32)
    if zigzag.max() < 0x80:
        body = zigzag.astype(np.uint8)
    else:
        sevens = zigzag[:, None] >> _SHIFTS
        used = (sevens > 0) | (_SHIFTS == 0)
        sevens = sevens & 0x7F
        sevens[:, :-1] |= used[:, 1:] * np.uint32(0x80)
        body = sevens.astype(np.uint8)[used]
    return _write_long(len(values)) + body.tobytes() + b"\0"


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
    blocks = []
    while True:
        count, at = _read_long(payload, at)
        if count == 0:
            break
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
    raw = payload[at:at + count]
    if raw.isascii():  # no continuation bits: a byte each
        return np.frombuffer(raw.translate(_ZIGZAG_OF_BYTE), np.int8).astype(np.int32), at + count
    if count >= FEW and (found := _read_many_ints(payload, at, count)):
        return found
    values = []
    for _ in range(count):
        value, at = _read_long(payload, at)
        values.append(value)
    if values and not -(2**31) <= min(values) <= max(values) < 2**31:
        raise _Malformed("an int beyond 32 bits")
    return np.array(values, np.int32), at


def _read_many_ints(payload: bytes, at: int, count: int) -> tuple[np.ndarray, int] | None:
    """Like _read_ints, for ints of 1 to 5 bytes each; None where there is any other."""
    raw = np.frombuffer(payload, np.uint8, min(5 * count, len(payload) - at), at)
    ends = np.flatnonzero(raw < 0x80)[:count]
    lengths = np.diff(ends, prepend=-1)
    if len(ends) < count or lengths.max() > 5:
        return None
    used = raw[:ends[-1] + 1].astype(np.int64)
    shift = 7 * (np.arange(len(used)) - np.repeat(ends - lengths + 1, lengths))
    zigzag = np.add.reduceat((used & 0x7F) << shift, ends - lengths + 1)
    if zigzag.max() >= 2**32:
        return None
    return ((zigzag >> 1) ^ -(zigzag & 1)).astype(np.int32), at + int(ends[-1]) + 1


_SHIFTS = np.arange(0, 35, 7, dtype=np.uint32)
_ZIGZAG_OF_BYTE = bytes(((n >> 1) ^ -(n & 1)) & 0xFF for n in range(256))

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
