"""kill -9 of any part while data flows: afterwards the tables are what the oracle finds. ./smw test --soak kills more."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import date, timedelta

import numpy as np
import pytest
from confluent_kafka import Producer

from smartmeter import stack, topics
from smartmeter.offsets import Offsets
from smartmeter.processes import Processes, marked
from smartmeter.settings import Settings
from store.client import reader
from tests.oracle import Rule, judge
from tests.pipeline.conftest import all_stored, judge_tables
from tests.pipeline.logs import make_log
from tests.processes import python_workers
from tests.waiting import until

ZONES = ("America/New_York", "Europe/London", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC")
BETWEEN_S = (1, 6)
A_KILL_S = 16  # about what a kill takes, recovery and the time to the next one included


class Stack:
    """A whole stack whose parts can be killed, and are started again as a supervisor would."""

    def __init__(self, processes: Processes, settings: Settings):
        self.processes, self.settings = processes, settings
        self.start = {
            "kafka": stack.start_broker, "endpoint": stack.start_endpoint, "sink": stack.start_sink, "pipeline": stack.start_job}

    def pids(self, name: str) -> list[int]:
        return marked(self.processes.run / f"{name}.pid")

    def kill(self, part: str) -> None:
        """kill -9 a part with all its processes, and start it again; of "worker" one process, which Flink starts again."""
        pids = python_workers(self.processes.run / "pipeline.pid")[:1] if part == "worker" else self.pids(part)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if part != "worker":
            self.processes.stop(part)
            self.start[part](self.processes, self.settings)


class Flow(threading.Thread):
    """Sends messages to the topic readings, spread over some seconds; the broker may be away meanwhile."""

    def __init__(self, settings: Settings, messages, seconds: float):
        super().__init__()
        self.settings, self.messages, self.seconds = settings, messages, seconds
        self.undelivered = len(messages)

    def run(self):
        producer = Producer({"bootstrap.servers": self.settings.kafka, "enable.idempotence": True, "log_level": 0})
        begun, name = time.monotonic(), topics.topic(self.settings, "readings")
        for i, (key, value) in enumerate(self.messages):
            while (ahead := begun + i * self.seconds / len(self.messages) - time.monotonic()) > 0:
                producer.poll(min(ahead, 0.1))
            producer.produce(name, value, key, on_delivery=self.delivered)
        producer.flush(60)

    def delivered(self, error, _message):
        self.undelivered -= error is None


@pytest.fixture
def parts(request, tmp_path):
    """(which parts to kill, in their order; the houses whose readings flow meanwhile)."""
    kinds = ["worker", "pipeline", "kafka", "sink", "endpoint"]
    rng = np.random.default_rng(20261124)
    if request.config.getoption("--soak"):
        return list(rng.permutation(kinds * 5)), 12
    return list(rng.permutation(["worker", "kafka", "pipeline"])), 4


def test_whatever_is_killed_nothing_is_lost_or_counted_twice(parts, tmp_path):
    kills, count = parts
    houses = {h: (ZONES[h % len(ZONES)], date(2013, 4, 4) + timedelta(days=h)) for h in range(1, count + 1)}
    log = make_log(7, houses)
    settings = stack.with_free_ports(Settings(
        home=tmp_path, kafka="127.0.0.1:0", kafka_controller_port=0, clickhouse_url="http://127.0.0.1:0", flink_ui_port=0, dashboard_port=0,
        checkpoint_every_s=1.0, window_days=2))
    with Processes(settings.home) as processes:
        stack.start(processes, settings)
        client = until(lambda: reader(settings))
        flow = Flow(settings, log.messages, A_KILL_S * (len(kills) + 1))
        flow.start()
        rng = np.random.default_rng(5)
        victims = Stack(processes, settings)
        for part in kills:
            time.sleep(rng.uniform(*BETWEEN_S))
            victims.kill(part)
            assert flow.is_alive(), "the data ended before the kills did"
        flow.join()
        assert flow.undelivered == 0
        until(lambda: all_read(settings) and all_stored(settings) and stored_readings(client) == log.readings - log.dead_readings, 120)
        processes.check()
        until(lambda: all_stored(settings))
        judge_tables(client, judge(log.bursts, round(settings.max_gap_s * 1000), round(settings.allowed_lateness_s * 1000),
                                   Rule(window_days=2, hold_ms=round(settings.hold_s * 1000))), ended=False)
        found = client.query("SELECT hex(payload) FROM dead_letter FINAL").result_rows
        assert sorted(bytes.fromhex(payload) for payload, in found) == sorted(log.dead)


def all_read(settings) -> bool:
    """Whether a checkpoint of the job holds all of the topic."""
    with Offsets(settings, ("readings",), f"{settings.topic_prefix}pipeline") as offsets:
        return offsets.lag() == 0


def stored_readings(client) -> int:
    """Readings that the tables account for."""
    return sum(client.query(f"SELECT sum({column}) FROM {table} FINAL").first_row[0] for table, column in (
        ("daily_energy", "readings"), ("daily_energy", "duplicates"), ("late", "readings")))
