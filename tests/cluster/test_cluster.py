"""The jobs on a Flink cluster, by ./smw submit: the tables are what the oracle finds, alone and over an upgrade, rescaling and a node that dies."""

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
from stack import services
from tests.cluster.conftest import TASKMANAGERS
from tests.pipeline.conftest import all_stored, judge_tables, without
from tests.pipeline.flow import Flow, expected_of, finals, stored_readings, unread
from tests.pipeline.logs import HOUSES, make_log, produce
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
UPGRADED_HOUSES = tuple(house.house_id for house in UPGRADED)
METERS = sum(len(house.meters) for house in UPGRADED)
LATER = {11: HOUSES[1], 12: HOUSES[2]}
"""Houses that the pipeline has from their first reading on."""


@pytest.fixture(scope="module")
def log():
    return make_log(seed=11)


@pytest.fixture(scope="module")
def settings(kafka, clickhouse, processes, tmp_path_factory):
    """Settings with topics and tables of these tests' own, into which a sink of their own stores."""
    settings = clickhouse.but(
        topic_prefix="cluster.",
        clickhouse_database="cluster",
        checkpoint_dir=str(tmp_path_factory.mktemp("checkpoints")),
        checkpoint_every_s=1.0,
        window_days=WINDOW_DAYS,
        parallelism=1,
    )
    topic_admin.create_topics(settings)
    services.start_sink(processes, settings)
    yield settings
    processes.stop("sink")


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """Where the savepoint of the daily_energy job is, from which the pipeline continues."""
    return tmp_path_factory.mktemp("moved")


def test_jobs_alone_beside_each_other_and_one_that_stands_still(cluster, settings, log, moved, processes):
    with_secret = settings.but(clickhouse_password=SECRET)
    send_upgraded(settings, 0, 3)
    produce(settings, log.messages)
    with ThreadPoolExecutor(2) as clients:
        submitted = [clients.submit(cluster.smw, with_secret, "submit", job, "--installed") for job in ALONE]
        while not all(one.done() for one in submitted):
            assert not any(SECRET.encode() in line for line in command_lines())
            time.sleep(0.2)
    assert all("from the beginning of its topic ..." in one.result() for one in submitted)
    assert "spikes runs already in the Flink" in cluster.refused(settings, "submit", "spikes")
    assert "has 0 free slots of 4, and SMW_PARALLELISM=1 takes as many" in cluster.refused(settings, "submit", "pipeline")
    for job in ALONE:
        wait_until_read(cluster, settings, job)
    judge_all(settings, log, UPGRADED_HOUSES)
    assert len(finals_of_upgraded(settings)) == 2 * METERS
    assert stop(cluster, settings, "--job", "daily_energy", str(moved)).parent == moved
    assert stop(cluster, settings, "--job", "power_profile").parent.name == f"{settings.kafka.topic_prefix}power_profile"
    end_and_stand_still(cluster, settings, log, processes)


def end_and_stand_still(cluster, settings, log, processes) -> None:
    """Of two jobs with a supervisor each, one is cancelled, and one stands still, until it is started again, and is stopped."""
    of_supervisor = settings.but(stalled_s=10)
    stopped, cancelled = (cluster.begin(of_supervisor, "submit", job, "--installed", "--stay") for job in ("spikes", "thresholds"))
    id_of = {name: job_id for job_id, name in cluster.flink.jobs().items()}
    for supervised, job in ((stopped, "spikes"), (cancelled, "thresholds")):
        assert supervised.stdout.readline() == f"{job} runs: {cluster.flink.url}/#/job/running/{id_of[job]}\n"
    cluster.flink.cancel(id_of["thresholds"])
    _, error = cancelled.communicate(timeout=STILL_S)
    assert error == f"smw: the job is CANCELED in the Flink at {cluster.flink.url}\n" and cancelled.returncode == 1
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
    stop(cluster, settings)
    assert "spikes has stood still for 11 s: it is started again." in stopped.communicate(timeout=STILL_S)[1] and stopped.returncode == 0


def test_upgraded_and_rescaled_by_savepoints_a_taskmanager_killed_and_nodes_without_packages(cluster, settings, moved, processes):
    log = make_log(seed=13, houses=LATER)
    at = len(log.messages) * 3 // 4
    send_upgraded(settings, 3, 3)
    cluster.complete()
    [savepoint] = moved.iterdir()
    cluster.smw(settings.but(parallelism=4), "submit", "pipeline", "--installed", "--from-savepoint", str(savepoint))
    wait_until_read(cluster, settings)  # or the killed job would emit the days that it closes here a second time
    flow = Flow(settings, log.messages[:at], FLOW_S, shares=2)
    flow.start()
    until(lambda: flow.undelivered < at * 0.8)
    assert python_workers(processes.run / "taskmanager2.pid"), "the job runs on both"
    flow.go_on()
    cluster.kill("taskmanager2")
    flow.end()
    wait_until_read(cluster, settings)
    by_itself = stop(cluster, settings)

    cluster.replace_nodes()
    produce(settings, log.messages[at:])
    printed = cluster.smw(settings, "submit", "pipeline")
    assert f"from file://{by_itself} ..." in printed
    wait_until_read(cluster, settings)
    judge_all(settings, log, (*UPGRADED_HOUSES, *HOUSES))
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
    closed = finals_of_upgraded(settings)
    assert len(closed) == 5 * METERS and set(closed.values()) == {1}, "the energy of days that were closed before is not emitted again"
    emitted = (r for r in records(settings, "daily_energy") if r["house_id"] in UPGRADED_HOUSES)
    newest = {(r["house_id"], r["meter_id"], r["date"]): r["readings"] for r in emitted}
    assert sum(newest.values()) == 6 * sum(2 * 86_400 + (len(house.meters) - 2) * 28_800 for house in UPGRADED)
    versions = {(r["house_id"], r["date"]): r["meters"] for r in records(settings, "thresholds")}
    # Of the two days before the last but one, the first was open then, and counts with what has come since: nothing.
    for house in UPGRADED_HOUSES:
        mains = versions[house, sorted(date for of, date in versions if of == house)[-2]][0]
        assert (mains["meter_id"], mains["covered_s"], mains["readings"]) == (1, 2 * 86_400, 86_400)


def finals_of_upgraded(settings) -> dict[tuple, int]:
    return {day: times for day, times in finals(settings).items() if day[0] in UPGRADED_HOUSES}


def stop(cluster, settings, *which: str) -> Path:
    """Stop a job with a savepoint. Returns its folder."""
    running = len(cluster.flink.jobs())
    [path] = map(Path, cluster.smw(settings, "savepoint", "--stop", *which).split())
    assert (path / "_metadata").is_file()
    until(lambda: len(cluster.flink.jobs()) < running)
    return path


def judge_all(settings, log, others: tuple[int, ...]) -> None:
    """Wait until all that the jobs have read is stored; early results come a little later. others: houses that are not of the log."""
    client = until(lambda: without(settings, others))
    until(lambda: all_stored(settings) and stored_readings(client) == log.readings - log.dead_readings)
    judge_tables(client, expected_of(settings, log), ended=False)
    client.close()
