"""The index of the topic by the time of its readings: what a message's time is, and where a time begins."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartmeter.kafka.event_times import BLOCK, HOUSE, NEVER, _load, _save, _start, makes_sense, times
from smartmeter.messages.codec import Burst, encode_burst
from smartmeter.messages.schemas import FIRST_BURST_HEADER, HEADER_BYTES, HEADERS
from smartmeter.settings import DAY_MS, Settings

START_MS = 1_303_099_200_000
BURST = Burst(
    7,
    "America/Argentina/ComodRivadavia",
    START_MS,
    START_MS + 900_000,
    1000,
    np.array([1, 2], np.int32),
    np.array([1, 0], np.int32),
    np.array([0], np.int32),
    np.array([5.0], np.float32),
)
Y2K_MS = 946_684_800_000
SOON_MS = round(time.time() * 1000) + DAY_MS // 2


class Received:
    """A message of Kafka's client."""

    def __init__(self, value: bytes | None, timestamp_ms: int):
        self.value, self.timestamp = lambda: value, lambda: (1, timestamp_ms)


def span(value: bytes | None, timestamp_ms: int) -> list[int]:
    """First and last time of a message, among others, and its house."""
    others = [Received(encode_burst(BURST), 3), Received(b"", 4)]
    found = times(Settings(), [others[0], Received(value, timestamp_ms), others[1]]).tolist()
    assert (found[0], found[2]) == ([BURST.start_ms, BURST.end_ms, 7], [4, 4, 0])
    return found[1]


@pytest.mark.parametrize("timestamp_ms", [0, -1, START_MS // 1000, START_MS, START_MS * 1_000_000, 2**63 - 1, -(2**63)])
def test_a_burst_has_its_own_time_whatever_kafka_has(timestamp_ms):
    assert span(encode_burst(BURST), timestamp_ms) == [BURST.start_ms, BURST.end_ms, 7]
    assert span(FIRST_BURST_HEADER + encode_burst(BURST)[HEADER_BYTES:-3], timestamp_ms) == [BURST.start_ms, BURST.end_ms, 7]
    soon = replace(BURST, start_ms=SOON_MS - 1000, end_ms=SOON_MS, house_id=2**62)
    assert span(encode_burst(soon), timestamp_ms) == [SOON_MS - 1000, SOON_MS, 2**62]


NONE_THAT_MAKES_SENSE = [
    None,
    b"",
    b"not Avro",
    HEADERS["reading_burst"],
    encode_burst(BURST)[:20],
    HEADERS["house"] + encode_burst(BURST)[10:],
    encode_burst(replace(BURST, end_ms=BURST.start_ms)),
    encode_burst(replace(BURST, start_ms=-1, end_ms=5)),
    encode_burst(replace(BURST, start_ms=Y2K_MS, end_ms=Y2K_MS + 1000)),
    encode_burst(replace(BURST, end_ms=BURST.start_ms + 8 * DAY_MS)),
    encode_burst(replace(BURST, start_ms=SOON_MS, end_ms=SOON_MS + 2 * DAY_MS)),
    encode_burst(replace(BURST, timezone="x" * 200)),
    encode_burst(replace(BURST, start_ms=-(2**63), end_ms=2**63 - 1)),
]


@pytest.mark.parametrize("value", NONE_THAT_MAKES_SENSE, ids=range(len(NONE_THAT_MAKES_SENSE)))
def test_another_message_has_kafkas_time_unless_that_lies_in_the_future(value):
    assert [span(value, timestamp_ms) for timestamp_ms in (-1, 0, START_MS, 2**63 - 1)] == [
        [-1, -1, 0],
        [0, 0, 0],
        [START_MS, START_MS, 0],
        [NEVER, NEVER, 0],
    ]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 100)), max_size=20), st.integers(0, 30), st.integers(0, 101))
def test_no_message_in_front_of_the_start_reaches_the_time(sizes_and_newest, begin, time_ms):
    blocks = np.array(
        [(0, behind, newest) for behind, (_, newest) in zip(np.cumsum([size for size, _ in sizes_and_newest]), sizes_and_newest)], BLOCK
    )
    end = max(begin, int(blocks["behind"].max(initial=0)))
    newest_of = [newest for size, newest in sizes_and_newest for _ in range(size)]
    wanted = [offset for offset, newest in enumerate(newest_of) if offset >= begin and newest >= time_ms]
    start = _start(blocks, begin, end, time_ms)
    assert begin <= start <= end and all(offset >= start for offset in wanted)
    if not any(newest >= time_ms for newest in newest_of):
        assert start == end


def test_the_index_is_kept_and_one_that_is_damaged_is_made_anew(tmp_path):
    file, blocks = tmp_path / "index" / "a topic.npy", np.array([(0, 5, 7), (3, 9, -1)], BLOCK)
    assert len(_load(file, BLOCK)) == 0
    _save(file, blocks)
    assert len(_load(file, HOUSE)) == 0 and _load(file, BLOCK).tolist() == blocks.tolist() and file.parent.stat().st_mode & 0o77 == 0
    for content in (b"", b"no index", file.read_bytes()[:-3]):
        file.write_bytes(content)
        assert len(_load(file, BLOCK)) == 0
    np.save(file, np.array([{"a": "pickle"}], object), allow_pickle=True)
    assert len(_load(file, BLOCK)) == 0


def test_a_burst_of_other_times_than_any_meter_has_makes_no_sense():
    ends = {BURST.end_ms: True, BURST.start_ms: False, BURST.start_ms + 7 * DAY_MS: True, BURST.start_ms + 7 * DAY_MS + 1: False}
    assert {end_ms: makes_sense(Settings(), BURST.start_ms, end_ms) for end_ms in ends} == ends
    assert not makes_sense(Settings(), Y2K_MS, Y2K_MS + 1000) and not makes_sense(Settings(), SOON_MS, SOON_MS + 2 * DAY_MS)
