"""Bodies of requests to the endpoint: ClickHouse's compressions and its errors. Packs answers."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from struct import Struct

import lz4.block
import lz4.frame
from backports import zstd
from clickhouse_cityhash.cityhash import CityHash128
from starlette.requests import Request

from smartmeter import http_bodies
from smartmeter.http_bodies import Unpacker, gzip_unpacker, unpack_frames
from store.errors import QueryError

SILENCE_S = 30
"""Longest time without progress of a body or an answer, in s."""

WHOLE_S = 300
"""Longest time for a whole body, or for the whole answer to a reader, in s."""

BLOCK_BYTES = 1 << 20
"""Largest block of an answer, unpacked."""

_CHECKSUM, _HEADER = Struct("<QQ"), Struct("<BII")  # method, size packed with this header, size unpacked
_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90


UNPACKERS: dict[str, Callable[[], Unpacker]] = {
    "gzip": gzip_unpacker,
    "deflate": lambda: zlib.decompressobj(zlib.MAX_WBITS),
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
}


async def read(request: Request, limit: int) -> bytes:
    """The body as sent, up to `limit` bytes. Raises QueryError for a longer body, or one that stops arriving."""
    try:
        return await http_bodies.read(request, limit, SILENCE_S, WHOLE_S)
    except http_bodies.TooLong:
        raise _too_long(limit) from None
    except http_bodies.Stalled:
        raise QueryError.named(209, f"The body stopped coming for {SILENCE_S} s, or took more than {WHOLE_S} s", "SOCKET_TIMEOUT") from None


def unpack(body: bytes, encoding: str, blocks: bool, limit: int) -> bytes:
    """A body unpacked to at most `limit` bytes.

    encoding: its Content-Encoding. blocks: whether it consists of ClickHouse's compressed blocks (decompress=1).
    Raises QueryError if it cannot be unpacked, or would be longer.
    """
    if encoding not in ("", "identity"):
        if encoding not in UNPACKERS:
            raise QueryError.named(
                89, f"Unknown compression method {encoding!r}; known are {', '.join(UNPACKERS)}", "UNKNOWN_COMPRESSION_METHOD"
            )
        try:
            body = unpack_frames(body, UNPACKERS[encoding], limit)
        except http_bodies.TooLong:
            raise _too_long(limit) from None
        except Exception as error:  # each library has its own kinds
            raise QueryError.named(271, f"The body is not {encoding}: {error}", "CANNOT_DECOMPRESS") from None
    return _unpack_blocks(body, limit) if blocks else body


def _unpack_blocks(data: bytes, limit: int) -> bytes:
    pieces, size, at = [], 0, 0
    while at < len(data):
        try:
            method, packed, unpacked = _HEADER.unpack_from(data, at + _CHECKSUM.size)
            end = at + _CHECKSUM.size + packed
            size += unpacked
            if size > limit:
                raise _too_long(limit)
            if packed < _HEADER.size or end > len(data) or data[at : at + _CHECKSUM.size] != _checksum(data[at + _CHECKSUM.size : end]):
                raise ValueError("a block's checksum is wrong")
            pieces.append(_unpack_block(method, data[at + _CHECKSUM.size + _HEADER.size : end], unpacked))
        except QueryError:
            raise
        except Exception as error:  # each library has its own kinds
            raise QueryError.named(271, f"The body is not of compressed blocks: {error}", "CANNOT_DECOMPRESS") from None
        at = end
    return b"".join(pieces)


def _unpack_block(method: int, data: bytes, size: int) -> bytes:
    if method == _LZ4:
        block: bytes = lz4.block.decompress(data, uncompressed_size=size)
    elif method == _ZSTD:
        block = zstd.ZstdDecompressor().decompress(data, size + 1)
    elif method == _NONE:
        block = data
    else:
        raise ValueError(f"its method {method:#x} is not known")
    if len(block) != size:
        raise ValueError(f"a block has {len(block)} bytes and not {size}")
    return block


def pack(data: bytes) -> bytes:
    """Data as ClickHouse's compressed blocks (compress=1): a checksum of 16 bytes, a header of 9 bytes, then LZ4.

    The format is that of ClickHouse's CompressedWriteBuffer. The checksum is CityHash128 of version 1.0.2.
    """
    blocks: list[bytes] = []
    for start in range(0, len(data), BLOCK_BYTES):
        piece = data[start : start + BLOCK_BYTES]
        packed = lz4.block.compress(piece, store_size=False)
        block = _HEADER.pack(_LZ4, len(packed) + _HEADER.size, len(piece)) + packed
        blocks += _checksum(block), block
    return b"".join(blocks)


def _checksum(block: bytes) -> bytes:
    halves = CityHash128(block)  # the low half comes first
    return _CHECKSUM.pack(halves >> 64, halves & 0xFFFF_FFFF_FFFF_FFFF)


def _too_long(limit: int) -> QueryError:
    return QueryError.named(307, f"The body is longer than {limit} bytes", "TOO_MANY_BYTES")
