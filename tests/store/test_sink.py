"""The sink between a real broker and a real endpoint: rows once, offsets only after the insert, whatever stops."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from smartmeter.errors import UserError
from smartmeter.kafka.consumers import STORED, sink_group
from smartmeter.messages import codec, schemas, topics
from smartmeter.messages.rules import no_rule
from store import client
from store.sink import COLUMNS, Batch, Sink
from tests.ports import on_free_ports
from tests.sinks import running
from tests.waiting import STILL_S, until

HOUSE = {
    "house_id": 7,
    "timezone": "America/New_York",
    "source": "synthetic",
    "zip": "02138",
    "city": "Cambridge",
    "state": "MA",
    "latitude": 42.37,
    "longitude": None,
    "population": None,
    "updated": 1_555_200_000_123,
    "meters": [
        {"meter_id": 1, "label": "mains", "kind": "mains", "parent": 0},
        {"meter_id": 2, "label": "fridge", "kind": "appliance", "parent": 3},
        {"meter_id": 3, "label": "kitchen", "kind": "appliance", "parent": 0},
    ],
}
LATE = {
    "partition": 3,
    "offset": 9,
    "house_id": 7,
    "date": -1,
    "start": -1000,
    "end": 0,
    "readings": 2,
    "kwh": 0.5,
    "house_time": 1,
    "reason": "closed",
}
THRESHOLD = {
    "house_id": 7,
    "date": 18000,
    "valid_from": 0,
    "valid_to": 1_555_300_800_000,
    "quantile": 0.97,
    "window_days": 7,
    "revision": 5,
    "longest_silence_minutes": 6,
    "meters": [
        {
            "meter_id": 1,
            "percentile_watts": 900.5,
            "readings": 86400,
            "covered_s": 86400.0,
            "warming_up": False,
            "limit_watts": 1380.75,
            "usual": {
                "mains": True,
                "longest_run_minutes": [90, 60, 2],
                "longest_off_minutes": 1440,
                "longest_same_minutes": 3,
                "longest_gap_minutes": 20,
                "hour_watts": [450.0, 1200.5],
                "standby_watts": 80.5,
                "dead_watts": 12.25,
                "rare_watts": [],
            },
        },
        {"meter_id": 2, "percentile_watts": 90.0, "readings": 7, "covered_s": 42.0, "warming_up": True, "limit_watts": None},
    ],
}
DEAD = {"partition": 3, "offset": 10, "received": 1, "reason": "malformed", "payload": b"\xc3\x01\x00\xff"}


def energy(house_id, revision=1):
    return {
        "house_id": house_id,
        "meter_id": 1,
        "date": 18000,
        "kwh": house_id / 4,
        "readings": 10,
        "duplicates": 0,
        "covered_s": 86400.0,
        "max_gap_s": 1.0,
        "day_s": 86400,
        "final": True,
        "revision": revision,
    }


def alert(meter_id, revision=1, retracted=False):
    return {
        "alert_id": f"7/{meter_id}/1555200000123",
        "house_id": 7,
        "meter_id": meter_id,
        "date": 18000,
        "start": 1_555_200_000_123,
        "end": 1_555_200_006_123,
        "open": True,
        "retracted": retracted,
        "readings": 2,
        "peak_watts": 3000.0,
        "percentile_watts": 900.5,
        "limit_watts": 1380.75,
        "excess_kwh": 0.25,
        "revision": revision,
        "kind": "level",
        "severity": "critical",
        "reason": "3,000 W, over its limit of 1,381 W, for 6 s",
        "ends_when": "it falls to 1,381 W or less for 60 s",
    }


def acknowledgement(meter_id, acknowledged=1_555_200_010_123, withdrawn=False):
    return {
        "alert_id": f"7/{meter_id}/1555200000123",
        "house_id": 7,
        "note": "the sauna",
        "author": "",
        "withdrawn": withdrawn,
        "acknowledged": acknowledged,
    }


def rule(meter_id, valid_from=1_555_200_060_000, **changed):
    return no_rule(7, meter_id, valid_from, 1_555_200_010_123) | changed


WHOLE_RULE = rule(
    2,
    sensitivity="low",
    limit_watts=2000.5,
    limit_minutes=10,
    longest_on_minutes=240,
    longest_off_minutes=720,
    off_from=1320,
    off_to=360,
    muted_until=1_555_203_600_000,
    normal=[{"kind": "run", "minutes": 40, "watts": 0.0}, {"kind": "level", "minutes": 0, "watts": 3500.25}],
    author="eve",
)


def profile(house_id=7, minutes=(3, 1), part=0):
    """Meters 1, 2, ... with so many minutes each, from 2019-04-14 00:00 on, every second minute; each meter has its own watts."""
    count = sum(minutes)
    return {
        "house_id": house_id,
        "date": 18000,
        "part": part,
        "start": 1_555_200_000_000,
        "meter_ids": list(range(1, len(minutes) + 1)),
        "counts": list(minutes),
        "deltas": [2] * count,
        "readings": list(range(1, count + 1)),
        "min_watts": [n + 0.25 for n in range(count)],
        "mean_watts": [n + 0.5 for n in range(count)],
        "max_watts": [n + 0.75 for n in range(count)],
    }


@pytest.fixture
def settings(with_topics, clickhouse, request):
    return with_topics.but(clickhouse_database=request.node.originalname, sink_batch_s=0.1)


def produce(settings, name, *records):
    """Send records, or raw bytes, to the topic `name`."""
    producer = Producer({"bootstrap.servers": settings.kafka.address, "queue.buffering.max.messages": 1_000_000})
    for record in records:
        value = record if isinstance(record, bytes) else codec.encode(topics.SCHEMA_OF[name], record)
        producer.produce(topics.topic(settings, name), value, topics.key(name, record) if value is not record else b"?")
    assert producer.flush(STILL_S) == 0


def committed(settings):
    """Messages whose offsets the sink has committed, over all of its topics."""
    consumer = Consumer({"bootstrap.servers": settings.kafka.address, "group.id": sink_group(settings)})
    try:
        places = [TopicPartition(topics.topic(settings, name), p) for name in STORED for p in range(settings.kafka.partitions)]
        return sum(max(place.offset, 0) for place in consumer.committed(places, timeout=STILL_S))
    except KafkaException as error:  # the broker's first consumer group is only being set up
        assert error.args[0].code() in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE)
        return 0
    finally:
        consumer.close()


def rows(settings, sql):
    return client.writer(settings, settings.clickhouse.database).query(sql).result_rows


def stored(settings, table="daily_energy"):
    """Rows of a table as they lie there, repeats and all; 0 before it exists."""
    names = {"db": settings.clickhouse.database, "t": table}
    return (
        client.writer(settings)
        .query("SELECT sum(rows) FROM system.parts WHERE active AND database = {db:String} AND table = {t:String}", parameters=names)
        .first_row[0]
        or 0
    )


def test_every_topic_lands_in_its_table(settings):
    produce(settings, "houses", HOUSE)
    produce(settings, "daily_energy", energy(7))
    produce(settings, "thresholds", THRESHOLD, {**THRESHOLD, "date": 17999, "meters": []})
    produce(settings, "alerts", alert(1))
    produce(settings, "acknowledgements", acknowledgement(1))
    produce(settings, "rules", rule(1), WHOLE_RULE)
    produce(settings, "power_profile", profile(), profile(8, (1, 0, 2), part=1_555_200_000_123))
    produce(settings, "late", LATE)
    produce(settings, "dead_letter", DEAD)
    with running(Sink(settings)):
        until(lambda: committed(settings) == 12)
    assert rows(settings, "SELECT zip, latitude, longitude, toUnixTimestamp64Milli(updated) FROM houses FINAL") == [
        ("02138", 42.37, None, 1_555_200_000_123)
    ]
    assert rows(settings, "SELECT house_id, label, kwh, final FROM daily_energy_by_label") == [(7, "mains", 1.75, True)]
    assert rows(settings, "SELECT meter_id, label, kind, parent FROM meters FINAL ORDER BY meter_id") == [
        (1, "mains", "mains", 0),
        (2, "fridge", "appliance", 3),
        (3, "kitchen", "appliance", 0),
    ]
    assert rows(
        settings,
        "SELECT house_id, meter_id, part, intDiv(toUnixTimestamp(minute) - 1555200000, 60), readings, min_watts, mean_watts, max_watts "
        "FROM power_profile FINAL ORDER BY house_id, meter_id, minute",
    ) == [
        (7, 1, 0, 2, 1, 0.25, 0.5, 0.75),
        (7, 1, 0, 4, 2, 1.25, 1.5, 1.75),
        (7, 1, 0, 6, 3, 2.25, 2.5, 2.75),
        (7, 2, 0, 2, 4, 3.25, 3.5, 3.75),
        (8, 1, 1_555_200_000_123, 2, 1, 0.25, 0.5, 0.75),
        (8, 3, 1_555_200_000_123, 2, 2, 1.25, 1.5, 1.75),
        (8, 3, 1_555_200_000_123, 4, 3, 2.25, 2.5, 2.75),
    ]
    assert rows(settings, "SELECT partition, offset, toInt32(date), toUnixTimestamp64Milli(start), kwh FROM late FINAL") == [
        (3, 9, -1, -1000, 0.5)
    ]
    assert rows(settings, "SELECT reason, hex(payload) FROM dead_letter FINAL") == [("malformed", "C30100FF")]
    assert rows(
        settings,
        "SELECT house_id, meter_id, toInt32(date), toUnixTimestamp64Milli(valid_from), toUnixTimestamp64Milli(valid_to), quantile, window_days, "
        "percentile_watts, readings, covered_s, warming_up, limit_watts, revision FROM thresholds FINAL ORDER BY meter_id",
    ) == [
        (7, 1, 18000, 0, 1_555_300_800_000, 0.97, 7, 900.5, 86400, 86400.0, False, 1380.75, 5),
        (7, 2, 18000, 0, 1_555_300_800_000, 0.97, 7, 90.0, 7, 42.0, True, None, 5),
    ]
    assert rows(
        settings,
        "SELECT mains, longest_run_minutes, longest_off_minutes, longest_same_minutes, longest_gap_minutes, hour_watts, standby_watts, dead_watts, "
        "rare_watts, longest_silence_minutes FROM thresholds FINAL ORDER BY meter_id",
    ) == [(True, [90, 60, 2], 1440, 3, 20, [450.0, 1200.5], 80.5, 12.25, [], 6), (None, [], None, None, None, [], None, None, [], 6)]
    assert rows(
        settings,
        "SELECT alert_id, label, zip, toInt32(date), toUnixTimestamp64Milli(start), duration_s, open, readings, peak_watts, "
        "percentile_watts, limit_watts, excess_kwh, alert_kind, severity, reason, ends_when, "
        "toUnixTimestamp64Milli(assumeNotNull(acknowledged)), note, author FROM alert_list",
    ) == [
        (
            "7/1/1555200000123",
            "mains",
            "02138",
            18000,
            1_555_200_000_123,
            6.0,
            True,
            2,
            3000.0,
            900.5,
            1380.75,
            0.25,
            "level",
            "critical",
            "3,000 W, over its limit of 1,381 W, for 6 s",
            "it falls to 1,381 W or less for 60 s",
            1_555_200_010_123,
            "the sauna",
            "",
        )
    ]


def test_alerts_of_several_kinds_that_start_together_each_have_a_row(settings):
    settings = settings.but(clickhouse_database="kinds_together")
    run = {**alert(1), "alert_id": "7/1/1555200000123/run", "kind": "run"}
    produce(settings, "alerts", alert(1), run, {**run, "revision": 2, "severity": "info"})
    with running(Sink(settings)):
        until(lambda: committed(settings) == 3)
    assert rows(settings, "SELECT alert_id, alert_kind, severity FROM alert_list ORDER BY alert_id") == [
        ("7/1/1555200000123", "level", "critical"),
        ("7/1/1555200000123/run", "run", "info"),
    ]


def test_retracted_alerts_leave_the_list(settings):
    produce(settings, "alerts", alert(1), alert(2), alert(3, 2, retracted=True), alert(4, 2, retracted=True))
    with running(Sink(settings)):
        until(lambda: committed(settings) == 4)
        produce(settings, "alerts", alert(2, 2, retracted=True), alert(3), alert(4, 3))
        until(lambda: committed(settings) == 7)
    assert rows(settings, "SELECT meter_id FROM alert_list ORDER BY meter_id") == [(1,), (4,)]


@pytest.mark.parametrize("topic, record_of", [("alerts", alert), ("acknowledgements", acknowledgement), ("rules", rule)])
def test_an_alert_its_acknowledgement_and_a_rule_are_stored_at_once_with_what_came_before(settings, monkeypatch, topic, record_of):
    monkeypatch.setattr("store.sink.POLL_S", 3600.0)
    settings = settings.but(clickhouse_database=f"at_once_{topic}")
    produce(settings, topic, record_of(1))
    with running(Sink(settings.but(sink_batch_s=7200.0))) as sink:
        until(lambda: stored(settings, topic) == 1)
        produce(settings, "daily_energy", energy(7))
        time.sleep(1)
        assert stored(settings) == 0
        produce(settings, topic, record_of(2))
        until(lambda: stored(settings, topic) == 2)
        assert stored(settings) == 1
        sink.stop()
        produce(settings, topic, record_of(3))  # after it, the sink checks whether it has to stop


def test_an_acknowledgement_that_is_taken_back_leaves_the_list(settings):
    produce(settings, "alerts", alert(1), alert(2))
    produce(settings, "acknowledgements", acknowledgement(1), acknowledgement(2), acknowledgement(2, 1_555_200_020_123, withdrawn=True))
    with running(Sink(settings)):
        until(lambda: committed(settings) == 5)
    assert rows(settings, "SELECT meter_id, note FROM alert_list ORDER BY meter_id") == [(1, "the sauna"), (2, "")]


RULE_COLUMNS = ", ".join(
    f"toUnixTimestamp64Milli({name})" if name in ("valid_from", "muted_until", "written") else name for name in COLUMNS["rules"]
)


def test_a_rule_is_stored_with_all_of_its_fields(settings):
    produce(settings, "rules", WHOLE_RULE, rule(1), rule(0, withdrawn=True))
    with running(Sink(settings)):
        until(lambda: committed(settings) == 3)
    nothing = ("normal", None, 0, None, None, None, None, None, [], [], [], "", 1_555_200_010_123)
    of_rule = (
        "low",
        2000.5,
        10,
        240,
        720,
        1320,
        360,
        1_555_203_600_000,
        ["run", "level"],
        [40, 0],
        [0.0, 3500.25],
        "eve",
        1_555_200_010_123,
    )
    assert rows(settings, f"SELECT {RULE_COLUMNS} FROM rules FINAL ORDER BY meter_id") == [
        (7, 0, 1_555_200_060_000, True, *nothing),
        (7, 1, 1_555_200_060_000, False, *nothing),
        (7, 2, 1_555_200_060_000, False, *of_rule),
    ]


def test_of_two_rules_of_a_time_the_later_message_counts_whatever_its_writers_clock_shows(settings):
    first, second = rule(1, sensitivity="low"), rule(1, sensitivity="high", written=1_555_200_010_122)
    produce(settings, "rules", first, rule(2), second)
    with running(Sink(settings)):
        until(lambda: committed(settings) == 3)
        produce(settings, "rules", rule(2, limit_watts=9.5, written=5))  # in a batch of its own
        until(lambda: committed(settings) == 4)
    assert rows(settings, "SELECT meter_id, sensitivity, limit_watts FROM rules FINAL ORDER BY meter_id") == [
        (1, "high", None),
        (2, "normal", 9.5),
    ]


FAULTY_RULES = {
    "sensitivity: give low, normal, high": rule(1, sensitivity="deaf"),
    "valid_from: give the start of a minute": rule(1, 1_555_200_060_001),
    "a rule of a house takes a sensitivity and muted_until alone": rule(0, longest_on_minutes=5),
    "limit_watts: give W, more than 0 and at most 1,000,000,000": rule(1, limit_watts=math.nan),
}


def test_a_faulty_rule_is_refused_with_what_is_wrong_with_it(settings):
    produce(settings, "rules", *FAULTY_RULES.values(), rule(3))
    with running(Sink(settings)):
        until(lambda: committed(settings) == 5)
    assert rows(settings, "SELECT meter_id FROM rules") == [(3,)]
    found = rows(settings, "SELECT reason, hex(payload) FROM refused FINAL ORDER BY reason")
    assert found == sorted((reason, codec.encode("rule", record).hex().upper()) for reason, record in FAULTY_RULES.items())


def test_large_batches_are_stored_whole(settings):
    count = 100_000
    produce(settings, "daily_energy", *map(energy, range(count)))
    with running(Sink(settings.but(sink_batch_s=5.0))):
        until(lambda: committed(settings) == count)
    assert rows(settings, "SELECT count(), uniqExact(house_id), sum(house_id) FROM daily_energy FINAL") == [
        (count, count, count * (count - 1) // 2)
    ]


def test_minutes_count_as_rows(settings, caplog):
    caplog.set_level("INFO", "sink")
    produce(settings, "power_profile", *(profile(house_id, (600, 400)) for house_id in range(1, 100)))
    with running(Sink(settings.but(sink_batch_s=3600.0, sink_batch_rows=50_000))):
        until(lambda: stored(settings, "power_profile") >= 50_000)
    [count] = re.findall(r"stored ([\d,]+) rows: power_profile \1", caplog.text)
    assert stored(settings, "power_profile") == int(count.replace(",", ""))
    with running(Sink(settings)):
        until(lambda: committed(settings) == 99)
    assert rows(settings, "SELECT count(), uniqExact(house_id), sum(readings) FROM power_profile FINAL") == [(99_000, 99, 99 * 500_500)]


class CrashAfterInsert(Sink):
    """Dies between the insert and the commit of its offsets."""

    def _commit(self, batch):
        self.stop()


def test_stop_between_insert_and_commit_repeats_without_harm(settings):
    produce(settings, "daily_energy", *map(energy, range(100)))
    with running(CrashAfterInsert(settings)):
        until(lambda: stored(settings) > 0)
    assert committed(settings) == 0
    lying = stored(settings)
    with running(Sink(settings)):
        until(lambda: committed(settings) == 100)
    assert stored(settings) > lying or lying == 100  # they came again, and may have been merged already
    assert rows(settings, "SELECT count(), uniqExact(house_id), sum(kwh) FROM daily_energy_by_label") == [(100, 100, 99 * 100 / 2 / 4)]


class RefusedTwice(Sink):
    """Kafka refuses the first two times that it commits."""

    commits = 0

    def _commit(self, batch):
        self.commits += 1
        return self.commits > 2 and super()._commit(batch)


def test_offsets_that_kafka_refuses_are_committed_later_without_another_message(settings):
    produce(settings, "daily_energy", *map(energy, range(3)))
    with running(RefusedTwice(settings)):
        until(lambda: committed(settings) == 3)
    assert rows(settings, "SELECT count() FROM daily_energy") == [(3,)]


def test_later_revision_wins_in_whichever_order(settings):
    produce(settings, "daily_energy", *({**energy(1), "kwh": float(n), "revision": n} for n in (3, 1, 9, 2)))
    with running(Sink(settings)):
        until(lambda: committed(settings) == 4)
    assert rows(settings, "SELECT kwh FROM daily_energy_by_label") == [(9.0,)]


def test_what_cannot_be_decoded_holds_nothing_up(settings, caplog):
    produce(settings, "daily_energy", b"", b"nonsense", codec.encode("late", LATE), codec.encode("daily_energy", energy(1))[:-1], energy(2))
    caplog.set_level("INFO", "sink")
    with running(Sink(settings)):
        until(lambda: committed(settings) == 5)
    assert rows(settings, "SELECT house_id FROM daily_energy") == [(2,)]
    refused = [r.getMessage() for r in caplog.records if "cannot be stored" in r.getMessage()]
    assert len(refused) == 4 and "a message of schema late, where daily_energy was expected" in "\n".join(refused)
    assert "4 messages could not be stored" in caplog.text


def test_an_empty_message_is_refused_like_others(settings, caplog):
    caplog.set_level("INFO", "sink")
    produce(settings, "daily_energy", b"")
    with running(Sink(settings)):
        until(lambda: committed(settings) == 1)
    assert "1 messages could not be stored" in caplog.text


def many_meters(count):
    return [{"meter_id": meter_id, "label": "", "kind": "appliance", "parent": 0} for meter_id in range(1, count + 1)]


LAST_INT, LAST_LONG = 2**31 - 1, 2**63 - 1
POISON = {  # topic -> messages that cannot be stored
    "houses": [
        b"",
        b"\0" * 1000,
        b"\0\0\0\0\7rest",
        codec.encode("late", LATE),
        codec.encode("house", HOUSE)[:-1],
        schemas.HEADERS["house"],
        {**HOUSE, "updated": LAST_LONG},
        {**HOUSE, "updated": -LAST_LONG},
        {**HOUSE, "zip": "7" * 1001},
        {**HOUSE, "meters": many_meters(10_001)},
        {**HOUSE, "meters": [{"meter_id": 1, "label": "x" * 1001, "kind": "mains", "parent": 0}]},
        codec.encode("house", {**HOUSE, "meters": [{"meter_id": 1, "label": "x" * 600_000, "kind": "mains", "parent": 0}]}),
        codec.encode("house", {**HOUSE, "meters": []})[:-9] + b"\xff" * 9,
        codec.encode("house", {**HOUSE, "zip": "02138"}).replace(b"02138", b"\xff\xfe\xff\xfe\xff"),
    ],
    "daily_energy": [b"?", {**energy(1), "date": LAST_INT}, {**energy(1), "date": -LAST_INT}],
    "thresholds": [{**THRESHOLD, "valid_to": LAST_LONG}, {**THRESHOLD, "meters": THRESHOLD["meters"] * 5001}],
    "alerts": [{**alert(1), "start": -LAST_LONG}, {**alert(1), "end": LAST_LONG}, {**alert(1), "alert_id": "7" * 1001}],
    "acknowledgements": [
        {**acknowledgement(1), "acknowledged": LAST_LONG},
        {**acknowledgement(1), "note": "x" * 10_001},
        codec.encode("acknowledgement", {**acknowledgement(1), "note": "x" * 70_000}),
    ],
    "rules": [
        {**rule(1), "valid_from": LAST_LONG // 60_000 * 60_000},
        {**rule(1), "muted_until": LAST_LONG},
        {**rule(1), "withdrawn": True, "written": LAST_LONG},
        {**rule(1), "withdrawn": True, "author": "x" * 1001},
        {**rule(1), "withdrawn": True, "normal": [{"kind": "x" * 1001, "minutes": 0, "watts": 0.0}]},
        {**rule(1), "normal": [{"kind": "limit", "minutes": 0, "watts": 0.0}]},
        codec.encode("rule", {**rule(1), "withdrawn": True, "author": "x" * 70_000}),
    ],
    "power_profile": [
        {**profile(), "start": LAST_LONG},
        {**profile(), "start": -1},
        {**profile(), "deltas": [-2] * 4},
        {**profile(), "deltas": [LAST_INT] * 4},
    ],
    "late": [{**LATE, "house_time": LAST_LONG}],
    "dead_letter": [b"\xc3\x01"],
}
STORABLE = {  # topic -> odd messages that can be
    "houses": [
        {
            **HOUSE,
            "house_id": LAST_LONG,
            "zip": "\0\0",
            "latitude": math.nan,
            "longitude": 1e9,
            "population": -1,
            "meters": many_meters(10_000),
        }
    ],
    "daily_energy": [{**energy(LAST_LONG), "kwh": math.nan, "covered_s": math.inf, "day_s": -LAST_INT}],
    "acknowledgements": [{**acknowledgement(1), "note": "\U0001f525\0'; DROP TABLE alerts --" * 400}],
    "rules": [{**rule(LAST_INT), "house_id": LAST_LONG, "author": "\U0001f525\0'; DROP TABLE rules --"}],
    "dead_letter": [{**DEAD, "received": LAST_LONG, "offset": 1}, {**DEAD, "received": -LAST_LONG - 1, "offset": 2}],
}
KAFKA_TIMES = (1, 1_555_200_000, 1_555_200_000_000_000_000, LAST_LONG)


def test_a_message_that_cannot_be_stored_is_kept_as_it_came_and_takes_no_other_with_it(settings):
    expected = []
    producer = Producer({"bootstrap.servers": settings.kafka.address, "message.max.bytes": 8 << 20})
    for name in STORED:
        messages = [(message, name in POISON) for message in POISON.get(name, ())] + [
            (message, False) for message in STORABLE.get(name, ())
        ]
        for i, (message, is_poison) in enumerate(messages):
            value = message if isinstance(message, bytes) else codec.encode(topics.SCHEMA_OF[name], message)
            producer.produce(topics.topic(settings, name), value, b"%d" % i, partition=0, timestamp=KAFKA_TIMES[i % 4])
            expected += [(topics.topic(settings, name), 0, i, value.hex().upper())] * is_poison
    producer.produce(topics.topic(settings, "houses"), None, b"a tombstone", partition=1)
    expected.append((topics.topic(settings, "houses"), 1, 0, ""))
    assert producer.flush(30) == 0
    sent = len(expected) + sum(map(len, STORABLE.values()))
    with running(Sink(settings)):
        until(lambda: committed(settings) == sent)
    assert rows(settings, "SELECT topic, partition, offset, hex(payload) FROM refused FINAL ORDER BY ALL") == sorted(expected)
    assert rows(settings, "SELECT count() FROM refused FINAL WHERE reason = ''") == [(0,)]
    assert rows(settings, "SELECT max(toYear(received)) FROM refused") == [(2299,)]
    assert rows(settings, "SELECT house_id, hex(zip), latitude, longitude, population FROM houses FINAL") == [
        (LAST_LONG, "0000", None, None, -1)
    ]
    assert rows(settings, "SELECT count(), uniqExact(meter_id) FROM meters FINAL") == [(10_000, 10_000)]
    assert rows(settings, "SELECT house_id, isNaN(kwh), isInfinite(covered_s), day_s FROM daily_energy FINAL") == [
        (LAST_LONG, 1, 1, -LAST_INT)
    ]
    assert rows(settings, "SELECT length(note) FROM acknowledgements FINAL") == [(len(STORABLE["acknowledgements"][0]["note"].encode()),)]
    assert rows(settings, "SELECT house_id, meter_id, author FROM rules") == [(LAST_LONG, LAST_INT, "\U0001f525\0'; DROP TABLE rules --")]
    assert rows(settings, "SELECT offset, toYear(received) FROM dead_letter FINAL ORDER BY offset") == [(1, 2299), (2, 1900)]
    assert [rows(settings, f"SELECT count() FROM {table}") for table in ("thresholds", "alerts", "power_profile", "late")] == [[(0,)]] * 4


def test_a_flood_of_messages_that_cannot_be_stored_fills_no_log(settings, caplog):
    caplog.set_level("INFO", "sink")
    produce(settings, "late", *[b"nonsense"] * 1000)
    with running(Sink(settings)):
        until(lambda: committed(settings) == 1000)
    assert caplog.text.count("cannot be stored: ") < 30 and "1,000 messages could not be stored" in caplog.text
    assert rows(settings, "SELECT count() FROM refused FINAL") == [(1000,)]


@pytest.mark.parametrize(
    "wrong",
    [
        dict(counts=[3]),
        dict(counts=[4, 1]),
        dict(counts=[5, -1]),
        dict(meter_ids=[1]),
        dict(deltas=[1] * 3),
        dict(readings=[]),
        dict(min_watts=[1.0] * 5),
        dict(mean_watts=[1.0]),
        dict(max_watts=[1.0] * 3),
    ],
)
def test_a_profile_whose_columns_disagree_is_refused(wrong):
    batch = Batch()
    with pytest.raises(schemas.CodecError, match="they disagree"):
        batch.add("power_profile", codec.encode("power_profile", profile() | wrong))
    assert len(batch) == 0 and batch.profiles == []


def test_profiles_that_cannot_be_decoded_hold_nothing_up(settings, caplog):
    caplog.set_level("INFO", "sink")
    produce(
        settings,
        "power_profile",
        b"",
        codec.encode("late", LATE),
        codec.encode("power_profile", profile() | {"counts": [9, 9]}),
        codec.encode("power_profile", profile())[:-1],
        profile(9),
    )
    with running(Sink(settings)):
        until(lambda: committed(settings) == 5)
    assert rows(settings, "SELECT DISTINCT house_id FROM power_profile") == [(9,)]
    assert "a message of schema late, where a power_profile was expected" in caplog.text and "malformed power_profile" in caplog.text
    assert "4 messages could not be stored" in caplog.text


def test_endpoint_killed_and_back(settings, own_endpoint, caplog):
    settings = settings.but(clickhouse_url=own_endpoint.settings.clickhouse.url, home=own_endpoint.settings.stack.home)
    caplog.set_level("INFO", "sink")
    with running(Sink(settings)):
        produce(settings, "daily_energy", *map(energy, range(100)))
        until(lambda: committed(settings) == 100)
        own_endpoint.end(signal.SIGKILL)
        produce(settings, "daily_energy", *map(energy, range(100, 200)))
        until(lambda: "does not answer" in caplog.text)
        time.sleep(1)
        assert committed(settings) == 100
        own_endpoint.start()
        until(lambda: committed(settings) == 200)
        produce(settings, "daily_energy", energy(200))  # it reads on
        until(lambda: committed(settings) == 201)
    assert rows(settings, "SELECT count(), uniqExact(house_id) FROM daily_energy_by_label") == [(201, 201)]
    assert caplog.text.count("does not answer") == 1 and caplog.text.count("is back") == 1


def test_sink_waits_for_an_endpoint_that_is_not_there_yet(settings, own_endpoint, caplog):
    own_endpoint.end(signal.SIGTERM)
    settings = settings.but(clickhouse_url=own_endpoint.settings.clickhouse.url, home=own_endpoint.settings.stack.home)
    produce(settings, "daily_energy", energy(1))
    with running(Sink(settings)):
        until(lambda: "does not answer" in caplog.text)
        own_endpoint.start()
        until(lambda: committed(settings) == 1)


@contextmanager
def sink_process(settings):
    """`python -m store.sink`, killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "store.sink"], env=os.environ | settings.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stores_what_was_read_and_ends(settings, number):
    produce(settings, "daily_energy", *map(energy, range(1000)))
    settings = settings.but(sink_batch_s=3600.0, sink_batch_rows=600, clickhouse_database=f"signal_{number:d}")
    with sink_process(settings) as process:
        until(lambda: stored(settings) > 0)
        process.send_signal(number)
        _, log = process.communicate(timeout=STILL_S)
    assert process.returncode == 0
    assert rows(settings, "SELECT count() FROM daily_energy FINAL") == [(committed(settings),)]
    assert "Traceback" not in log and "rows: daily_energy" in log


def test_broker_that_is_not_there(tmp_path):
    settings = on_free_ports(tmp_path)
    with sink_process(settings) as process:
        _, errors = process.communicate(timeout=STILL_S)
    assert process.returncode == 1
    assert (
        errors
        == f"sink: no Kafka broker answers at {settings.kafka.address}: start one with ./smw stack, or set SMW_KAFKA to its address\n"
    )


def test_wrong_password(settings):
    with pytest.raises(UserError, match="refuses the user or the password"):
        Sink(settings.but(clickhouse_password="wrong")).run()
