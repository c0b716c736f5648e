"""A job goes on from a savepoint at another parallelism, and the newest complete state is found."""

from __future__ import annotations

import argparse
import os
from datetime import date, timedelta
from pathlib import Path

import pytest

from commands import savepoint
from generator.history import produce
from generator.synthetic import synthetic_houses
from smartmeter import state_folders
from smartmeter.errors import UserError
from smartmeter.settings import ROOT, Settings
from stack import local_flink, ports, savepoints
from tests.pipeline.flow import finals
from tests.topics import records
from tests.waiting import STILL_S, until

DAY = date(2026, 11, 10)
HOUSES = synthetic_houses(2, seed=3, timezone="UTC")
METERS = sum(len(house.meters) for house in HOUSES)


@pytest.fixture
def settings(with_topics, tmp_path):
    return ports.with_free_flink_port(with_topics).but(home=tmp_path, checkpoint_every_s=0.5, emit_every_s=0.2)


@pytest.fixture
def job(processes, settings):
    """Starts the pipeline, which ends with the test."""

    def start(settings=settings, **options):
        local_flink.start_job(processes, settings, **options)

    yield start
    if "pipeline" in processes.children:
        processes.stop("pipeline")


def send(settings, first_day: int, days: int) -> None:
    first = DAY + timedelta(days=first_day)
    produce(HOUSES, first, first + timedelta(days=days), 300, float("inf"), settings)


def readings(settings) -> int:
    """Readings in the newest revision of each meter and day."""
    newest = {}
    for r in records(settings, "daily_energy"):
        newest[r["house_id"], r["meter_id"], r["date"]] = r["readings"]
    return sum(newest.values())


def test_upgrade_of_the_daily_energy_job_to_the_pipeline_at_another_parallelism_over_its_savepoint(processes, settings, job, capsys):
    send(settings, 0, 3)
    local_flink.start_job(processes, settings.but(parallelism=1), ROOT / "jobs" / "daily_energy.py", ends=True)
    until(lambda: not processes.check() and len(finals(settings)) == 2 * METERS)
    savepoint.run(args(stop=True), settings)
    path = capsys.readouterr().out.splitlines()[-1]
    assert processes.children["daily_energy"].wait(STILL_S) == 0
    processes.stop("daily_energy")
    assert records(settings, "thresholds") == []
    send(settings, 3, 3)
    job(settings.but(parallelism=2), savepoint=path)
    until(lambda: not processes.check() and len(finals(settings)) == 5 * METERS)
    assert set(finals(settings).values()) == {1}, "the energy of days that were closed before is not emitted again"
    until(lambda: not processes.check() and readings(settings) == 6 * day_of_readings())
    newest = {(r["house_id"], r["date"]): r["meters"] for r in records(settings, "thresholds")}
    last_date = max(date for _, date in newest)
    for house in HOUSES:  # the day that was open then counts, with what has come since: nothing
        mains = newest[house.house_id, last_date][0]
        assert (mains["meter_id"], mains["covered_s"], mains["readings"]) == (1, 3 * 86_400, 2 * 86_400)
    savepoint.run(args(stop=False), settings)
    assert savepoints.require_savepoint(capsys.readouterr().out.splitlines()[-1])


def day_of_readings() -> int:
    return sum(2 * 86_400 + (len(house.meters) - 2) * 28_800 for house in HOUSES)


def args(stop: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    savepoint.add_arguments(parser)
    return parser.parse_args(["--stop"] * stop)


def test_what_is_no_savepoint_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} is no savepoint: it has no file _metadata"):
        savepoints.require_savepoint(str(tmp_path))


def test_no_flink_is_one_sentence(tmp_path):
    settings = ports.with_free_flink_port(Settings().but(home=tmp_path))
    with pytest.raises(UserError, match=f"^no Flink answers at http://127.0.0.1:{settings.flink.ui_port}: start one"):
        savepoint.run(args(stop=False), settings)


def test_the_newest_complete_state_is_found(tmp_path):
    settings = Settings().but(home=tmp_path / "a home", topic_prefix="x.")
    assert savepoints.newest_state(settings, "pipeline") is None
    for age_s, place in ((30, "a/chk-9"), (10, "b/chk-2"), (20, "b/chk-1")):
        complete(settings.stack.home / "checkpoints" / "x.pipeline" / "hashmap" / place, age_s)
    (settings.stack.home / "checkpoints" / "x.pipeline" / "hashmap" / "b" / "chk-3").mkdir()  # one that was not finished
    newest = f"file://{settings.stack.home}/checkpoints/x.pipeline/hashmap/b/chk-2"
    assert savepoints.newest_state(settings, "pipeline") == newest
    elsewhere = settings.but(checkpoint_dir=str(settings.stack.home / "checkpoints"), home=tmp_path)
    assert savepoints.newest_state(elsewhere, "pipeline") == newest
    for other in (dict(topic_prefix=""), dict(state_backend="rocksdb"), dict(checkpoint_dir="s3://bucket/x")):
        assert savepoints.newest_state(settings.but(**other), "pipeline") is None
    for of in (settings, elsewhere):
        folder = Path(of.flink.checkpoint_dir or of.stack.home) / "savepoints" / "x.pipeline" / "savepoint-1"
        complete(folder, 5)
        assert savepoints.newest_state(of, "pipeline") == f"file://{folder}"
        assert savepoints.newest_state(of, "daily_energy") is None


def test_state_that_lies_elsewhere_is_taken_at_its_address():
    settings = Settings().but(checkpoint_dir="s3://bucket/x/", topic_prefix="x.")
    assert state_folders.savepoints_of(settings, "spikes") == "s3://bucket/x/savepoints/x.spikes"
    assert savepoints.require_savepoint("s3://bucket/savepoint-1") == "s3://bucket/savepoint-1"
    assert savepoints.restore_options("s3://bucket/savepoint-1") == ["--fromSavepoint", "s3://bucket/savepoint-1"]


def complete(folder: Path, age_s: float) -> None:
    """A checkpoint or savepoint as complete as it looks from outside."""
    folder.mkdir(parents=True)
    (folder / "_metadata").touch()
    os.utime(folder / "_metadata", (1e9 - age_s, 1e9 - age_s))
