"""Progress on a terminal, in a log, and in the parent process."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
from contextlib import contextmanager, redirect_stderr

import pytest

from smartmeter import progress, reports
from smartmeter.progress import Pace, ProgressLine
from smartmeter.reports import Progress

COLUMNS = 50
END = "$"


class Clock:
    """Stands for the module time."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@contextmanager
def terminal():
    """Makes standard error a terminal of COLUMNS. Yields a function that returns what has been written to it since the last call."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    with open(theirs, "w") as stderr, redirect_stderr(stderr):

        def written() -> str:
            print(END, end="", file=stderr, flush=True)
            text = ""
            while not text.endswith(END):
                text += os.read(ours, 1000).decode()
            return text.removesuffix(END).replace("\r\n", "\n")

        yield written
    os.close(ours)


def count_to_1200(clock) -> None:
    with Pace("messages read", 1200) as pace:
        for _ in range(9):
            clock.now_s += 0.5
            pace.add(60)


def test_a_log_gets_a_line_every_two_seconds(clock, capsys):
    count_to_1200(clock)
    assert capsys.readouterr() == (
        "",
        "2 s: 240 of 1,200 messages read, 120 a second, about 8 s left\n4 s: 480 of 1,200 messages read, 120 a second, about 6 s left\n",
    )


def test_a_line_may_come_less_often(clock, capsys):
    with ProgressLine(5) as line:
        due = []
        for _ in range(11):
            clock.now_s += 1
            if line.is_due():
                due.append(line.elapsed_s)
                line.show(Progress("files", 1))
    assert due == [5, 10] and capsys.readouterr().err == "0 s: 1 files\n" * 2


def test_the_parent_gets_what_is_shown(clock, tmp_path, monkeypatch):
    monkeypatch.setenv(reports.FILE, str(tmp_path / "report"))
    count_to_1200(clock)
    assert len((tmp_path / "report").read_text().splitlines()) == 2
    assert reports.read(tmp_path / "report").progress == Progress("messages read", 480, 1200, 4.0, 120.0, 6.0)


def test_a_terminal_has_one_line_which_is_rewritten():
    with terminal() as written:
        with ProgressLine() as line:
            line.show(Progress("files read back", 10, 99, state="long"))
            line.show(Progress("files read back", 9, 99))
            assert [text.rstrip(" ") for text in written().split("\r") if text.strip()] == [
                "0 s: 10 of 99 files read back; long",
                "0 s: 9 of 99 files read back",
            ]
        print("next", file=sys.stderr, flush=True)
        last, after, _ = written().split("\n")
    assert last.split("\r")[-1].rstrip(" ") == "0 s: 9 of 99 files read back" and after == "next"


def test_a_shorter_line_covers_the_longer_one_before():
    with terminal() as written, ProgressLine() as line:
        line.show(Progress("files", 1000))
        line.show(Progress("files", 1))
        assert written().endswith("0 s: 1 files    ")


def test_a_line_never_wraps():
    with terminal() as written, ProgressLine() as line:
        line.show(Progress("messages " + "x" * 100, 1))
        assert [len(text) for text in written().split("\r") if text.strip()] == [COLUMNS - 1]


def test_a_terminal_is_rewritten_twice_a_second_and_work_that_is_done_sooner_leaves_nothing(clock):
    with terminal() as written:
        with Pace("files", 100) as pace:
            clock.now_s += 0.4
            pace.add(50)
        assert not written().strip("\r ")
        with Pace("files", 100) as pace:
            for _ in range(4):
                clock.now_s += 0.3
                pace.add(10)
            assert [text.split(",")[0] for text in written().split("\r") if text.strip()] == [
                "1 s: 20 of 100 files",
                "1 s: 40 of 100 files",
            ]
