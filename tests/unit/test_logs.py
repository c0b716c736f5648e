"""Logs: one format whatever a process prints, and files of bounded size."""

import logging
import os

import pytest

from smartmeter.logs import LINE, USUAL, Bound, Formatter, Output


def log_of(tmp_path, printed: bytes, bound: Bound = USUAL) -> list[str]:
    """The log's lines for a process that printed these bytes."""
    reading, writing = os.pipe()
    output = Output(os.fdopen(reading, "rb"), tmp_path / "part.log", "part", bound)
    with open(writing, "wb") as pipe:
        pipe.write(printed)
    output.join()
    return (tmp_path / "part.log").read_text().splitlines()


@pytest.mark.parametrize(
    "printed, logged",
    [
        ("2026-11-25T12:00:00.123Z WARN sink: waiting", ["WARN sink: waiting"]),
        ("produced 1,000 readings", ["INFO part: produced 1,000 readings"]),
        ("sink: no broker answers", ["ERROR part: no broker answers"]),
        ("WARNING:  deprecated\nINFO it goes on", ["WARN part: deprecated", "INFO part: it goes on"]),
        ("INFORMATION\n\n  as ever", ["INFO part: INFORMATION", "INFO part:   as ever"]),
        (
            'Traceback (most recent call last):\n  File "x"\nValueError: no\nafter it',
            [
                "ERROR part: Traceback (most recent call last):",
                'ERROR part:   File "x"',
                "ERROR part: ValueError: no",
                "INFO part: after it",
            ],
        ),
        (
            "2026-11-25T12:00:00.123Z WARN kafka: Log: full\njava.io.IOException: full\n\tat here\nCaused by: disk",
            ["WARN kafka: Log: full", "WARN part: java.io.IOException: full", "WARN part: \tat here", "WARN part: Caused by: disk"],
        ),
    ],
)
def test_each_line_gets_a_time_and_a_level(tmp_path, printed, logged):
    lines = log_of(tmp_path, printed.encode())
    assert all(LINE.fullmatch(line) for line in lines)
    assert [line.partition(" ")[2] for line in lines] == logged


def test_bytes_that_are_no_text_and_endless_lines_are_kept(tmp_path):
    lines = log_of(tmp_path, b"\xff\n" + b"x" * 200_000)
    assert lines[0].endswith("part: \ufffd") and sum(line.count("x") for line in lines) == 200_000
    assert all(LINE.fullmatch(line) for line in lines)


def test_a_log_continues_in_new_files_and_the_oldest_are_deleted(tmp_path):
    log_of(tmp_path, b"".join(b"line %d\n" % n for n in range(1000)), Bound(file_bytes=2000, files=3))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["part.log", "part.log.1", "part.log.2"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    kept = "".join((tmp_path / name).read_text() for name in reversed(files)).splitlines()
    numbers = [int(line.rsplit(" ", 1)[1]) for line in kept]
    assert numbers == list(range(numbers[0], 1000)) and len(numbers) > 80


def test_a_new_start_begins_a_new_file_and_keeps_the_old_one(tmp_path):
    log_of(tmp_path, b"first\n")
    assert log_of(tmp_path, b"second\n")[0].endswith("part: second")
    assert (tmp_path / "part.log.1").read_text().endswith("part: first\n")


def test_pythons_own_records_and_their_traces(caplog):
    try:
        raise ValueError("no burst")
    except ValueError:
        logging.getLogger("any").warning("it %s", "fails", exc_info=True)
    lines = Formatter("sink").format(caplog.records[0]).splitlines()
    assert [LINE.fullmatch(line)["source"] for line in lines] == ["sink"] * len(lines)
    assert {LINE.fullmatch(line)["level"] for line in lines} == {"WARN"}
    assert (LINE.fullmatch(lines[0])["message"], LINE.fullmatch(lines[-1])["message"]) == ("it fails", "ValueError: no burst")
