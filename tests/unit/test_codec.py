"""The codec: fastavro is the judge of the vectorised reader and writer, malformed bytes raise CodecError alone."""

import io
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartmeter.messages.codec import Burst, Profile, decode, decode_burst, decode_profile, encode, encode_burst
from smartmeter.messages.schemas import EARLIER, FIRST_BURST_HEADER, HEADERS, SCHEMAS, CodecError

INT = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(-64, 63)
INTS = st.one_of(st.lists(SMALL, max_size=300), st.lists(INT, max_size=40), st.lists(st.one_of(SMALL, INT), max_size=100))
LONGS = st.lists(st.one_of(SMALL, LONG), max_size=60)
FLOATS = st.lists(st.floats(width=32), max_size=100)
NO_INTS = np.empty(0, np.int32)


@st.composite
def bursts(draw):
    ints = [np.array(draw(INTS), np.int32) for _ in range(5)]
    watts, energies = np.array(draw(FLOATS), np.float32), np.array(draw(LONGS), np.int64)
    return Burst(draw(LONG), draw(st.text(max_size=30)), draw(LONG), draw(LONG), draw(INT), *ints[:3], watts, *ints[3:], energies)


@st.composite
def profiles(draw):
    ints = [np.array(draw(INTS), np.int32) for _ in range(4)]
    floats = [np.array(draw(FLOATS), np.float32) for _ in range(3)]
    return Profile(draw(LONG), draw(INT), draw(LONG), draw(LONG), *ints, *floats)


COLUMNS = st.one_of(bursts(), profiles())
DECODE = {"reading_burst": decode_burst, "power_profile": decode_profile}


def name_of(columns) -> str:
    return {Burst: "reading_burst", Profile: "power_profile"}[type(columns)]


def record_of(columns) -> dict:
    """The record of a Burst or Profile, with plain lists."""
    names = [entry["name"] for entry in SCHEMAS[name_of(columns)]["fields"]]
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in zip(names, vars(columns).values())}


def written(columns) -> bytes:
    """A Burst or Profile as a message, by the vectorised writer."""
    return encode_burst(columns) if isinstance(columns, Burst) else encode("power_profile", vars(columns))


def long_bytes(value: int) -> bytes:
    """A zigzag varint, by fastavro."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()


def blocks(items: list[bytes], cuts: list[int], sized: list[bool]) -> bytes:
    """An Avro array cut into several blocks; a sized one has a negative count and its size in bytes."""
    edges = [0, *sorted(cut % (len(items) + 1) for cut in cuts), len(items)]
    out = b""
    for i, (begin, end) in enumerate(pairwise(edges)):
        if begin == end:
            continue
        body = b"".join(items[begin:end])
        if sized[i % len(sized)]:
            out += long_bytes(begin - end) + long_bytes(len(body)) + body
        else:
            out += long_bytes(end - begin) + body
    return out + b"\0"


@given(COLUMNS)
def test_vectorised_writer_gives_fastavros_bytes_and_the_reader_reads_them(columns):
    payload = written(columns)
    assert payload == encode(name_of(columns), record_of(columns))
    assert DECODE[name_of(columns)](payload) == columns
    name, record = decode(payload)
    assert name == name_of(columns)
    np.testing.assert_equal(record, record_of(columns))


@given(COLUMNS, st.lists(st.integers(0, 1000), max_size=4), st.lists(st.booleans(), min_size=1, max_size=4))
def test_any_block_structure_is_read_as_fastavro_reads_it(columns, cuts, sized):
    payload = HEADERS[name_of(columns)]
    for value in vars(columns).values():
        if isinstance(value, np.ndarray):
            items = [long_bytes(v) if value.dtype.kind == "i" else np.float32(v).tobytes() for v in value.tolist()]
            payload += blocks(items, cuts, sized)
        else:
            payload += long_bytes(len(value.encode())) + value.encode() if isinstance(value, str) else long_bytes(value)
    np.testing.assert_equal(decode(payload)[1], record_of(columns))
    assert DECODE[name_of(columns)](payload) == columns


@given(bursts())
def test_a_burst_of_the_first_schema_is_read_as_fastavro_reads_it(burst):
    header, record = FIRST_BURST_HEADER, record_of(burst)
    out = io.BytesIO(header)
    out.seek(len(header))
    fastavro.schemaless_writer(out, EARLIER[header][1], record)
    first = replace(burst, quantities=NO_INTS, holds_s=NO_INTS, energies=NO_INTS.astype(np.int64))
    assert decode_burst(out.getvalue()) == first
    np.testing.assert_equal(decode(out.getvalue())[1], record_of(first))


def test_the_bytes_of_a_burst_of_the_first_schema():
    """What the release before wrote of 5 s in which meter 1 drew 1.5 W at once and 2.5 W after 4 s, and meter 2 sent nothing."""
    payload = bytes.fromhex("c30128046f0dd40344cf0e0655544300904ed00f040204000404000004000800040000c03f0000204000")
    ints = [np.array(values, np.int32) for values in ([1, 2], [2, 0], [0, 4])]
    assert decode_burst(payload) == Burst(7, "UTC", 0, 5000, 1000, *ints, np.array([1.5, 2.5], np.float32))


@given(COLUMNS, st.data())
def test_damaged_bytes_raise_codec_error_or_still_decode(columns, data):
    payload = bytearray(written(columns))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(payload[: data.draw(st.integers(0, len(payload)))])
    for read in (*DECODE.values(), decode):
        with suppress(CodecError):
            read(damaged)


@given(st.sampled_from(list(DECODE)), st.binary(max_size=200))
def test_any_bytes_behind_a_header_raise_codec_error_or_decode_alike(name, body):
    payload = HEADERS[name] + body
    try:
        columns = DECODE[name](payload)
    except CodecError:
        return
    np.testing.assert_equal(decode(payload)[1], record_of(columns))


@given(st.binary(max_size=100))
def test_bytes_of_another_kind_are_named_as_such(payload):
    for read in (*DECODE.values(), decode):
        with pytest.raises(CodecError):
            read(payload)


@pytest.mark.parametrize(
    "payload, message",
    [
        (b"", "begins with nothing"),
        (b"{}", "begins with 7b7d, not c301"),
        (b"\xc3\x01" + bytes(8), "fingerprint 0000000000000000 is none of those"),
        (
            encode(
                "daily_energy",
                dict(
                    house_id=1,
                    meter_id=1,
                    date=1,
                    kwh=1.0,
                    readings=1,
                    duplicates=0,
                    covered_s=1.0,
                    max_gap_s=1.0,
                    day_s=86400,
                    final=True,
                    revision=1,
                ),
            ),
            "schema daily_energy",
        ),
        (HEADERS["reading_burst"], "ends too early"),
        (HEADERS["reading_burst"] + b"\xff" * 12, "more than 10 bytes"),
        (HEADERS["reading_burst"] + b"\x02\x04\xff\xfe" + bytes(9), "not UTF-8"),
        (HEADERS["reading_burst"] + b"\x02\x00\x00\x00\x00" + long_bytes(2**40), "array block of 1099511627776 items"),
        (HEADERS["reading_burst"] + b"\x02\x00\x00\x00\x00" + bytes(7) + b"!", "1 bytes too many"),
    ],
)
def test_a_fault_is_reported(payload, message):
    with pytest.raises(CodecError, match=message):
        decode_burst(payload)


@pytest.mark.parametrize(
    "payload, message",
    [
        (HEADERS["reading_burst"], "^a message of schema reading_burst, where a power_profile was expected$"),
        (HEADERS["power_profile"], "^malformed power_profile: it ends too early$"),
        (HEADERS["power_profile"] + b"\x02" + long_bytes(2**31), "^malformed power_profile: an int beyond 32 bits$"),
        (HEADERS["power_profile"] + bytes(11) + b"!", "^malformed power_profile: 1 bytes too many$"),
    ],
)
def test_a_fault_is_reported_for_the_schema_that_was_read(payload, message):
    with pytest.raises(CodecError, match=message):
        decode_profile(payload)


def test_a_record_that_does_not_fit_is_refused():
    with pytest.raises(CodecError, match="does not fit schema late"):
        encode("late", {"partition": 1})
    with pytest.raises(CodecError, match="beyond 64 bits"):
        encode_burst(Burst(2**63, "UTC", 0, 1, 1, *[np.empty(0, np.int32)] * 3, np.empty(0, np.float32)))
    with pytest.raises(CodecError, match="beyond 64 bits"):
        encode("power_profile", vars(Profile(1, 1, 2**63, 0, *[np.empty(0, np.int32)] * 4, *[np.empty(0, np.float32)] * 3)))
    with pytest.raises(CodecError, match="is int32, not int64"):
        encode_burst(Burst(1, "UTC", 0, 1, 1, np.array([1]), *[np.empty(0, np.int32)] * 2, np.empty(0, np.float32)))
