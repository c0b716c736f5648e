"""Messages to batches: whatever a message holds, it becomes a result, a late record or a dead letter, and the stream goes on."""

import logging
import time
from collections import Counter
from string import printable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.batches import house_batches
from jobs.core.readings import LATEST_MS, MOST_METERS, why_bad
from jobs.flink.kafka_tables import LATEST_RECEIVED_MS
from jobs.flink.to_batches import MOST_BYTES_AT_ONCE, MOST_SECTIONS_AT_ONCE, Messages
from smartmeter.messages.codec import Burst, decode_burst, encode_burst
from smartmeter.messages.schemas import CodecError
from smartmeter.run import Run
from smartmeter.settings import DAY_MS, Settings
from smartmeter.timezones import names
from tests.unit.flink_stand_in import FlinkStandIn
from tests.unit.logs import HOUR_MS, START_MS, burst
from tests.unit.messages import good, houses, of_meters, run, stages, to_batches

EXTREMES = [0, 1, -1, 2**31 - 1, -(2**31)]
ZONES = (
    st.sampled_from(sorted(names()))
    | st.text(printable, max_size=40)
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "__init__/UTC",
            "posix/UTC",
            "right/UTC",
            "localtime",
            "Factory",
            "../UTC",
            "/etc/localtime",
            "Europe",
            "Europe/",
            "europe/london",
            "tzdata.zi",
        ]
    )
)
TIMES = st.sampled_from(
    [0, 1, -1, 2**63 - 1, -(2**63), LATEST_MS, LATEST_MS + 1, 2 * DAY_MS, 2 * DAY_MS - 1, START_MS, START_MS * 1000, 2**53]
)
INTS = st.lists(st.sampled_from(EXTREMES) | st.integers(-(2**31), 2**31 - 1) | st.integers(0, 5), max_size=6)
POWERS = st.floats(width=32) | st.sampled_from([0, -0.0, 1e9, 65535, 2.0**31, 2.0**32])


@st.composite
def any_burst(draw) -> Burst:
    """Fields of the right types; in most of them the columns fit together."""
    start_ms = draw(TIMES | st.integers(0, 60).map(lambda n: START_MS + n * HOUR_MS))
    end_ms = draw(TIMES | st.sampled_from([start_ms + length for length in (1, 1000, HOUR_MS, 30 * HOUR_MS, 7 * DAY_MS, 7 * DAY_MS + 1)]))
    meters = draw(INTS | st.lists(st.integers(1, 4) | st.just(2**31 - 1), unique=True, max_size=4))
    fits = draw(st.integers(0, 5))
    counts = [draw(st.integers(0, 4)) for _ in meters] if fits else draw(INTS)
    deltas = draw(st.lists(st.integers(0, 900), min_size=sum(counts), max_size=sum(counts)) if fits else INTS)
    watts = draw(st.lists(POWERS, min_size=len(deltas), max_size=len(deltas)) if fits else st.lists(POWERS, max_size=5))
    ints = [np.array(column, np.int32) for column in (meters, counts, deltas)]
    clip = [max(-(2**63), min(value, 2**63 - 1)) for value in (start_ms, end_ms)]
    return Burst(
        draw(st.sampled_from([1, 2, 3, 2**63 - 1, 2**31, 0, -1, -(2**63)])),
        draw(ZONES),
        *clip,
        draw(st.sampled_from([1, 1000, 1000, 60_000, 2**31 - 1, 0, -1])),
        *ints,
        np.array(watts, np.float32),
    )


def encoded(burst: Burst) -> bytes:
    try:
        return encode_burst(burst)
    except (CodecError, UnicodeEncodeError):
        return b""


MESSAGES = st.lists(any_burst().map(encoded) | st.none() | st.binary(max_size=30), min_size=1, max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(MESSAGES, st.sampled_from([0, 1, START_MS, LATEST_RECEIVED_MS])), min_size=1, max_size=3))
def test_every_message_becomes_results_late_records_or_a_dead_letter(calls):
    keyed, offset = FlinkStandIn(), 0
    for payloads, received_ms in calls:
        before = Counter(
            {name: keyed.counted[name] for name in ("readings_used", "readings_duplicate", "readings_refused", "readings_late")}
        )
        found = run(payloads, keyed, received_ms, offset)
        dead = {record["offset"]: record for topic, record in found if topic == "dead_letter"}
        latest_ms = round(time.time() * 1000) + DAY_MS
        bad = {offset + i for i, payload in enumerate(payloads) if why_bad(payload or b"", latest_ms, Settings().rules.oldest_ms)}
        assert set(dead) == bad and keyed.counted["messages_failed"] == 0
        assert all(
            record["payload"] == (payloads[at - offset] or b"") and record["reason"] and record["received"] == received_ms
            for at, record in dead.items()
        )
        readings = sum(len(decode_burst(payload).watts) for i, payload in enumerate(payloads) if offset + i not in bad)
        assert sum(keyed.counted[name] for name in before) - before.total() == readings
        offset += len(payloads)


@pytest.mark.parametrize(
    "zone", ["__init__/UTC", "posix/UTC", "right/Europe/London", "localtime", "Factory", "posixrules", "", ".", "Europe", "utc\0"]
)
def test_a_name_that_is_no_time_zone_is_a_dead_letter(zone):
    payload = encode_burst(burst(START_MS, START_MS + 1000, {1: [(START_MS, 5)]}, zone))
    [(topic, record)] = run([payload], FlinkStandIn())
    assert topic == "dead_letter" and "is no IANA time zone" in record["reason"]


def test_a_message_on_which_decoding_fails_is_a_dead_letter_and_the_others_are_used(monkeypatch, caplog):
    def broken(readings, *rest, whole=house_batches):
        if 13 in readings.bursts["house_id"]:
            raise ZeroDivisionError("thirteen")
        return whole(readings, *rest)

    monkeypatch.setattr("jobs.flink.to_batches.house_batches", broken)
    payloads, counted, keyed = [good(house) for house in (1, 2, 13, 3, 4, 13, 5)], Counter(), FlinkStandIn()
    with caplog.at_level(logging.ERROR):
        rows = to_batches(payloads, START_MS, counted=counted)
    found = houses(rows, keyed, stages(Settings()))
    dead = [record for topic, record in found if topic == "dead_letter"]
    assert dead == [
        {
            "partition": 3,
            "offset": offset,
            "received": START_MS,
            "payload": payloads[offset],
            "reason": "the job fails on it: ZeroDivisionError: thirteen",
        }
        for offset in (2, 5)
    ]
    assert keyed.counted["readings_used"] == 5 and counted["readings"] == 5
    assert (counted["messages_failed"], counted["dead_letters"]) == (2, 2)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_a_run_of_one_house_leaves_out_the_others_and_the_dead_letters():
    payloads = [good(2), good(5), b"no burst", good(2, hour=1)]
    found = houses(to_batches(payloads, of_run=Run(house=2)), FlinkStandIn(), stages(Settings()))
    assert found and {record["house_id"] for _, record in found} == {2}


def test_large_messages_are_worked_on_in_parts(monkeypatch):
    sizes = [MOST_BYTES_AT_ONCE // 2, MOST_BYTES_AT_ONCE // 2, 1, 2 * MOST_BYTES_AT_ONCE, 1, 1]
    messages = Messages([bytes(size) for size in sizes], *[np.arange(6)] * 3)
    assert [part.offset.tolist() for part in messages.of_bounded_size()] == [[0, 1], [2], [3], [4, 5]]
    assert [len(part) for part in Messages([], *[np.arange(0)] * 3).of_bounded_size()] == [0]
    calls = []
    monkeypatch.setattr(
        "jobs.flink.to_batches.house_batches",
        lambda readings, *rest, whole=house_batches: (calls.append(len(readings.bursts)), whole(readings, *rest))[1],
    )
    keyed = FlinkStandIn()
    houses(to_batches([of_meters(MOST_METERS, 1, house) for house in range(1, 24)] + [good(99)]), keyed, [])
    assert max(calls) <= MOST_SECTIONS_AT_ONCE // (2 * MOST_METERS) and sum(calls) == 24
    assert keyed.counted["readings_used"] == 1
