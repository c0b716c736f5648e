"""Bodies of requests, within limits of time and size. test_bodies.py has the formats of ClickHouse."""

from __future__ import annotations

import gzip
import zlib

import anyio
import pytest
from starlette.requests import Request

from smartmeter.http_bodies import Stalled, TooLong, gzip_unpacker, read, unpack_frames


def body(pieces, limit, headers=(), every_s=0.0, silence_s=60, whole_s=60):
    async def receive():
        await anyio.sleep(every_s)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    return anyio.run(read, Request({"type": "http", "method": "POST", "headers": headers}, receive), limit, silence_s, whole_s)


def test_a_body_up_to_its_limit():
    assert body([b"abc", b"", b"de"], 5) == b"abcde"
    with pytest.raises(TooLong):
        body([b"abc", b"def"], 5)
    with pytest.raises(TooLong):
        body([], 5, [(b"content-length", b"6")])


def test_a_body_that_does_not_arrive():
    with pytest.raises(Stalled):
        body([b"a"], 5, every_s=60, silence_s=0.01)
    with pytest.raises(Stalled):
        body([b""] * 9999, 5, every_s=0.001, whole_s=0.02)


def test_what_is_packed():
    assert unpack_frames(gzip.compress(b"ab") + gzip.compress(b"c"), gzip_unpacker, 3) == b"abc"
    with pytest.raises(TooLong):
        unpack_frames(gzip.compress(bytes(10_000_000)), gzip_unpacker, 9)
    with pytest.raises(zlib.error):
        unpack_frames(b"no gzip", gzip_unpacker, 9)
    with pytest.raises(EOFError):
        unpack_frames(gzip.compress(b"ab")[:-1], gzip_unpacker, 9)
