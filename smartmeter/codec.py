"""Avro messages: single-object framing, and a vectorised reader and writer for reading bursts.

A message is C3 01, the 8-byte little-endian CRC-64-AVRO fingerprint of the writer's schema, then the record
(Avro specification, "Single-object encoding"). fastavro serves every schema. A burst is nearly all arrays, and
an Avro array of floats is a block of packed little-endian float32, one of small ints a byte each, so NumPy
reads and writes those without a loop. Whatever block structure Avro allows is read.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, fields
from pathlib import Path

import fastavro
import numpy as np

SCHEMA_DIR = Path(__file__).resolve().parent.parent / "avro"
MARKER = b"\xc3\x01"
HEADER_BYTES = len(MARKER) + 8
FEW = 32  # items below which a loop is quicker than NumPy


class CodecError(ValueError):
    """A message that cannot be decoded, or a record that does not fit its schema."""


@dataclass(frozen=True, eq=False)
class Burst:
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

    def __eq__(self, other) -> bool:
        """Equal in every field; NaN equals NaN."""
        return isinstance(other, Burst) and all(
            np.array_equal(mine, theirs, equal_nan=True) if isinstance(mine, np.ndarray) and mine.dtype.kind == "f"
            else np.array_equal(mine, theirs)
            for mine, theirs in ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        )


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

    Raises CodecError for a record that does not fit the schema.
    """
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
    timezone = burst.timezone.encode()
    return b"".join((
        HEADERS["reading_burst"],
        _write_longs([burst.house_id, len(timezone)]), timezone,
        _write_longs([burst.start_ms, burst.end_ms, burst.tick_ms]),
        _write_int_array(burst.meter_ids),
        _write_int_array(burst.counts),
        _write_int_array(burst.deltas),
        _write_float_array(burst.watts),
    ))


def decode_burst(payload: bytes) -> Burst:
    """The burst in a message. Raises CodecError for anything else; what its numbers mean is not judged here."""
    if payload[:HEADER_BYTES] != HEADERS["reading_burst"]:
        raise CodecError(f"a message of schema {schema_name(payload)}, where a reading_burst was expected")
    try:
        house_id, at = _read_long(payload, HEADER_BYTES)
        size, at = _read_long(payload, at)
        if not 0 <= size <= len(payload) - at:
            raise CodecError(f"malformed reading_burst: a timezone of {size} bytes")
        timezone, at = payload[at:at + size].decode(), at + size
        start_ms, at = _read_long(payload, at)
        end_ms, at = _read_long(payload, at)
        tick_ms, at = _read_long(payload, at)
        meter_ids, at = _read_array(payload, at, _read_ints)
        counts, at = _read_array(payload, at, _read_ints)
        deltas, at = _read_array(payload, at, _read_ints)
        watts, at = _read_array(payload, at, _read_floats)
    except (IndexError, UnicodeDecodeError) as error:
        reason = "it ends too early" if isinstance(error, IndexError) else "a timezone that is not UTF-8"
        raise CodecError(f"malformed reading_burst: {reason}") from error
    if at != len(payload):
        raise CodecError(f"malformed reading_burst: {len(payload) - at} bytes too many")
    if not -(2**31) <= tick_ms < 2**31:
        raise CodecError("malformed reading_burst: a tick_ms beyond 32 bits")
    return Burst(house_id, timezone, start_ms, end_ms, tick_ms, meter_ids, counts, deltas, watts)


def _write_longs(values) -> bytes:
    """Zigzag varints (Avro specification, "Binary encoding") of 64-bit values, one after another."""
    out = bytearray()
    for value in values:
        if not -(2**63) <= value < 2**63:
            raise CodecError(f"{value} is beyond 64 bits")
        rest = (value << 1) ^ (value >> 63)
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


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
    return _write_longs([len(values)]) + body.tobytes() + b"\0"


def _write_float_array(values: np.ndarray) -> bytes:
    if not len(values):
        return b"\0"
    return _write_longs([len(values)]) + values.astype("<f4", copy=False).tobytes() + b"\0"


def _read_long(payload: bytes, at: int) -> tuple[int, int]:
    """(value, position after it) of the zigzag varint at `at`."""
    byte = payload[at]
    value, shift = byte & 0x7F, 7
    at += 1
    while byte > 0x7F:
        if shift > 63:
            raise CodecError("malformed reading_burst: a number of more than 10 bytes")
        byte = payload[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
    value = (value >> 1) ^ -(value & 1)
    if not -(2**63) <= value < 2**63:
        raise CodecError("malformed reading_burst: a number beyond 64 bits")
    return value, at


def _read_array(payload: bytes, at: int, read_block) -> tuple[np.ndarray, int]:
    """(array, position after it): blocks of items until an empty one; a negative count is followed by a size."""
    blocks = []
    while True:
        count, at = _read_long(payload, at)
        if count == 0:
            break
        if count < 0:
            count, (_, at) = -count, _read_long(payload, at)
        if count > len(payload) - at:  # an item takes a byte or more
            raise CodecError(f"malformed reading_burst: an array block of {count} items in {len(payload) - at} bytes")
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
    if count < FEW:
        values = []
        for _ in range(count):
            value, at = _read_long(payload, at)
            values.append(value)
        if values and not -(2**31) <= min(values) <= max(values) < 2**31:
            raise CodecError("malformed reading_burst: an int beyond 32 bits")
        return np.array(values, np.int32), at
    return _read_long_ints(payload, at, count)


def _read_long_ints(payload: bytes, at: int, count: int) -> tuple[np.ndarray, int]:
    """Like _read_ints, for many ints of 1 to 5 bytes each."""
    raw = np.frombuffer(payload, np.uint8, min(5 * count, len(payload) - at), at)
    ends = np.flatnonzero(raw < 0x80)[:count]
    if len(ends) < count:
        raise CodecError("malformed reading_burst: an int array that ends too early or exceeds 32 bits")
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > 5:
        raise CodecError("malformed reading_burst: an int of more than 5 bytes")
    used = raw[:ends[-1] + 1].astype(np.int64)
    shift = 7 * (np.arange(len(used)) - np.repeat(ends - lengths + 1, lengths))
    zigzag = np.add.reduceat((used & 0x7F) << shift, ends - lengths + 1)
    if zigzag.max() >= 2**32:
        raise CodecError("malformed reading_burst: an int beyond 32 bits")
    return ((zigzag >> 1) ^ -(zigzag & 1)).astype(np.int32), at + int(ends[-1]) + 1


_SHIFTS = np.arange(0, 35, 7, dtype=np.uint32)
_ZIGZAG_OF_BYTE = bytes(((n >> 1) ^ -(n & 1)) & 0xFF for n in range(256))
