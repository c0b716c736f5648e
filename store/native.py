"""ClickHouse's format Native for clients that send a client_protocol_version.

The embedded engine writes Native of version 0. From version 51903, a block begins with a BlockInfo. From version 54454, each
column has a byte after its type that states its serialisation: 0 is that of version 0. To insert that byte, this module finds
the end of each column. The formats are those of ClickHouse's NativeWriter, BlockInfo and SerializationX.
"""

from __future__ import annotations

import re
from struct import Struct

from store.errors import QueryError

WITH_BLOCK_INFO, WITH_CUSTOM_SERIALIZATION = 51_903, 54_454
BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
"""Field 1: no overflow; field 2: no bucket (-1); no more fields."""

_U64 = Struct("<Q")
_FIXED = {
    1: "UInt8 Int8 Bool Enum8 Nothing",
    2: "UInt16 Int16 BFloat16 Date Enum16",
    4: "UInt32 Int32 Float32 Date32 DateTime IPv4 Time",
    8: "UInt64 Int64 Float64 DateTime64 Time64",
    16: "UInt128 Int128 UUID IPv6",
    32: "UInt256 Int256",
}
_BYTES = {name: size for size, names in _FIXED.items() for name in names.split()}
_ALIASES = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "Polygon": "Array(Ring)",
    "MultiLineString": "Array(LineString)",
    "MultiPolygon": "Array(Polygon)",
}
_NAMED = re.compile(r"(?:`(?:[^`\\]|\\.)*`|\w+)\s+(?=[A-Z])")


def of_version(blocks: bytes, version: int, one_block: bool = False) -> bytes:
    """Whole blocks of version 0 as blocks of another version. one_block: the bytes are exactly one block.

    Raises QueryError for columns of an unsupported type, if the version requires parsing them.
    """
    if version < WITH_BLOCK_INFO or not blocks:
        return blocks
    custom = b"\0" if version >= WITH_CUSTOM_SERIALIZATION else b""
    if one_block and not custom:
        return BLOCK_INFO + blocks
    pieces: list[bytes] = []
    cursor = _Cursor(blocks)
    while cursor.at < len(blocks):
        start = cursor.at
        columns, rows = cursor.varint(), cursor.varint()
        pieces += BLOCK_INFO, blocks[start : cursor.at]
        for _ in range(columns):
            start = cursor.at
            cursor.string()
            type_name = cursor.string().decode()
            behind_type = cursor.at
            if rows:
                cursor.prefix(type_name)
                cursor.column(type_name, rows)
            pieces += blocks[start:behind_type], custom, blocks[behind_type : cursor.at]
    return b"".join(pieces)


def header_bytes(data: bytes, strings: int) -> int:
    """Length of the header of RowBinaryWithNames (strings=1) or RowBinaryWithNamesAndTypes (2)."""
    cursor = _Cursor(data)
    cursor.strings(strings * cursor.varint())
    return cursor.at


class _Cursor:
    """A position in blocks of Native. Its methods read or skip an item and move past it."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def u64(self) -> int:
        self.at += 8
        return int(_U64.unpack_from(self.data, self.at - 8)[0])

    def string(self) -> bytes:
        size = self.varint()
        self.at += size
        return self.data[self.at - size : self.at]

    def strings(self, count: int) -> None:
        data, at = self.data, self.at
        for _ in range(count):
            size = data[at]
            if size < 0x80:
                at += size + 1
            else:
                self.at = at
                at = self.varint() + self.at
        self.at = at

    def prefix(self, type_name: str) -> None:
        """Skip what some types write once per block, before the column."""
        name, inner = _parse(type_name)
        if name == "LowCardinality":
            self.at += 8
        elif name != "SimpleAggregateFunction":
            for one in inner:
                self.prefix(one)
        else:
            self.prefix(inner[-1])

    def column(self, type_name: str, rows: int) -> None:
        """Skip the values of a column."""
        name, inner = _parse(type_name)
        if name == "String":
            self.strings(rows)
        elif name == "Nullable":
            self.at += rows
            self.column(inner[0], rows)
        elif name == "Array":
            self.at += 8 * rows
            if count := _U64.unpack_from(self.data, self.at - 8)[0] if rows else 0:
                self.column(inner[0], count)
        elif name == "Tuple":
            self.at += 0 if inner else rows
            for one in inner:
                self.column(one, rows)
        elif name == "LowCardinality":
            self._low_cardinality(inner[0], rows)
        elif name == "SimpleAggregateFunction":
            self.column(inner[-1], rows)
        else:
            self.at += rows * _size(name, type_name)

    def _low_cardinality(self, type_name: str, rows: int) -> None:
        if not rows:
            return
        index_bytes = 1 << (self.u64() & 0xFF)
        name, inner = _parse(type_name)
        self.column(inner[0] if name == "Nullable" else type_name, self.u64())
        count = self.u64()
        self.at += index_bytes * count


def _size(name: str, type_name: str) -> int:
    """Bytes of a value of a fixed-size type. Raises QueryError for any other type."""
    if name in _BYTES:
        return _BYTES[name]
    if name.startswith("Interval"):
        return 8
    arguments = re.match(r"\w+\((\d+)", type_name)
    if name == "FixedString" and arguments:
        return int(arguments[1])
    if name == "Decimal" and arguments:
        return next(size for size, digits in ((4, 9), (8, 18), (16, 38), (32, 76)) if int(arguments[1]) <= digits)
    raise QueryError.named(
        48,
        f"Type {type_name} is not served in Native with client_protocol_version: convert it, for example with toString(), "
        "or choose another format",
        "NOT_IMPLEMENTED",
    )


def _parse(type_name: str) -> tuple[str, list[str]]:
    """(name, inner types). Map and Nested become arrays of tuples, as they are stored."""
    type_name = _ALIASES.get(type_name, type_name)
    name, bracket, rest = type_name.partition("(")
    if not bracket or name not in ("Array", "Nullable", "LowCardinality", "SimpleAggregateFunction", "Tuple", "Map", "Nested"):
        return name, []
    inner = _split(rest[:-1])
    if name in ("Tuple", "Nested"):
        inner = [one[found.end() :] if (found := _NAMED.match(one)) else one for one in inner]
    if name in ("Map", "Nested"):
        return "Array", [f"Tuple({', '.join(inner)})"]
    return name, inner


def _split(arguments: str) -> list[str]:
    """Split arguments at commas, except within brackets and quotes."""
    pieces: list[str] = []
    depth, start, quote, at = 0, 0, "", 0
    while at < len(arguments):
        char = arguments[at]
        if quote:
            at += char == "\\"
            quote = "" if char == quote else quote
        elif char in "'`":
            quote = char
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "," and not depth:
            pieces.append(arguments[start:at].strip())
            start = at + 1
        at += 1
    last = arguments[start:].strip()
    return [*pieces, last] if last else pieces
