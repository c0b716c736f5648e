"""Native as clients expect it that name a client_protocol_version."""

from __future__ import annotations

import pytest

from store import native
from store.errors import QueryError


def string(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def block(rows: int, *columns: tuple[str, bytes]) -> bytes:
    """A block of version 0."""
    return bytes([len(columns), rows]) + b"".join(string("c") + string(name) + data for name, data in columns)


def with_byte(rows: int, *columns: tuple[str, bytes]) -> bytes:
    """The same of version 54454."""
    return native.BLOCK_INFO + bytes([len(columns), rows]) + b"".join(string("c") + string(name) + b"\0" + data for name, data in columns)


U64 = (5).to_bytes(8, "little")
LOW = (1).to_bytes(8, "little")  # version of the dictionary
COLUMNS = [
    ("UInt8", b"ab"),
    ("Bool", b"\0\1"),
    ("DateTime64(3, 'Europe/London')", bytes(16)),
    ("DateTime('UTC')", bytes(8)),
    ("Date", bytes(4)),
    ("Decimal(9, 2)", bytes(8)),
    ("Decimal(18, 2)", bytes(16)),
    ("Decimal(38, 2)", bytes(32)),
    ("Decimal(76, 2)", bytes(64)),
    ("FixedString(3)", b"abcdef"),
    ("Enum8('a\\'(' = 1, 'b,' = 2)", b"\1\2"),
    ("UUID", bytes(32)),
    ("IPv4", bytes(8)),
    ("IntervalDay", bytes(16)),
    ("Nothing", b"00"),
    ("String", b"\x01x\x00"),
    ("String", b"\x80\x01" + b"y" * 128 + b"\x02zz"),
    ("Nullable(String)", b"\0\1" + b"\x01x\x00"),
    ("Array(UInt16)", (1).to_bytes(8, "little") + (3).to_bytes(8, "little") + b"aabbcc"),
    ("Array(String)", bytes(16)),
    ("Tuple(a UInt8, `b c` Nullable(Int16))", b"ab" + b"\0\0" + b"ccdd"),
    ("Tuple()", b"00"),
    ("Map(String, UInt8)", (1).to_bytes(8, "little") * 2 + b"\x01k" + b"v"),
    ("Nested(a UInt8, b String)", (1).to_bytes(8, "little") * 2 + b"x" + b"\x01y"),
    (
        "LowCardinality(String)",
        LOW + (0x600).to_bytes(8, "little") + (2).to_bytes(8, "little") + b"\x00\x01x" + (2).to_bytes(8, "little") + b"\1\0",
    ),
    (
        "LowCardinality(Nullable(String))",
        LOW + (0x601).to_bytes(8, "little") + (2).to_bytes(8, "little") + b"\x00\x01x" + (2).to_bytes(8, "little") + b"\1\0\0\0",
    ),
    ("SimpleAggregateFunction(anyLast, UInt32)", bytes(8)),
    ("Point", bytes(32)),
]


@pytest.mark.parametrize("column", COLUMNS, ids=[name for name, _ in COLUMNS])
def test_each_type_ends_where_the_next_column_begins(column):
    columns = column, ("UInt8", b"!?"), column
    assert native.of_version(block(2, *columns) * 2, 54_460) == with_byte(2, *columns) * 2


def test_versions():
    data = block(1, ("UInt8", b"!"))
    assert native.of_version(data, 0) == native.of_version(data, 51_902) == data
    assert native.of_version(data, 51_903) == native.of_version(data, 54_453) == native.BLOCK_INFO + data
    assert native.of_version(data, 54_454) == with_byte(1, ("UInt8", b"!"))
    assert native.of_version(b"", 54_460) == b""


def test_one_block_is_of_any_type_where_none_has_to_be_looked_into():
    data = block(1, ("JSON", b"?"), ("UInt8", b"!"))
    assert native.of_version(data, 54_453, one_block=True) == native.BLOCK_INFO + data
    assert native.of_version(b"", 54_453, one_block=True) == b""
    with pytest.raises(QueryError):
        native.of_version(data, 54_454, one_block=True)


def test_a_block_without_rows_has_no_data():
    assert native.of_version(block(0, ("LowCardinality(String)", b""), ("String", b"")), 54_454) == with_byte(
        0, ("LowCardinality(String)", b""), ("String", b"")
    )


@pytest.mark.parametrize("name", ["AggregateFunction(sum, UInt8)", "JSON", "Dynamic", "Variant(String, UInt8)", "Array(Dynamic)"])
def test_types_that_are_not_served(name):
    with pytest.raises(QueryError, match="NOT_IMPLEMENTED") as error:
        native.of_version(block(1, (name, (1).to_bytes(8, "little") * 10)), 54_454)
    assert error.value.code == 48


def test_headers_of_row_binary():
    assert native.header_bytes(b"\x02\x01a\x02bb" + b"data", 1) == 6
    assert native.header_bytes(b"\x02\x01a\x02bb\x05UInt8\x06String" + b"data", 2) == 19
