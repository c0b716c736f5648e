"""kill -9 of any service while data flows, and a job that stands still: afterwards the tables are what the oracle finds.

Then an import of days that are older than what their house has sent: the tables are what all in order give.

./smw test --soak kills more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from commands.status import mended
from smartmeter.settings import ROOT, Settings
from stack import broker, lifecycle, local_flink, savepoints, services
from stack.processes import Processes, marked
from store.client import reader
from tests.pipeline.conftest import all_stored, values
from tests.pipeline.flow import Flow, all_read, finals, judge_stack, settings_of_a_stack
from tests.pipeline.logs import make_log
from tests.processes import python_workers
from tests.topics import offsets
from tests.waiting import until

ZONES = ("America/New_York", "Europe/London", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC")
BETWEEN_S = (1, 6)
A_KILL_S = 16  # about what a kill takes, recovery and the time to the next one included
STALLED_S = 30  # shorter than a busy machine may take for a checkpoint: then the job is started again once more


class Stack:
    """A whole stack whose services can be killed, and are started again as a supervisor would."""

    def __init__(self, processes: Processes, settings: Settings):
        self.processes, self.settings = processes, settings
        self.start = {
            "kafka": broker.start_broker,
            "endpoint": services.start_endpoint,
            "sink": services.start_sink,
            "pipeline": local_flink.start_job,
        }

    def pids(self, name: str) -> list[int]:
        return marked(self.processes.run / f"{name}.pid")

    def kill(self, service: str) -> None:
        """kill -9 a service with all its processes, and start it again.

        Of "worker" one process, which Flink starts again. "taskmanager" is the whole Flink, ended as if it had lost its TaskManager. "hang"
        lets the job stand still.
        """
        workers = until(lambda: not self.processes.check() and python_workers(self.processes.run / "pipeline.pid"))
        if service == "hang":
            return self.hang(workers)
        if service == "taskmanager":
            self.processes.watched["pipeline"] = self.processes.watched["pipeline"]._replace(fault=lambda: "has lost its TaskManager")
            return self.processes.check()
        pids = workers[:1] if service == "worker" else self.pids(service)
        assert service != "pipeline" or len(pids) > len(workers)  # Flink and its Python workers
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if service != "worker":
            self.processes.stop(service)
            self.start[service](self.processes, self.settings)

    def hang(self, workers: list[int]) -> None:
        """Stop the Python workers, until the job has been started again because it stands still."""
        standing = self.processes.children["pipeline"]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        until(lambda: self.processes.check() or self.processes.children["pipeline"] is not standing)

    def closed(self) -> Counter:
        """How often each day that is over was emitted as final so far; two checkpoints have begun since, so they hold that.

        What was read before the last kill has been read again before, so it emits nothing more.
        """
        of_job = offsets(self.settings, ("readings",), "pipeline")
        sent = {place: end for place, (_, end) in of_job.bounds().items()}
        until(
            lambda: (
                not self.processes.check()
                and (all_read(self.settings) or all(of_job.committed()[place] >= end for place, end in sent.items()))
            )
        )
        found = finals(self.settings)
        for _ in range(2):
            before = savepoints.newest_state(self.settings, "pipeline")
            until(lambda: not self.processes.check() and savepoints.newest_state(self.settings, "pipeline") != before)
        return found


@pytest.fixture
def plan(request):
    """(which services to kill, in their order; the houses whose readings flow meanwhile).

    "hang" starts the whole Flink again as "taskmanager" does.
    """
    if request.config.getoption("--soak"):
        kinds = ["worker", "pipeline", "taskmanager", "kafka", "sink", "endpoint"]
        return [*np.random.default_rng(20261124).permutation(kinds * 5), "hang"], 12
    return ["worker", "kafka", "pipeline", "hang"], 4


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return settings_of_a_stack(tmp_path_factory.mktemp("stack_of_its_own"), stalled_s=STALLED_S)


@pytest.fixture(scope="module")
def own_processes(settings):
    with Processes(settings.stack.home) as processes:
        lifecycle.start(processes, settings)
        yield processes


@pytest.fixture(scope="module")
def client(settings, own_processes):
    return until(lambda: reader(settings))


def test_whatever_is_killed_nothing_is_lost_or_counted_twice(plan, settings, own_processes, client, capfd):
    kills, count = plan
    houses = {h: (ZONES[h % len(ZONES)], date(2013, 4, 4) + timedelta(days=h)) for h in range(1, count + 1)}
    log = make_log(7, houses)
    flow = Flow(settings, log.messages, A_KILL_S * (len(kills) + 1), shares=len(kills) + 1)
    flow.start()
    rng = np.random.default_rng(5)
    victims, closed = Stack(own_processes, settings), []
    for service in kills:
        time.sleep(rng.uniform(*BETWEEN_S))
        closed.append(victims.closed())
        flow.go_on()
        victims.kill(service)
    flow.end()
    judge_stack(own_processes, settings, client, log)
    own_processes.check()
    emitted = finals(settings)
    assert closed[-1], "days were over before the last kill"
    for before in closed:
        assert all(emitted[day] == times for day, times in before.items()), "days that were closed before are not emitted again"
    if "hang" in kills:
        found = f"pipeline has stood still for {settings.flink.standstill_s:.0f} s: it is started again"
        assert f"{found}." in capfd.readouterr().err
        assert any(problem.startswith(f"{found} (20") for problem in mended(settings))


IN_ORDER, IN_PARTS, BEGIN = 1001, 1002, datetime(2013, 3, 20, tzinfo=UTC)
"""Two houses that measure the same, and when they begin. The days of one are imported in order, those of the other the newer ones first."""
MAPPING = """
time = "time"
timezone = "Europe/Berlin"
house_column = "house"
columns = [{name = "mains", unit = "W"}, {name = "kettle", unit = "W"}, {name = "dial", unit = "Wh", quantity = "import"}]
"""
SAME_IN_BOTH = {
    "daily_energy": ("house_id", "duplicates"),
    "thresholds": ("house_id",),
    "alerts": ("house_id", "alert_id"),
    "power_profile": ("house_id",),
}
"""Table -> columns in which the two houses may differ."""


def write_days(path, days_of: dict[int, range]) -> None:
    """A file with a reading of two meters each minute of some days of houses, and of a register each quarter of an hour.

    On days 1 to 4 and 11, the kettle is on at 9 kW for 40 minutes.
    """
    rng = np.random.default_rng(5)
    base, kettle = rng.integers(100, 300, 20 * 1440), np.repeat(np.where(rng.random(20 * 288) < 0.02, 2000, 0), 5)
    for day in (1, 2, 3, 4, 11):
        kettle[day * 1440 + 600 : day * 1440 + 640] = 9000
    dial = np.cumsum(base) // 60
    lines = [
        f"{(BEGIN + timedelta(minutes=minute)).isoformat()},{house},{base[minute] + kettle[minute]},{kettle[minute]},"
        f"{'' if minute % 15 else dial[minute]}"
        for house, days in days_of.items()
        for minute in range(days.start * 1440, days.stop * 1440)
    ]
    path.write_text("\n".join(["time,house,mains,kettle,dial", *lines]))


class Ended(Exception):
    """A command has ended."""


def test_days_that_are_imported_after_newer_ones_give_what_all_in_order_give(settings, own_processes, client, tmp_path, monkeypatch):
    def smw_import(days_of: dict[int, range]) -> str:
        """What the command prints, beside what looks after the stack."""
        write_days(tmp_path / "days.csv", days_of)
        command = [ROOT / "smw", "import", tmp_path / "days.csv", "--map", tmp_path / "mapping.toml"]
        with subprocess.Popen(
            command, env=os.environ | settings.environ(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as done:

            def check():
                Processes.check(own_processes)
                if done.poll() is not None:
                    raise Ended

            with monkeypatch.context() as patch, pytest.raises(Ended):
                patch.setattr(own_processes, "check", check)
                lifecycle.stay(own_processes, settings)
            output = done.stdout.read()
        assert done.returncode == 0, output
        until(lambda: not own_processes.check() and all_read(settings) and all_stored(settings))
        return output

    def of(table: str, house: int) -> list[tuple]:
        return values(client, table, f"house_id = {house}", SAME_IN_BOTH[table])

    (tmp_path / "mapping.toml").write_text(MAPPING)
    smw_import({IN_ORDER: range(12), IN_PARTS: range(6, 12)})
    others = {table: values(client, table, "house_id < 1000") for table in SAME_IN_BOTH}
    only_without_the_older = {row[:3] for row in of("alerts", IN_PARTS)} - {row[:3] for row in of("alerts", IN_ORDER)}
    assert only_without_the_older and of("alerts", IN_ORDER)
    assert "20,832 of them as older days" in smw_import({IN_PARTS: range(7)})  # day 6 again
    assert "older" not in smw_import({IN_ORDER: range(12, 16), IN_PARTS: range(12, 16)})
    for table in SAME_IN_BOTH:
        assert of(table, IN_ORDER) == of(table, IN_PARTS), table
        assert values(client, table, "house_id < 1000") == others[table], table
    assert client.query("SELECT count() FROM late WHERE house_id > 1000").first_row == (0,)
    duplicates = "SELECT sum(duplicates), sum(readings), uniqExact(date) FROM daily_energy FINAL WHERE house_id = {house:Int64}"
    found = [client.query(duplicates, parameters={"house": house}).first_row for house in (IN_ORDER, IN_PARTS)]
    a_day = 2 * 1440 + 96
    assert found == [(0, 16 * a_day, 17), (a_day, 16 * a_day, 17)]
