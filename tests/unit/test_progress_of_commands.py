"""The progress that the generator, a replay and the demo report."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from commands import replay
from generator import history
from generator.synthetic import synthetic_houses
from smartmeter import reports
from smartmeter.messages.codec import Burst
from smartmeter.reports import Progress

HOUSES = synthetic_houses(2, seed=1, timezone="UTC")
HOUR_MS = 3_600_000


def burst(end_ms: int) -> Burst:
    return Burst(
        1,
        "UTC",
        end_ms - HOUR_MS,
        end_ms,
        1000,
        np.array([1], np.int32),
        np.array([1], np.int32),
        np.zeros(1, np.int32),
        np.zeros(1, np.float32),
    )


@pytest.mark.parametrize("hours, end, left_s", [(6, date(1970, 1, 2), 30.0), (6, date.max, None), (0, date(1970, 1, 2), None)])
def test_the_generators_time_left_is_that_of_the_days_left(hours, end, left_s):
    totals = history.Totals(bursts=7, readings=7000, seconds=10.0)
    found = history._progress(totals, burst(hours * HOUR_MS), 0, end, HOUSES)
    assert found == Progress("readings produced", 7000, None, 10.0, 700.0, left_s)


def test_the_generators_last_record_has_all_readings(tmp_path, monkeypatch):
    class Discarding:
        def __init__(self, settings):
            self.send_house = self.send_burst = lambda message: None

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(history, "Producer", Discarding)
    monkeypatch.setenv(reports.FILE, str(tmp_path / "report"))
    totals = history.produce(HOUSES, date(2026, 11, 1), date(2026, 11, 2), 300, float("inf"), None)
    found = reports.read(tmp_path / "report").progress
    assert totals.readings > 2 * 86_400
    assert found == Progress("readings produced", totals.readings, totals.readings, found.elapsed_s, found.per_s, 0.0)


def test_a_replays_progress_from_the_start_of_flink_to_the_last_result(monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(replay.time, "monotonic", lambda: now_s[0])
    work = replay.Work.__new__(replay.Work)
    work.messages, work.begun, work.reading_since = 1200, 90.0, 90.0
    waiting = Progress("messages read", 0, 1200, 10.0, state="Flink is starting")
    assert work.progress(False, 1200) == waiting
    now_s[0] = 105.0
    assert work.progress(False, 700) == Progress("messages read", 500, 1200, 15.0, per_s=100.0, left_s=7.0)
    assert work.progress(True, 20) == replace(waiting, done=1200, elapsed_s=15.0, state="20 results to be stored")
