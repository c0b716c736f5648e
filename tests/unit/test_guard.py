"""Whatever a message holds, it becomes a result, a late record or a dead letter, and the stream goes on: the operators without Flink."""

import logging
import time
from collections import Counter
from string import printable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.core.batches import Wanted, house_batches
from jobs.core.house_days import HouseDays
from jobs.core.readings import LATEST_MS, MOST_METERS, MOST_SECTIONS, read, why_bad
from jobs.core.stage import Stage
from jobs.core.state_version import StateFault
from jobs.daily_energy import DailyEnergy
from jobs.flink.kafka_tables import LATEST_RECEIVED_MS
from jobs.flink.operator import STAYS, Houses
from jobs.flink.to_batches import MOST_BYTES_AT_ONCE, MOST_SECTIONS_AT_ONCE, Messages, ToBatches
from jobs.power_profile import PowerProfile
from jobs.spikes import Spikes
from jobs.thresholds import Thresholds
from smartmeter.messages.codec import Burst, decode, decode_burst, encode_burst
from smartmeter.messages.schemas import CodecError
from smartmeter.settings import DAY_MS, Settings
from smartmeter.timezones import names
from tests.unit.logs import HOUR_MS, START_MS, burst
from tests.unit.test_house import Keyed, MapState, MetricGroup, state_of

SHARDS = 2
EXTREMES = [0, 1, -1, 2**31 - 1, -(2**31)]


class Context:
    """What ToBatches is opened with."""

    def __init__(self, counted: Counter):
        self.counted = counted

    def get_metric_group(self):
        return MetricGroup(self.counted)


def stages(setting):
    return [DailyEnergy(setting), Thresholds(setting), Spikes(setting), PowerProfile()]


def to_batches(payloads, received_ms=0, first_offset=0, counted=None):
    """The rows that ToBatches makes of messages of partition 3, without those that are null."""
    function = ToBatches(Settings(), Wanted(True, 99.0, True), list(range(SHARDS)))
    function.open(Context(Counter() if counted is None else counted))
    n = len(payloads)
    times = pd.Series(pd.to_datetime(np.full(n, received_ms, "datetime64[ms]"), utc=True))
    frame = function.eval(pd.Series(payloads, dtype=object), pd.Series(np.full(n, 3, np.int32)),
                          pd.Series(np.arange(first_offset, first_offset + n, dtype=np.int64)), times)
    assert len(frame) == n
    return [row for row in frame.itertuples(index=False, name=None) if row[0] is not None]


def houses(rows, keyed, stages):
    """(topic, record) that Houses makes of rows of ToBatches."""
    function = Houses(Settings(), stages)
    function.open(keyed)
    found = []
    for keyed.key, *row in rows:
        found += [(topic, decode(value)[1]) for topic, _, value in function.process_element(row, keyed)]
    return found


def run(payloads, keyed, received_ms=0, first_offset=0):
    """(topic, record) of what the pipeline makes of messages."""
    return houses(to_batches(payloads, received_ms, first_offset=first_offset), keyed, stages(Settings()))


# Any message

ZONES = st.sampled_from(sorted(names())) | st.text(printable, max_size=40) | st.text(max_size=20) | st.sampled_from(
    ["__init__/UTC", "posix/UTC", "right/UTC", "localtime", "Factory", "../UTC", "/etc/localtime", "Europe", "Europe/", "europe/london", "tzdata.zi"])
TIMES = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), LATEST_MS, LATEST_MS + 1, 2 * DAY_MS, 2 * DAY_MS - 1, START_MS, START_MS * 1000, 2**53])
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
    return Burst(draw(st.sampled_from([1, 2, 3, 2**63 - 1, 2**31, 0, -1, -(2**63)])), draw(ZONES), *clip,
                 draw(st.sampled_from([1, 1000, 1000, 60_000, 2**31 - 1, 0, -1])), *ints, np.array(watts, np.float32))


def encoded(burst: Burst) -> bytes:
    try:
        return encode_burst(burst)
    except (CodecError, UnicodeEncodeError):
        return b""


MESSAGES = st.lists(any_burst().map(encoded) | st.none() | st.binary(max_size=30), min_size=1, max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(MESSAGES, st.sampled_from([0, 1, START_MS, LATEST_RECEIVED_MS])), min_size=1, max_size=3))
def test_every_message_becomes_results_late_records_or_a_dead_letter(calls):
    keyed, offset = Keyed(), 0
    for payloads, received_ms in calls:
        before = Counter({name: keyed.counted[name] for name in ("readings_used", "readings_duplicate", "readings_refused", "readings_late")})
        found = run(payloads, keyed, received_ms, offset)
        dead = {record["offset"]: record for topic, record in found if topic == "dead_letter"}
        bad = {offset + i for i, payload in enumerate(payloads) if why_bad(payload or b"", round(time.time() * 1000) + DAY_MS, Settings().rules.oldest_ms)}
        assert set(dead) == bad and keyed.counted["messages_failed"] == 0
        assert all(record["payload"] == (payloads[at - offset] or b"") and record["reason"] and record["received"] == received_ms
                   for at, record in dead.items())
        readings = sum(len(decode_burst(payload).watts) for i, payload in enumerate(payloads) if offset + i not in bad)
        assert sum(keyed.counted[name] for name in before) - before.total() == readings
        offset += len(payloads)


@pytest.mark.parametrize("zone", ["__init__/UTC", "posix/UTC", "right/Europe/London", "localtime", "Factory", "posixrules", "", ".", "Europe", "utc\0"])
def test_a_name_that_is_no_time_zone_is_a_dead_letter(zone):
    payload = encode_burst(burst(START_MS, START_MS + 1000, {1: [(START_MS, 5)]}, zone))
    [(topic, record)] = run([payload], Keyed())
    assert topic == "dead_letter" and "is no IANA time zone" in record["reason"]


# A stage that breaks

def good(house_id, hour=0, offset_ms=0):
    at = START_MS + hour * HOUR_MS
    return encode_burst(burst(at, at + HOUR_MS, {1: [(at + offset_ms, 100)]}, house_id=house_id))


def test_a_message_on_which_decoding_fails_is_a_dead_letter_and_the_others_are_used(monkeypatch, caplog):
    def broken(readings, *rest, whole=house_batches):
        if 13 in readings.bursts["house_id"]:
            raise ZeroDivisionError("thirteen")
        return whole(readings, *rest)

    monkeypatch.setattr("jobs.flink.to_batches.house_batches", broken)
    payloads, counted, keyed = [good(house) for house in (1, 2, 13, 3, 4, 13, 5)], Counter(), Keyed()
    with caplog.at_level(logging.ERROR):
        rows = to_batches(payloads, START_MS, counted=counted)
    found = houses(rows, keyed, stages(Settings()))
    dead = [record for topic, record in found if topic == "dead_letter"]
    assert dead == [{"partition": 3, "offset": offset, "received": START_MS, "payload": payloads[offset],
                     "reason": "the job fails on it: ZeroDivisionError: thirteen"} for offset in (2, 5)]
    assert keyed.counted["readings_used"] == 5 and counted["readings"] == 5
    assert (counted["messages_failed"], counted["dead_letters"]) == (2, 2)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


class Breaking(Stage):
    """Fails on a batch that has a message of offset 1 or 4, after it has changed what it can."""

    def take(self, change):
        change.state.put("runs", b"of this batch")
        change.state.put("pane/7", b"of this batch")
        yield "late", {"partition": 0, "offset": 0, "house_id": 1, "date": 1, "start": 0, "end": 0, "readings": 0, "kwh": 0.0, "house_time": 0,
                       "reason": ""}
        if set(change.batch.sections["offset"].tolist()) & {1, 4}:
            raise IndexError("x" * 5000)


def test_a_message_on_which_a_part_fails_is_a_dead_letter_and_changes_nothing(caplog):
    keyed, payloads = Keyed(), [good(1, hour) for hour in range(6)]
    with caplog.at_level(logging.ERROR):
        found = houses(to_batches(payloads), keyed, [Breaking()])
    dead = {record["offset"]: record for topic, record in found if topic == "dead_letter"}
    assert set(dead) == {1, 4}
    assert all(record["reason"].startswith("the job fails on it: IndexError: xxx") and record["reason"].endswith(STAYS)
               and len(record["reason"]) < 1200 and record["payload"] == b"" for record in dead.values())
    assert dead[1]["received"] == START_MS + 2 * HOUR_MS
    house = HouseDays.from_bytes(state_of(keyed, 1).get("days"))
    assert house.sections["readings"].sum() == 4
    assert (keyed.counted["readings_used"], keyed.counted["messages_failed"], keyed.counted["results", "topic", "dead_letter"]) == (4, 2, 2)
    assert keyed.counted["results", "topic", "late"] == sum(topic == "late" for topic, _ in found)
    assert len(caplog.records) == 1


def test_nothing_of_a_house_is_changed_by_a_batch_that_fails_alone():
    keyed = Keyed()
    houses(to_batches([good(1)], first_offset=9), keyed, [Breaking()])
    before = {key: dict(of) for key, of in keyed.state.items()}
    houses(to_batches([good(1, 1)], first_offset=1), keyed, [Breaking()])
    assert before == keyed.state


def test_state_that_cannot_be_read_is_no_messages_fault(monkeypatch):
    monkeypatch.setattr(MapState, "get", lambda self, key: 1 / 0)
    with pytest.raises(StateFault, match="the state of a shard fails: ZeroDivisionError"):
        houses(to_batches([good(1)]), Keyed(), [])


# What a message may hold

def of_meters(meters: int, hours: int, house_id=1) -> bytes:
    none = np.empty(0, np.int32)
    return encode_burst(Burst(house_id, "UTC", START_MS, START_MS + hours * HOUR_MS, 1000, np.arange(1, meters + 1, dtype=np.int32),
                              np.zeros(meters, np.int32), none, none.astype(np.float32)))


@pytest.mark.parametrize("meters, hours, reason", [
    (MOST_METERS, 1, None), (MOST_METERS + 1, 1, "10001 meters: at most 10000 are accepted in a message"),
    (MOST_SECTIONS // 8, 6 * 24, None),
    (MOST_SECTIONS // 8 + 1, 6 * 24 + 1, "2501 meters over 8 days: at most 20000 meters times days are accepted in a message"),
    (700_000, 1, "700000 meters: at most 10000"),
])
def test_a_message_of_too_many_meters_is_refused(meters, hours, reason):
    readings, reasons = read([good(1), of_meters(meters, hours), good(2)], 2**62)
    assert len(readings.bursts) == (2 if reason else 3)
    assert [why.startswith(reason) for why in reasons.values()] == ([True] if reason else [])


def test_an_array_of_very_many_blocks_is_refused_by_both_readers():
    head, zeros = of_meters(0, 1)[:-4], b"\2\2" * 10_001 + b"\0"
    payload = head + zeros + zeros + b"\0\0"
    assert read([payload], 2**62)[1] == {0: "malformed reading_burst: an array of more than 10000 blocks"}


def test_large_messages_are_worked_on_in_parts(monkeypatch):
    sizes = [MOST_BYTES_AT_ONCE // 2, MOST_BYTES_AT_ONCE // 2, 1, 2 * MOST_BYTES_AT_ONCE, 1, 1]
    messages = Messages([bytes(size) for size in sizes], *[np.arange(6)] * 3)
    assert [part.offset.tolist() for part in messages.of_bounded_size()] == [[0, 1], [2], [3], [4, 5]]
    assert [len(part) for part in Messages([], *[np.arange(0)] * 3).of_bounded_size()] == [0]
    calls = []
    monkeypatch.setattr("jobs.flink.to_batches.house_batches", lambda readings, *rest, whole=house_batches: (
        calls.append(len(readings.bursts)), whole(readings, *rest))[1])
    keyed = Keyed()
    houses(to_batches([of_meters(MOST_METERS, 1, house) for house in range(1, 24)] + [good(99)]), keyed, [])
    assert max(calls) <= MOST_SECTIONS_AT_ONCE // (2 * MOST_METERS) and sum(calls) == 24
    assert keyed.counted["readings_used"] == 1
