"""Bodies of requests to the endpoint: unpacked within bounds, and ClickHouse's compressed blocks."""

from __future__ import annotations

import gzip
import zlib

import anyio
import lz4.frame
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from store import bodies
from store.errors import QueryError

PACK = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "lz4": lz4.frame.compress, "zstd": zstd.compress}


def code_of(body, encoding="", blocks=False, limit=1000):
    with pytest.raises(QueryError) as error:
        bodies.unpack(body, encoding, blocks, limit)
    return error.value.code


@pytest.mark.parametrize("encoding", PACK)
def test_one_frame_and_more(encoding):
    pack = PACK[encoding]
    assert bodies.unpack(pack(b"abc"), encoding, False, 3) == b"abc"
    assert bodies.unpack(b"", encoding, False, 3) == b""
    if encoding != "deflate":
        assert bodies.unpack(pack(b"abc") + pack(b"") + pack(b"def" * 100_000), encoding, False, 300_003) == b"abc" + b"def" * 100_000


@pytest.mark.parametrize("encoding", [*PACK][1:])
def test_what_would_be_too_long_is_unpacked_no_further(encoding):
    bomb = PACK[encoding](bytes(50_000_000))
    assert len(bomb) < 250_000
    assert code_of(bomb, encoding) == 307
    assert code_of(PACK[encoding](bytes(1001)), encoding) == 307
    assert len(bodies.unpack(PACK[encoding](bytes(1000)), encoding, False, 1000)) == 1000


@pytest.mark.parametrize("encoding", [*PACK][1:])
def test_what_is_not_so_packed(encoding):
    assert code_of(b"no such thing", encoding) == 271
    assert code_of(PACK[encoding](b"abcdefgh" * 50)[:-3], encoding) == 271
    assert code_of(b"x", "br") == 89


def test_block_of_clickhouse():
    """What `SELECT 1` gives with compress=1 from a ClickHouse server, by its documented form; CityHash128 1.0.2 of the rest in front."""
    [block] = [bodies.pack(b"1\n" * 20)]
    assert block[16] == 0x82 and int.from_bytes(block[17:21], "little") == len(block) - 16 and int.from_bytes(block[21:25], "little") == 40
    assert bodies.unpack(block, "", True, 40) == b"1\n" * 20


def test_checksum_is_cityhash_128_of_version_1_0_2():
    """Of nothing: 3df09dfc64c09a2b, 3cb540c392e51e29, as city's own tests have it."""
    assert bodies._checksum(b"") == bytes.fromhex("2b9ac064fc9df03d291ee592c340b53c")


@given(st.binary(max_size=3000))
def test_blocks_come_back(data):
    assert bodies.unpack(bodies.pack(data), "", True, 3000) == data


def test_long_answers_are_of_several_blocks():
    data = bytes(range(256)) * 10_000
    assert bodies.unpack(bodies.pack(data), "", True, len(data)) == data


def test_blocks_that_are_wrong_or_too_long():
    block = bodies.pack(b"abc" * 100)
    assert code_of(block[:-1], blocks=True) == 271
    assert code_of(block[:20], blocks=True) == 271
    assert code_of(bytes([block[0] ^ 1]) + block[1:], blocks=True) == 271
    assert code_of(block * 4, blocks=True) == 307
    assert code_of(b"SELECT 1", blocks=True) == 271


@pytest.mark.parametrize("name, every_s", [("SILENCE_S", 60), ("WHOLE_S", 0.02)])
def test_a_body_that_does_not_arrive_times_out(monkeypatch, name, every_s):
    monkeypatch.setattr(bodies, name, 0.2)

    async def receive():
        await anyio.sleep(every_s)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(QueryError) as error:
        anyio.run(bodies.read, Request({"type": "http", "method": "POST", "headers": []}, receive), 1000)
    assert error.value.code == 209
