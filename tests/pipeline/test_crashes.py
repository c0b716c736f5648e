"""kill -9 of any service while data flows, and a job that stands still: afterwards the tables are what the oracle finds.

./smw test --soak kills more.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from datetime import date, timedelta

import numpy as np
import pytest

from commands.status import mended
from smartmeter.settings import Settings
from stack import broker, lifecycle, local_flink, savepoints, services
from stack.processes import Processes, marked
from store.client import reader
from tests.pipeline.flow import Flow, all_read, finals, judge_stack, settings_of_a_stack
from tests.pipeline.logs import make_log
from tests.processes import python_workers
from tests.topics import offsets
from tests.waiting import until

ZONES = ("America/New_York", "Europe/London", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC")
BETWEEN_S = (1, 6)
A_KILL_S = 16  # about what a kill takes, recovery and the time to the next one included
STALLED_S = 60  # a busy machine may take half a minute for a checkpoint


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
    """(which services to kill, in their order; the houses whose readings flow meanwhile)."""
    if request.config.getoption("--soak"):
        kinds = ["worker", "pipeline", "taskmanager", "kafka", "sink", "endpoint"]
        return [*np.random.default_rng(20261124).permutation(kinds * 5), "hang"], 12
    return ["worker", "kafka", "taskmanager", "pipeline", "hang"], 4


def test_whatever_is_killed_nothing_is_lost_or_counted_twice(plan, tmp_path, capfd):
    kills, count = plan
    houses = {h: (ZONES[h % len(ZONES)], date(2013, 4, 4) + timedelta(days=h)) for h in range(1, count + 1)}
    log = make_log(7, houses)
    settings = settings_of_a_stack(tmp_path, stalled_s=STALLED_S)
    with Processes(settings.stack.home) as processes:
        lifecycle.start(processes, settings)
        client = until(lambda: reader(settings))
        flow = Flow(settings, log.messages, A_KILL_S * (len(kills) + 1), shares=len(kills) + 1)
        flow.start()
        rng = np.random.default_rng(5)
        victims, closed = Stack(processes, settings), []
        for service in kills:
            time.sleep(rng.uniform(*BETWEEN_S))
            closed.append(victims.closed())
            flow.go_on()
            victims.kill(service)
        flow.end()
        judge_stack(processes, settings, client, log)
        processes.check()
        emitted = finals(settings)
    assert closed[-1], "days were over before the last kill"
    for before in closed:
        assert all(emitted[day] == times for day, times in before.items()), "days that were closed before are not emitted again"
    if "hang" in kills:
        found = f"pipeline has stood still for {settings.flink.standstill_s:.0f} s: it is started again"
        assert f"{found}." in capfd.readouterr().err
        assert any(problem.startswith(f"{found} (20") for problem in mended(settings))
