"""kill -9 of any service while data flows: afterwards the tables are what the oracle finds. ./smw test --soak kills more."""

from __future__ import annotations

import os
import signal
import time
from datetime import date, timedelta

import numpy as np
import pytest

from smartmeter.settings import Settings
from stack import broker, lifecycle, local_flink, services
from stack.processes import Processes, marked
from store.client import reader
from tests.pipeline.flow import Flow, judge_stack, settings_of_a_stack
from tests.pipeline.logs import make_log
from tests.processes import python_workers
from tests.waiting import until

ZONES = ("America/New_York", "Europe/London", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC")
BETWEEN_S = (1, 6)
A_KILL_S = 16  # about what a kill takes, recovery and the time to the next one included


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

        Of "worker" one process, which Flink starts again. "taskmanager" is the whole Flink, ended as if it had lost its TaskManager.
        """
        workers = until(lambda: not self.processes.check() and python_workers(self.processes.run / "pipeline.pid"))
        if service == "taskmanager":
            self.processes.watched["pipeline"] = self.processes.watched["pipeline"]._replace(fault=lambda: "has lost its TaskManager")
            return self.processes.check()
        for pid in workers[:1] if service == "worker" else self.pids(service):
            os.kill(pid, signal.SIGKILL)
        if service != "worker":
            self.processes.stop(service)
            self.start[service](self.processes, self.settings)


@pytest.fixture
def plan(request, tmp_path):
    """(which services to kill, in their order; the houses whose readings flow meanwhile)."""
    kinds = ["worker", "pipeline", "taskmanager", "kafka", "sink", "endpoint"]
    rng = np.random.default_rng(20261124)
    if request.config.getoption("--soak"):
        return list(rng.permutation(kinds * 5)), 12
    return list(rng.permutation(["worker", "kafka", "pipeline", "taskmanager"])), 4


def test_whatever_is_killed_nothing_is_lost_or_counted_twice(plan, tmp_path):
    kills, count = plan
    houses = {h: (ZONES[h % len(ZONES)], date(2013, 4, 4) + timedelta(days=h)) for h in range(1, count + 1)}
    log = make_log(7, houses)
    settings = settings_of_a_stack(tmp_path)
    with Processes(settings.stack.home) as processes:
        lifecycle.start(processes, settings)
        client = until(lambda: reader(settings))
        flow = Flow(settings, log.messages, A_KILL_S * (len(kills) + 1), shares=len(kills) + 1)
        flow.start()
        rng = np.random.default_rng(5)
        victims = Stack(processes, settings)
        for service in kills:
            time.sleep(rng.uniform(*BETWEEN_S))
            flow.go_on()
            victims.kill(service)
        flow.end()
        judge_stack(processes, settings, client, log)
        processes.check()
