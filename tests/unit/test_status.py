"""How ./smw status reads Flink's answers: what counts as a problem, and how it is shown."""

from __future__ import annotations

import time

import pytest

from commands import status
from smartmeter import logs
from smartmeter.settings import Settings
from stack import flink
from stack.flink import Flink

NOW_S = 1_800_000_000.0
WELL = dict(
    name="pipeline",
    state="RUNNING",
    since_unix_s=NOW_S - 9000,
    running_since_unix_s=NOW_S - 9000,
    checkpoint_unix_s=NOW_S - 5,
    records_per_s=3.0,
    recent_failures=0,
    failure_unix_s=None,
    failure=None,
    failure_message=None,
    recent_failed_checkpoints=0,
    checkpoint_failure=None,
)
TRACE = """java.lang.Exception: Could not complete the stream element
\tat org.apache.flink.Task.run(Task.java:1)
Caused by: java.lang.RuntimeException: Error received from SDK harness: Traceback (most recent call last):
  File "/smw/jobs/flow.py", line 133, in eval
TypeError: bad time zone
"""


@pytest.fixture(autouse=True)
def now(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOW_S)
    monkeypatch.setattr(status, "unread_from", lambda settings, job: ["readings partition 2 offset 17"])


def problems(**changes) -> list[str]:
    return status.job_problems([WELL | changes], "http://flink", Settings())


def test_a_job_between_two_restarts_of_a_crash_loop_is_not_well():
    entries = [{"timestamp": (NOW_S - age_s) * 1000, "stacktrace": TRACE} for age_s in (20, 4, 400)]
    found = flink.recent_failures({"exceptionHistory": {"entries": entries}}, NOW_S - 300)
    assert found == {"recent_failures": 2, "failure_unix_s": NOW_S - 4, "failure": "TypeError: bad time zone", "failure_message": None}
    assert problems(**found) == [
        "the job pipeline has failed 2 times in the last 5 minutes, last at 2027-01-15T07:59:56Z: TypeError: bad time zone; "
        "its unread messages begin with readings partition 2 offset 17"
    ]
    assert problems() == []


@pytest.mark.parametrize(
    "words",
    [
        "Error deserializing VALUE for partition readings-3 at offset 42. If needed, please seek past the record to continue consumption.",
        "Error deserializing VALUE for partition a.readings-3 at offset 42.",
        "on the message of partition 3, offset 42",
        "(partition=3 offset=42)",
    ],
)
def test_the_message_that_a_job_fails_on_is_named(words):
    entry = {
        "timestamp": (NOW_S - 9) * 1000,
        "stacktrace": f"java.io.IOException: x\nCaused by: org.apache.kafka.KafkaException: {words}\n\tat org.Y",
    }
    found = flink.recent_failures({"exceptionHistory": {"entries": [entry]}}, NOW_S - 300)
    assert found["failure_message"] == {"partition": 3, "offset": 42} and words in found["failure"]
    assert problems(**found)[0].endswith("; at the message of partition 3, offset 42")


def test_failed_checkpoints_of_the_last_minutes_count_and_older_ones_do_not():
    answer = {
        "latest": {"failed": {"failure_message": "No space left on device"}},
        "history": [
            {"status": one, "latest_ack_timestamp": (NOW_S - age_s) * 1000}
            for one, age_s in (("FAILED", 10), ("COMPLETED", 20), ("FAILED", 30), ("FAILED", 900))
        ],
    }
    found = flink.recent_failed_checkpoints(answer, NOW_S - 300)
    assert problems(**found) == ["2 of the last checkpoints of pipeline failed: No space left on device"]
    assert problems(**flink.recent_failed_checkpoints(answer, NOW_S - 5)) == []


def test_a_job_without_checkpoints_stands_still():
    assert problems(checkpoint_unix_s=NOW_S - 191) == ["the job pipeline has completed no checkpoint for 191 s"]
    assert problems(checkpoint_unix_s=None, running_since_unix_s=NOW_S - 191) == ["the job pipeline has completed no checkpoint for 191 s"]
    assert problems(checkpoint_unix_s=NOW_S - 9000, running_since_unix_s=NOW_S - 100) == []  # it has just been started again
    assert status.job_problems([WELL | {"checkpoint_unix_s": None}], "", Settings().but(checkpoint_every_s=0)) == []


@pytest.mark.parametrize(
    "rate, later, found",
    [
        (0.0, (0.0, 7), ["the job pipeline reads nothing, though 7 messages are unread"]),
        (0.0, (0.0, 6), []),
        (0.0, (2.0, 7), []),
        (1.0, None, []),
        (None, None, []),
    ],
)
def test_lag_that_does_not_fall_is_seen_by_two_looks(monkeypatch, rate, later, found):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Flink, "described_jobs", lambda self: [WELL | {"records_per_s": later[0]}])
    monkeypatch.setattr(status, "lags", lambda settings: {"pipeline": later[1], "sink": 0})
    assert status.unread_problems(Settings(), Flink("x"), [WELL | {"records_per_s": rate}], {"pipeline": 7, "sink": 0}) == found


def test_restarts_by_the_supervisor_are_shown_for_some_minutes(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "stack.log").write_text(
        "".join(
            logs.in_format(message, "stack", "WARN", at_s) + "\n"
            for message, at_s in (
                ("pipeline has lost its TaskManager: it is started again.", NOW_S - 400),
                ("pipeline has stood still for 190 s: it is started again.", NOW_S - 60),
            )
        )
    )
    assert status.mended(Settings().but(home=tmp_path)) == [
        "pipeline has stood still for 190 s: it is started again (2027-01-15T07:59:00Z)"
    ]
    assert status.mended(Settings().but(home=tmp_path / "none")) == []


def test_nothing_that_a_terminal_obeys_is_printed():
    assert status.printable("a\x1b[31m\x00\x9b\u202eé\ud800 b") == "a\\x1b[31m\\x00\\x9b\\u202eé\\ud800 b"
