"""History repeats itself: by ./smw replay from Kafka's log, from bursts of another size, at another parallelism, over a crash."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard import queries
from generator import history
from generator.houses import House
from generator.synthetic import synthetic_houses
from smartmeter.kafka import topic_admin
from smartmeter.kafka.producer import Producer
from smartmeter.messages.codec import Burst
from smartmeter.messages.topics import RESULTS
from smartmeter.settings import ROOT
from stack import services
from store.client import reader, writer
from tests.pipeline.conftest import run_job, store_all, values
from tests.processes import python_workers
from tests.topics import offsets
from tests.waiting import STILL_S, until

FIRST, DAYS = date(2026, 10, 29), 6  # clocks change on 1 November
HOUSES = synthetic_houses(3, seed=11, timezone="America/New_York")
TWINS_FROM = 100
"""What is added to a house's number for its twin, which measures the same and sends bursts of another size."""
FROM, TO = date(2026, 11, 1), date(2026, 11, 2)
REPLAYED = {  # table -> which of its rows are of the days that are replayed
    **dict.fromkeys(("daily_energy", "thresholds", "alerts"), f"date BETWEEN '{FROM}' AND '{TO}'"),
    "power_profile": f"toDate(minute, 'America/New_York') BETWEEN '{FROM}' AND '{TO}'",
}


AHEAD, AHEAD_DAYS = 9, [date(2026, 10, day) for day in range(20, 25)]
"""A house of 1 kW, whose clock was three days ahead for two bursts of its first day; and the days on which it measured."""


IDS = ("house_id", "alert_id")
"""Columns in which a house and its twin differ."""
KAFKA_TIME_OF = {b"2": lambda ms: ms // 1000, b"3": lambda ms: ms * 1_000_000}
"""House -> the time that its producer gives Kafka: seconds, nanoseconds."""


def of_a_clock_ahead(burst_ms: int = 3_600_000):
    """An hour's readings a burst; those of 10:00 and 11:00 on the first day have the time of three days later."""
    begun = int(datetime(2026, 10, 20, tzinfo=UTC).timestamp()) * 1000
    for hour in range(24 * len(AHEAD_DAYS)):
        start = begun + (hour + 72 * (hour in (10, 11))) * burst_ms
        yield Burst(
            AHEAD,
            "UTC",
            start,
            start + burst_ms,
            60_000,
            np.array([1], np.int32),
            np.array([60], np.int32),
            np.array([0, *[1] * 59], np.int32),
            np.full(60, 1000, np.float32),
        )


class Twin(House):
    """Another house that measures what a house does."""

    def __init__(self, house: House):
        super().__init__(house.house_id + TWINS_FROM, house.source, house.timezone, house.meters, house.place)
        self.days = house.days

    def days(self, first, end): ...


def produce(settings) -> None:
    """Send the days of the houses and their twins; the messages of two houses have other times than Kafka takes."""

    class WithOtherTimes(Producer):
        def send(self, name, key, payload, timestamp_ms, *others):
            super().send(name, key, payload, KAFKA_TIME_OF.get(key, int)(timestamp_ms), *others)

    topic_admin.create_topics(settings)
    with WithOtherTimes(settings) as producer:
        for burst in of_a_clock_ahead():
            producer.send_burst(burst)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "Producer", WithOtherTimes)
        for houses, burst_s in ((HOUSES, 300), (list(map(Twin, HOUSES)), 47)):
            history.produce(houses, FIRST, FIRST + timedelta(days=DAYS), burst_s, float("inf"), settings)


@pytest.fixture(scope="module")
def settings(clickhouse, kafka):
    return clickhouse.but(topic_prefix="history.", clickhouse_database="history", window_days=3, parallelism=2)


@pytest.fixture(scope="module")
def original(settings, processes):
    """A client on the tables of the days as they were processed first."""
    produce(settings)
    run_job(settings, "pipeline")
    return store_all(settings, processes)


def replay(settings, *arguments) -> str:
    """What ./smw replay prints."""
    done = subprocess.run(
        [ROOT / "smw", "replay", *arguments], env=os.environ | settings.environ(), text=True, capture_output=True, timeout=STILL_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_days_that_were_chosen_have_something_to_repeat(original):
    counts = {table: len(values(original, table, f"{where} AND house_id < {TWINS_FROM}")) for table, where in REPLAYED.items()}
    meters = sum(len(house.meters) for house in HOUSES)
    assert counts["daily_energy"] == 2 * meters and counts["alerts"] >= 2 and counts["thresholds"] > meters
    assert counts["power_profile"] == 49 * 60 * meters


@pytest.mark.parametrize("house", HOUSES, ids=lambda house: house.house_id)
def test_bursts_of_another_size_give_the_same(original, house):
    for table in REPLAYED:
        own, twins = (values(original, table, f"house_id = {number}", IDS) for number in (house.house_id, Twin(house).house_id))
        assert own and own == twins, table


def test_a_replay_over_a_crash_at_another_parallelism_mends_the_old_results(original, settings, processes):
    before = {table: values(original, table) for table in REPLAYED}
    damage = writer(settings, settings.clickhouse.database)
    for table, where in REPLAYED.items():
        damage.command(f"ALTER TABLE {table} DELETE WHERE house_id = 2 AND {where} SETTINGS mutations_sync = 2")
    damage.command(f"INSERT INTO daily_energy (house_id, meter_id, date, kwh, revision) VALUES (2, 1, '{FROM}', 99, 1)")
    assert len(values(original, "daily_energy")) < len(before["daily_energy"])
    services.start_sink(processes, settings)
    with ThreadPoolExecutor() as threads:
        killed = threads.submit(kill_a_worker, settings.stack.home / "replay" / "run" / "pipeline.pid", settings, results(settings))
        output = replay(settings.but(parallelism=4), "--from", str(FROM), "--to", str(TO))
        assert killed.result() and "messages read" in output
    processes.stop("sink")
    for table in REPLAYED:
        assert values(original, table) == before[table], table


def kill_a_worker(pid_file: Path, settings, before: int) -> int:
    """kill -9 a Python worker of a job, as soon as there are more results than before. Returns its pid."""
    until(lambda: results(settings) > before)
    worker, *_ = python_workers(pid_file)
    os.kill(worker, signal.SIGKILL)
    return worker


def results(settings) -> int:
    """How many messages the topics of results hold."""
    return sum(end for _, end in offsets(settings, RESULTS, "none").bounds().values())


def test_days_that_a_clock_ahead_has_closed_come_back_by_the_way_that_quality_names(original, settings):
    energy = f"SELECT date, round(sum(kwh), 6) FROM daily_energy FINAL WHERE house_id = {AHEAD} GROUP BY date ORDER BY date"
    second, third = AHEAD_DAYS[1:3]
    assert [day for day, _ in original.query(energy).result_rows] == [AHEAD_DAYS[0], *AHEAD_DAYS[3:]]
    doubtful = queries.doubtful_days(original, AHEAD_DAYS[0], AHEAD_DAYS[-1], AHEAD, 10)
    empty = doubtful[doubtful["known"] == 0]
    assert empty[["date", "late_readings"]].values.tolist() == [[pd.Timestamp(third), 1440], [pd.Timestamp(second), 1440]]
    replay(settings, "--from", str(second), "--to", str(third), "--house", str(AHEAD), "--with-late", "--into", "with_late")
    beside = reader(settings.but(clickhouse_database="history_with_late"))
    assert beside.query(energy).result_rows == [(second, 24.0), (third, 24.0)]
    assert {row[0] for table in REPLAYED for row in beside.query(f"SELECT house_id FROM {table}").result_rows} == {AHEAD}


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--from", "2026-11-02", "--to", "2026-11-01"], "give two dates such as 2026-11-01, the last not before the first"),
        (["--from", "yesterday", "--to", "2026-11-01"], "give two dates such as 2026-11-01"),
        (["--from", "2026-11-01", "--to", "2026-11-01", "--with-late"], "give it with --house"),
        (["--from", "2026-11-01", "--to", "2026-11-01", "--into", "a-b"], "a name of letters, digits and underscores"),
    ],
)
def test_invalid_arguments_are_reported_in_one_sentence(settings, arguments, sentence):
    done = subprocess.run([ROOT / "smw", "replay", *arguments], env=os.environ | settings.environ(), text=True, capture_output=True)
    assert done.returncode == 1 and sentence in done.stderr and len(done.stderr.splitlines()) == 1
