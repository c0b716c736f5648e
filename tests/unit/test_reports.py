"""What processes report to their parents."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from smartmeter import reports
from smartmeter.reports import Progress, Report
from smartmeter.settings import ROOT

READ = Progress("messages read", 300, 1200, 9.5, per_s=100.0, left_s=9.0, state="é\x1b\n")

DIES_IN_A_RECORD = f"""
import os, signal
from smartmeter.reports import FILE, Progress, report
report(note="the first of two")
report(progress=Progress("messages read", 7))
with open(os.environ[FILE], "a") as opened:
    opened.write('{{"progress": {{"what": "messages read", "done": 12')
os.kill(os.getpid(), {signal.SIGKILL})
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file that this process reports to."""
    monkeypatch.setenv(reports.FILE, str(tmp_path / "of_this.jsonl"))
    return tmp_path / "of_this.jsonl"


def test_records_come_back_as_they_were_reported(file):
    assert reports.read(file) == Report()
    reports.report(progress=Progress("messages read", 299))
    reports.report(note="a.dat:51: 2 missing values")
    reports.report(progress=READ)
    reports.report(note="\ud800 ☃")
    reports.report(error="no broker answers")
    reports.report(error="a worker has ended")
    assert reports.read(file) == Report(READ, ["a.dat:51: 2 missing values", "\ud800 ☃"], "no broker answers")
    assert [list(json.loads(line)) for line in file.read_text().splitlines()] == [
        ["progress"],
        ["note"],
        ["progress"],
        ["note"],
        ["error"],
        ["error"],
    ]


def test_nothing_is_reported_to_a_parent_that_wants_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv(reports.FILE, raising=False)
    monkeypatch.chdir(tmp_path)
    reports.report(note="lost")
    assert not list(tmp_path.iterdir())


def test_work_goes_on_when_the_file_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv(reports.FILE, str(tmp_path / "no" / "folder"))
    reports.report(note="lost")


@pytest.mark.parametrize(
    "line",
    [
        '{"note": "cut o',
        '{"progress": {"done": 1}}',
        '{"progress": {"what": "a", "done": 1, "unknown": 2}}',
        '{"note": 3}',
        '{"other": "b"}',
        "7",
        "",
        "note: x",
        "\\x00\\xff",
    ],
)
def test_a_broken_line_is_ignored_and_the_next_is_read(file, line):
    reports.report(progress=READ)
    with file.open("ab") as opened:
        opened.write(line.encode() + b"\xff\n")
        opened.write(line.encode() + b"\n")
    reports.report(note="whole")
    assert reports.read(file) == Report(READ, ["whole"])


def test_a_process_that_died_in_a_record_leaves_those_before_it(tmp_path):
    file = tmp_path / "of_child.jsonl"
    ended = subprocess.run([sys.executable, "-c", DIES_IN_A_RECORD], cwd=ROOT, env={reports.FILE: str(file)})
    assert ended.returncode == -signal.SIGKILL and file.read_text().endswith('"done": 12')
    assert reports.read(file) == Report(Progress("messages read", 7), ["the first of two"])


def test_a_failure_is_printed_and_reported_in_one_sentence(file, capsys):
    assert reports.fail("sink", "no\x1b broker") == 1
    assert capsys.readouterr() == ("", "sink: no\\x1b broker\n")
    assert reports.read(file).error == "no\x1b broker"


@pytest.mark.parametrize(
    "progress, line, share",
    [
        (READ, "10 s: 300 of 1,200 messages read, 100 a second, about 9 s left; é\x1b\n", 0.25),
        (Progress("readings produced", 1_000_000, None, 60, 16_666.7), "60 s: 1,000,000 readings produced, 16,667 a second", 0),
        (Progress("messages read", 0, 1200, 3.2, state="Flink is starting"), "3 s: 0 of 1,200 messages read; Flink is starting", 0),
        (Progress("files read back", 4, 4, 1, left_s=0.0), "1 s: 4 of 4 files read back, about 0 s left", 1),
        (Progress("files read back", 5, 4, 1), "1 s: 5 of 4 files read back", 1),
        (Progress("files read back", 0, 0, 1), "1 s: 0 of 0 files read back", 0),
    ],
)
def test_the_line_and_the_share_of_some_progress(progress, line, share):
    assert str(progress) == line and progress.share == share
