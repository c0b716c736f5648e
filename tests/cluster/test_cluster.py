"""The jobs on a Flink cluster, by ./smw submit: the tables are what the oracle finds, over an upgrade, rescaling and a node that dies."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from generator import history
from generator.synthetic import SyntheticHouse
from smartmeter import state_folders
from smartmeter.kafka import topic_admin
from smartmeter.settings import Settings
from stack import services
from tests.cluster.conftest import TASKMANAGERS
from tests.pipeline.conftest import all_stored, judge_tables, without
from tests.pipeline.flow import Flow, expected_of, finals, stored_readings, unread
from tests.pipeline.logs import make_log, produce
from tests.processes import command_lines, python_workers
from tests.topics import records
from tests.waiting import STILL_S, until

WINDOW_DAYS = 2
ALONE = ("daily_energy", "thresholds", "spikes", "power_profile")
FLOW_S = 10
SECRET = "only-in-the-environment"
DAY = date(2026, 11, 10)
UPGRADED = [SyntheticHouse(number, seed=3, timezone="UTC", has_faults=False) for number in (101, 102)]
"""Houses whose readings the daily_energy job has begun to process, before the pipeline continues over its savepoint."""
METERS = sum(len(house.meters) for house in UPGRADED)


@pytest.fixture(scope="module")
def log():
    return make_log(seed=11)


@pytest.fixture(scope="module")
def expected(log):
    return expected_of(Settings().but(window_days=WINDOW_DAYS), log)


@pytest.fixture
def settings(kafka, clickhouse, processes, request, tmp_path):
    """Settings with topics and tables of a test's own, into which a sink of its own stores."""
    name = request.node.name
    settings = clickhouse.but(
        topic_prefix=f"{name}.", clickhouse_database=name, checkpoint_dir=str(tmp_path), checkpoint_every_s=1.0, window_days=WINDOW_DAYS
    )
    topic_admin.create_topics(settings)
    services.start_sink(processes, settings)
    yield settings
    processes.stop("sink")


def test_jobs_alone_beside_each_other_and_one_that_stands_still(cluster, settings, log, expected, processes):
    of_one = settings.but(parallelism=1, clickhouse_password=SECRET, stalled_s=10)
    produce(settings, log.messages)
    with ThreadPoolExecutor(2) as clients:
        submitted = [clients.submit(cluster.smw, of_one, "submit", job, "--installed") for job in ALONE]
        while not all(one.done() for one in submitted):
            assert not any(SECRET.encode() in line for line in command_lines())
            time.sleep(0.2)
    assert all("from the beginning of its topic ..." in one.result() for one in submitted)
    assert "spikes runs already in the Flink" in cluster.refused(of_one, "submit", "spikes")
    assert "has 0 free slots of 4, and SMW_PARALLELISM=1 takes as many" in cluster.refused(of_one, "submit", "pipeline")
    for job in ALONE:
        wait_until_read(cluster, settings, job)
    judge_all(settings, log, expected)
    stopped, cancelled = (cluster.begin(of_one, "submit", job, "--installed", "--stay") for job in ("spikes", "thresholds"))
    id_of = {name: job_id for job_id, name in cluster.flink.jobs().items()}
    for supervised, job in ((stopped, "spikes"), (cancelled, "thresholds")):
        assert supervised.stdout.readline() == f"{job} runs: {cluster.flink.url}/#/job/running/{id_of[job]}\n"
    cluster.flink.cancel(id_of["thresholds"])
    assert (
        cancelled.communicate(timeout=STILL_S)[1] == f"smw: the job is CANCELED in the Flink at {cluster.flink.url}\n"
        and cancelled.returncode == 1
    )
    places = [cluster.smw(settings, "savepoint", "--stop", "--job", job) for job in ("daily_energy", "power_profile")]
    for pid in (pid for name in TASKMANAGERS for pid in python_workers(processes.run / f"{name}.pid")):
        os.kill(pid, signal.SIGSTOP)
    produce(settings, log.messages[:100])  # checkpoints need no worker that has nothing to do
    [again] = until(
        lambda: (
            cluster.tend() or [job_id for job_id in cluster.flink.jobs() if job_id != id_of["spikes"] and cluster.flink.progress(job_id)]
        )
    )
    newest = urlsplit(cluster.flink.newest_checkpoint(again)).path  # file:/ where it was restored, file:/// where it is the job's own
    assert newest.startswith(f"{state_folders.folder_at(settings.flink.checkpoint_dir)}/{settings.kafka.topic_prefix}spikes/")
    places += cluster.smw(settings, "savepoint", "--stop").split()
    assert {Path(place.strip()).parent.name for place in places} == {
        settings.kafka.topic_prefix + job for job in ALONE if job != "thresholds"
    }
    assert "spikes has stood still for 11 s: it is started again." in stopped.communicate(timeout=STILL_S)[1] and stopped.returncode == 0


def test_upgraded_and_rescaled_by_savepoints_on_nodes_that_are_replaced_and_a_taskmanager_killed(
    cluster, settings, log, expected, processes, tmp_path
):
    length = len(log.messages) // 4 + 1
    pieces = [log.messages[at : at + length] for at in range(0, len(log.messages), length)]
    send_upgraded(settings, 0, 3)
    cluster.complete()
    cluster.smw(settings.but(parallelism=1), "submit", "daily_energy", "--installed")
    until(lambda: len(finals(settings)) == 2 * METERS)
    moved = stop(cluster, settings, str(tmp_path / "moved"))
    assert moved.parent == tmp_path / "moved" and records(settings, "thresholds") == []

    send_upgraded(settings, 3, 3)
    produce(settings, pieces[0])
    cluster.smw(settings.but(parallelism=2), "submit", "pipeline", "--installed", "--from-savepoint", str(moved))
    produce(settings, pieces[1])
    wait_until_read(cluster, settings)
    by_itself = stop(cluster, settings)

    cluster.replace_nodes()
    produce(settings, pieces[2])
    printed = cluster.smw(settings.but(parallelism=4), "submit", "pipeline")
    assert f"from file://{by_itself} ..." in printed
    wait_until_read(cluster, settings)
    flow = Flow(settings, pieces[3], FLOW_S, shares=2)
    flow.start()
    until(lambda: flow.undelivered < len(pieces[3]) * 0.8)
    assert python_workers(processes.run / "taskmanager2.pid"), "the job runs on both"
    flow.go_on()
    cluster.kill("taskmanager2")
    flow.end()
    wait_until_read(cluster, settings)
    judge_all(settings, log, expected)
    judge_upgraded(settings)
    stop(cluster, settings)


def wait_until_read(cluster, settings, job: str = "pipeline") -> None:
    """Wait until a checkpoint of a job holds all of its topics."""
    until(lambda: cluster.tend() or unread(settings, job) == 0, progress=lambda: unread(settings, job))


def send_upgraded(settings, first_day: int, days: int) -> None:
    first = DAY + timedelta(days=first_day)
    history.produce(UPGRADED, first, first + timedelta(days=days), 300, float("inf"), settings)


def judge_upgraded(settings) -> None:
    """The daily_energy job has closed two days, and the pipeline over its savepoint three; the sixth is open."""
    houses = {house.house_id for house in UPGRADED}
    closed = {day: times for day, times in finals(settings).items() if day[0] in houses}
    assert len(closed) == 5 * METERS and set(closed.values()) == {1}, "the energy of days that were closed before is not emitted again"
    newest = {
        (r["house_id"], r["meter_id"], r["date"]): r["readings"] for r in records(settings, "daily_energy") if r["house_id"] in houses
    }
    assert sum(newest.values()) == 6 * sum(2 * 86_400 + (len(house.meters) - 2) * 28_800 for house in UPGRADED)
    versions = {(r["house_id"], r["date"]): r["meters"] for r in records(settings, "thresholds")}
    for house in houses:  # of the two days before the last but one, the first was open then, and counts with what has come since: nothing
        mains = versions[house, sorted(date for of, date in versions if of == house)[-2]][0]
        assert (mains["meter_id"], mains["covered_s"], mains["readings"]) == (1, 2 * 86_400, 86_400)


def stop(cluster, settings, *where: str) -> Path:
    """Stop the job with a savepoint. Returns its folder."""
    path = Path(cluster.smw(settings, "savepoint", "--stop", *where).strip())
    assert (path / "_metadata").is_file()
    until(lambda: not cluster.flink.jobs())
    return path


def judge_all(settings, log, expected) -> None:
    """Wait until all that the jobs have read is stored; early results come a little later."""
    client = until(lambda: without(settings, tuple(house.house_id for house in UPGRADED)))
    until(lambda: all_stored(settings) and stored_readings(client) == log.readings - log.dead_readings)
    judge_tables(client, expected, ended=False)
    client.close()
