"""The daily energy job on real Kafka, Flink and ClickHouse, judged by the oracle."""

import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from smartmeter import stack, topics
from smartmeter.codec import Burst, encode, encode_burst
from smartmeter.errors import UserError
from store.client import reader
from tests.oracle import judge, midnight_ms

MAX_GAP_MS, ALLOWED_LATENESS_MS = 1_000_000, 3_600_000
BURST_MS = 900_000
HOUSES = {  # house -> (time zone, first day): days of 23 and of 25 hours among them
    1: ("America/New_York", date(2011, 3, 12)),
    2: ("Europe/London", date(2013, 10, 26)),
    3: ("Asia/Kathmandu", date(2013, 4, 12)),
}
DAYS = 4
NO_BURST = encode("house", dict(house_id=1, timezone="UTC", source="", zip="", city="", state="", meters=[], updated=0))


@dataclass
class Log:
    """The messages of the topic readings, in order: (key, value), and what is in them."""

    messages: list[tuple[bytes, bytes]]
    bursts: list[Burst]  # those that can be used, in the order of the topic
    dead: list[bytes]
    dead_readings: int

    @property
    def readings(self) -> int:
        return sum(len(burst.watts) for burst in self.bursts) + self.dead_readings


def house_bursts(house_id: int, timezone: str, first: date, rng) -> list[Burst]:
    """Bursts of 3 meters over some days, some of them missing; midnight falls within a burst."""
    at = midnight_ms(ZoneInfo(timezone), first) - BURST_MS // 3
    end = midnight_ms(ZoneInfo(timezone), first + timedelta(days=DAYS))
    bursts = []
    while at < end:
        counts = rng.integers(0, 25, 3)
        times = [np.sort(rng.choice(BURST_MS // 1000, n, replace=False)) for n in counts]
        deltas = np.concatenate([np.diff(t, prepend=0) for t in times]).astype(np.int32)
        watts = (rng.gamma(0.7, 300, counts.sum())).astype(np.float32)
        if rng.random() > 0.03:
            bursts.append(Burst(house_id, timezone, at, at + BURST_MS, 1000, np.array([1, 2, 7], np.int32),
                                counts.astype(np.int32), deltas, watts))
        at += BURST_MS
    return bursts


def disturb(bursts: list[Burst], rng) -> list[Burst]:
    """Some bursts delayed for up to two hours, a few for two days; some sent again at once or later."""
    arrival = np.arange(len(bursts), dtype=float)
    arrival += np.where(rng.random(len(bursts)) < 0.05, rng.uniform(0, 8, len(bursts)), 0)
    arrival += np.where(rng.random(len(bursts)) < 0.02, 200, 0)
    again = rng.random(len(bursts)) < 0.04
    arrival = np.concatenate([arrival, arrival[again] + rng.choice([0.5, 3, 150], again.sum())])
    which = np.concatenate([np.arange(len(bursts)), np.flatnonzero(again)])
    return [bursts[i] for i in which[np.argsort(arrival, kind="stable")]]


def make_log(seed: int) -> Log:
    rng = np.random.default_rng(seed)
    queues = {house: disturb(house_bursts(house, *place, rng), rng) for house, place in HOUSES.items()}
    log = Log([], [], [], 0)
    while queues:
        house = int(rng.choice(list(queues)))
        burst = queues[house].pop(0)
        if not queues[house]:
            del queues[house]
        if rng.random() < 0.02:
            value = poison(burst, rng)
            log.dead.append(value)
            log.dead_readings += len(burst.watts)
            log.messages.append((b"%d" % house, value))
        log.bursts.append(burst)
        log.messages.append((b"%d" % house, encode_burst(burst)))
    return log


def poison(burst: Burst, rng) -> bytes:
    return [
        b"", b"not Avro", NO_BURST, encode_burst(burst)[:-5],
        encode_burst(replace(burst, timezone="Nowhere")),
        encode_burst(replace(burst, end_ms=burst.end_ms + 10**12, start_ms=burst.start_ms + 10**12)),
        encode_burst(replace(burst, counts=-burst.counts - 1)),
    ][rng.integers(7)]


def produce(settings, log: Log) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka, "enable.idempotence": True})
    for key, value in log.messages:
        producer.produce(topics.topic(settings, "readings"), value, key)
    assert producer.flush(30) == 0


def run_job(settings) -> None:
    done = subprocess.run(stack.flink_run_command(settings, stack.DAILY_ENERGY_JOB), env=stack.flink_environ(settings),
                          capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]


@pytest.fixture(scope="module")
def log():
    return make_log(seed=11)


@pytest.fixture(scope="module")
def expected(log):
    return judge(log.bursts, MAX_GAP_MS, ALLOWED_LATENESS_MS)


@pytest.fixture(scope="module")
def pipelines(kafka, clickhouse, processes, log):
    """Parallelism -> a ClickHouse client on the tables into which the whole pipeline brought the log."""
    clients = {}
    for parallelism in (1, 2):
        name = f"parallelism_{parallelism}"
        settings = replace(clickhouse, topic_prefix=f"{name}.", clickhouse_database=name, parallelism=parallelism,
                           bounded=True, max_gap_s=MAX_GAP_MS / 1000, allowed_lateness_s=ALLOWED_LATENESS_MS / 1000)
        stack.create_topics(settings)
        produce(settings, log)
        run_job(settings)
        stack.start_sink(processes, settings)
        clients[parallelism] = wait_for(lambda: reader(settings))
        wait_for(lambda: stored_all(settings, clients[parallelism]))
        processes.stop("sink")
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(params=[1, 2], ids=["parallelism 1", "parallelism 2"])
def query(request, pipelines):
    """A function from SQL to rows as dicts."""
    return lambda sql: list(pipelines[request.param].query(sql).named_results())


def wait_for(condition, timeout_s=60):
    """The first true value of condition(), which may fail while the sink has not made the tables yet."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
        except (ClickHouseError, UserError):
            pass
        time.sleep(0.3)
    raise TimeoutError("the sink did not store everything")


def stored_all(settings, client) -> bool:
    """Whether each result topic's keys are all in their tables."""
    return all(rows == client.query(f"SELECT count() FROM {name} FINAL").result_rows[0][0]
               for name, rows in keys_of_topics(settings).items())


def keys_of_topics(settings) -> dict[str, int]:
    """How many different keys each result topic holds."""
    keys = defaultdict(set)
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "none", "enable.partition.eof": True})
    names = {topics.topic(settings, name): name for name in ("daily_energy", "late", "dead_letter")}
    consumer.assign([TopicPartition(name, p, OFFSET_BEGINNING) for name in names for p in range(settings.partitions)])
    ends = 0
    while ends < len(names) * settings.partitions:
        message = consumer.poll(10)
        if message.error():
            ends += 1
        else:
            keys[names[message.topic()]].add(message.key())
    consumer.close()
    return {name: len(found) for name, found in keys.items()}


def test_every_day_of_every_meter_is_what_the_oracle_finds(query, expected):
    rows = {(r["house_id"], r["meter_id"], r["date"]): r for r in query("SELECT * FROM daily_energy FINAL")}
    assert set(rows) == set(expected.days)
    for key, day in expected.days.items():
        row = rows[key]
        assert row["kwh"] == pytest.approx(day.kwh, rel=1e-9)
        assert row["readings"] == len(day.readings)
        assert row["duplicates"] == day.duplicates
        assert row["covered_s"] == day.covered_ms / 1000
        assert row["max_gap_s"] == expected.max_gap_ms[key] / 1000
        assert row["final"] == expected.final[key]
    hours = {row["day_s"] / 3600 for row in rows.values()}
    assert hours == {23, 24, 25}


def test_late_readings_are_told_by_message_and_day(query, expected):
    rows = query("SELECT house_id, date, sum(readings) AS readings FROM late FINAL GROUP BY house_id, date")
    assert {(r["house_id"], r["date"]): r["readings"] for r in rows} == dict(expected.late)
    assert expected.late.total() > 100


def test_dead_letters_are_kept_to_the_byte(query, log):
    rows = query("SELECT hex(payload) AS payload, reason FROM dead_letter FINAL")
    assert sorted(bytes.fromhex(row["payload"]) for row in rows) == sorted(log.dead)
    assert len(rows) > 10 and all(row["reason"] for row in rows)


def test_totals_add_up(query, log, expected):
    [energy] = query("SELECT sum(readings) AS used, sum(duplicates) AS duplicate FROM daily_energy FINAL")
    [late] = query("SELECT sum(readings) AS late FROM late FINAL")
    assert energy["used"] + energy["duplicate"] + late["late"] + log.dead_readings == log.readings
    assert (energy["used"], energy["duplicate"]) == (expected.used, expected.duplicates)
    assert energy["duplicate"] > 100


def test_results_are_the_same_to_the_last_bit_at_any_parallelism(pipelines):
    sql = "SELECT * EXCEPT revision, reinterpretAsUInt64(kwh) AS bits FROM daily_energy FINAL ORDER BY house_id, meter_id, date"
    one, two = (client.query(sql).result_rows for client in pipelines.values())
    assert len(one) > 30 and one == two
