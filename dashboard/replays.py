"""Replays started from the dashboard: one at a time, each a process of ./smw replay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.connection import settings
from smartmeter import reports
from smartmeter.folders import private_folder
from smartmeter.logs import Bound, Output


@dataclass
class Replay:
    """A running or finished replay."""

    first: date
    last: date
    house_id: int  # 0: all
    before: dict[str, Any]  # result of queries.replayed at the start
    begun_ms: int
    process: subprocess.Popen[bytes]
    report_file: Path
    log: Path

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.process.poll() is None

    @property
    def report(self) -> reports.Report:
        """What the process has reported so far."""
        return reports.read(self.report_file)


class Replays:
    """The dashboard's newest replay, whoever started it."""

    def __init__(self) -> None:
        self.newest: Replay | None = None

    def start(self, first: date, last: date, house_id: int, before: dict[str, Any]) -> None:
        """Start a replay, unless one is running."""
        if self.newest and self.newest.running:
            return
        home = settings().stack.home.resolve()
        log, report_file = home / "logs" / "replay_of_dashboard.log", home / "run" / "replay_of_dashboard.jsonl"
        for file in (log, report_file):
            private_folder(file.parent)
        report_file.unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "commands", "replay", "--from", str(first), "--to", str(last), "--house", str(house_id)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {reports.FILE: str(report_file)},
        )
        assert process.stdout
        Output(process.stdout, log, "replay", Bound.of(settings()))
        self.newest = Replay(first, last, house_id, before, round(time.time() * 1000), process, report_file, log)

    def stop(self) -> None:
        """Terminate the replay."""
        if self.newest:
            self.newest.process.terminate()


def change(after_kwh: float, before_kwh: float) -> str:
    """A change of energy in kWh. No change shows as +0.000, never -0.000: sums over the same days may differ in their last bits."""
    return f"{round(after_kwh - before_kwh, 3) + 0.0:+,.3f}"


@st.cache_resource(show_spinner=False)
def replays() -> Replays:
    """The Replays shared by all sessions of this dashboard."""
    return Replays()
