"""Reads and unpacks the bodies of HTTP requests, within limits of time and size."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import anyio
from starlette.requests import Request


class TooLong(Exception):
    """A body has more bytes than its limit."""


class Stalled(Exception):
    """A body stopped arriving, or took too long as a whole."""


class Unpacker(Protocol):
    """The interface that decompressors of zlib, lz4 and zstd share."""

    @property
    def eof(self) -> bool:
        """Whether the compressed data has ended."""

    @property
    def unused_data(self) -> bytes:
        """What follows the compressed data."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """The next bytes unpacked, at most max_length."""


def gzip_unpacker() -> Unpacker:
    """Unpacks one member of gzip."""
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


async def read(request: Request, limit: int, silence_s: float, whole_s: float) -> bytes:
    """The body as sent, up to `limit` bytes. Raises TooLong or Stalled.

    silence_s: the longest time without progress, in s. whole_s: that for the whole body.
    """
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        raise TooLong
    pieces: list[bytes] = []
    size, stream, end_s = 0, aiter(request.stream()), anyio.current_time() + whole_s
    while True:
        try:
            with anyio.fail_after(min(silence_s, end_s - anyio.current_time())):
                piece = await anext(stream, None)
        except TimeoutError:
            raise Stalled from None
        if piece is None:
            return b"".join(pieces)
        size += len(piece)
        if size > limit:
            raise TooLong
        pieces.append(piece)


def unpack_frames(data: bytes, unpacker: Callable[[], Unpacker], limit: int) -> bytes:
    """Unpack all frames of the data to at most `limit` bytes: clickhouse-connect sends one for each block.

    Raises TooLong, EOFError if the data ends early, and what the library raises for data that it cannot unpack.
    """
    pieces, size = [], 0
    while data:
        one = unpacker()
        while not one.eof:
            piece = one.decompress(data, limit + 1 - size)
            size += len(piece)
            if size > limit:
                raise TooLong
            pieces.append(piece)
            data = getattr(one, "unconsumed_tail", b"")
            if not piece and not data and not one.eof:
                raise EOFError("it ends early")
        data = one.unused_data
    return b"".join(pieces)
