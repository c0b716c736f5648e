"""Flink's answers: recent failures and checkpoints, and whether a job stands still."""

from __future__ import annotations

import pytest

from smartmeter.settings import Settings
from stack import flink
from stack.flink import Flink, Standstill


class Standing(Flink):
    """Answers with what a test sets."""

    def __init__(self, answers: list):
        self.answers = answers

    def running(self) -> list[str]:
        return ["job"]

    def progress(self, job_id: str):
        if isinstance(answer := self.answers.pop(0), Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    "answer, found",
    [
        (
            "Picked up JAVA_TOOL_OPTIONS: -XX:+UseSerialGC\nError occurred during initialization of VM\nno heap\n",
            "Error occurred during initialization of VM",
        ),
        ("java.lang.RuntimeException: it\\nCaused by: java.io.IOException: full\\n\\tat here\\n", "java.io.IOException: full"),
        (
            "INFO PythonDriver: smw: no\nsmw: no Kafka broker answers at a:1\nCaused by: java.lang.RuntimeException: it\n",
            "no Kafka broker answers at a:1",
        ),
        ("Picked up JAVA_TOOL_OPTIONS: -Xmx1g\n", "it gives no reason"),
    ],
)
def test_the_reason_of_a_failure(answer, found):
    assert flink.reason(answer) == found


@pytest.mark.parametrize(
    "answers, found",
    [
        ([(1, 5)] * 4, True),
        ([(1, 5), (1, 5), (1, 6), (1, 6)], False),
        ([(1, 5), (1, 5), None, (1, 5)], False),
        ([(1, 5), *[flink.UserError("no answer")] * 3], True),
        ([flink.UserError("no answer")] * 4, False),
    ],
)
def test_a_job_stands_still_when_nothing_changes_or_flink_does_not_answer(monkeypatch, answers, found):
    clock = iter(range(0, 60, 6))
    monkeypatch.setattr(flink.time, "monotonic", lambda: next(clock))
    standstill = Standstill(Standing(list(answers)), 15)
    assert [standstill.is_found() for _ in answers] == [False] * (len(answers) - 1) + [found]


@pytest.mark.parametrize(
    "latest, judged",
    [
        ({"completed": None, "savepoint": None}, True),
        ({"completed": {"id": 132, "checkpoint_type": "CHECKPOINT"}, "savepoint": {"id": 133, "checkpoint_type": "SYNC_SAVEPOINT"}}, False),
        ({"completed": {"id": 132, "checkpoint_type": "CHECKPOINT"}, "savepoint": {"id": 133, "checkpoint_type": "SAVEPOINT"}}, True),
        ({"completed": {"id": 134, "checkpoint_type": "CHECKPOINT"}, "savepoint": {"id": 133, "checkpoint_type": "SYNC_SAVEPOINT"}}, True),
    ],
)
def test_a_job_that_stops_with_a_savepoint_does_not_stand_still(monkeypatch, latest, judged):
    vertex = {"status": "RUNNING", "metrics": {"read-records": 7, "write-records": 5}}
    answers = {
        "/jobs/a": {"vertices": [vertex], "timestamps": {"RUNNING": 1}},
        "/jobs/a/checkpoints": {"latest": latest, "counts": {"completed": 1, "restored": 0}},
    }
    monkeypatch.setattr(Flink, "_request", lambda self, path: answers[path])
    assert Flink("x").progress("a") == ((1, 1, 0, (7, 5)) if judged else None)


def test_a_machine_that_slept_has_no_job_that_hangs(monkeypatch):
    clock = iter((0, 6, 10_000, 10_006))
    monkeypatch.setattr(flink.time, "monotonic", lambda: next(clock))
    standstill = Standstill(Standing([(1, 5)] * 3), 30)
    assert not any(standstill.is_found() for _ in range(3))


def test_a_job_has_time_for_a_checkpoint_before_it_stands_still():
    assert Settings().flink.standstill_s == 190 and Settings().but(checkpoint_every_s=600).flink.standstill_s == 780
    assert Settings().but(stalled_s=0).flink.standstill_s == Settings().but(checkpoint_every_s=0).flink.standstill_s == float("inf")
