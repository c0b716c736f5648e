"""What tests of a whole stack share: its settings, messages that flow meanwhile, and the judgement once all is stored."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Protocol

from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer

from smartmeter.kafka import connection
from smartmeter.kafka.consumers import JOBS, group_of
from smartmeter.messages import topics
from smartmeter.settings import Settings
from tests.oracle import Outcome
from tests.pipeline.conftest import all_stored, judge_tables
from tests.pipeline.logs import Log
from tests.ports import on_free_ports
from tests.topics import offsets, records
from tests.unit.outcomes import judged
from tests.waiting import STILL_S, until

WINDOW_DAYS = 2


def settings_of_a_stack(home: Path, **others) -> Settings:
    """Settings of a stack of a test's own."""
    return on_free_ports(home, checkpoint_every_s=1.0, window_days=WINDOW_DAYS, **others)


class Flow(threading.Thread):
    """Sends messages to the topic readings, spread over some seconds; the broker may be away meanwhile.

    They are sent in shares: the first immediately, each other one on go_on(). So the data lasts until then.
    """

    def __init__(self, settings: Settings, messages, seconds: float, shares: int = 1):
        super().__init__(daemon=True)  # a test that fails does not wait for it
        self.settings, self.seconds = settings, seconds
        self.shares = [messages[i * len(messages) // shares : (i + 1) * len(messages) // shares] for i in range(shares)]
        self.called_for = threading.Semaphore()
        self.undelivered = len(messages)

    def run(self):
        producer = Producer(connection.client(self.settings) | {"enable.idempotence": True, "topic.metadata.refresh.interval.ms": 500})
        for share in self.shares:
            while not self.called_for.acquire(blocking=False):
                producer.poll(0.1)
            self.send(producer, share)
        producer.flush(STILL_S)

    def send(self, producer: Producer, share) -> None:
        begun, name = time.monotonic(), topics.topic(self.settings, "readings")
        for i, (key, value) in enumerate(share):
            while (ahead := begun + i * self.seconds / len(self.shares) / len(share) - time.monotonic()) > 0:
                producer.poll(min(ahead, 0.1))
            producer.produce(name, value, key, on_delivery=self.delivered)

    def delivered(self, error, _message):
        self.undelivered -= error is None

    def go_on(self) -> None:
        """Start sending the next share."""
        self.called_for.release()

    def hurry(self) -> None:
        """Send without delay what may be sent."""
        self.seconds = 0

    def end(self) -> None:
        """Wait for the last message; fails when one was not delivered."""
        self.join()
        assert self.undelivered == 0


def expected_of(settings: Settings, log: Log) -> Outcome:
    """What the oracle finds in a log."""
    return judged(log.bursts, settings, log.rules, log.houses)


class Checked(Protocol):
    """What runs a stack."""

    def check(self) -> None:
        """Start again what should be, and fail when something else has ended."""


def judge_stack(processes: Checked, settings: Settings, client: Client, log: Log) -> None:
    """Wait until all of a log is stored. Fails when the tables are not what the oracle finds."""
    readings = log.readings - log.dead_readings
    until(
        lambda: not processes.check() and all_read(settings) and all_stored(settings) and stored_readings(client) == readings,
        lambda: stored_readings(client),
    )
    until(lambda: all_stored(settings))
    judge_tables(client, expected_of(settings, log), ended=False)
    assert dead_letters(client) == sorted(log.dead)


def all_read(settings: Settings, job: str = "pipeline") -> bool:
    """Whether a checkpoint of a job holds all of its topics."""
    return unread(settings, job) == 0


def unread(settings: Settings, job: str = "pipeline") -> int:
    """Messages of a job's topics that no checkpoint of it holds."""
    return offsets(settings, JOBS[job], group_of(settings, job)).lag()


def stored_readings(client: Client) -> int:
    """Readings that the tables account for."""
    return sum(
        client.query(f"SELECT sum({column}) FROM {table} FINAL").first_row[0]
        for table, column in (
            ("daily_energy", "readings"),
            ("daily_energy", "duplicates"),
            ("daily_energy", "refused"),
            ("late", "readings"),
        )
    )


def finals(settings: Settings) -> Counter:
    """How often each meter and day was emitted as final: (house_id, meter_id, date) -> times."""
    return Counter((r["house_id"], r["meter_id"], r["date"]) for r in records(settings, "daily_energy") if r["final"])


def dead_letters(client: Client) -> list[bytes]:
    """The messages that could not be used, sorted."""
    return sorted(bytes.fromhex(payload) for (payload,) in client.query("SELECT hex(payload) FROM dead_letter FINAL").result_rows)
