"""The format that all logs share, and their files: bounded in size and number, and the oldest is deleted.

    2026-11-25T12:00:00.123Z INFO sink: stored 1,000 rows

Time in UTC, level, source, message. Python programs use it through configure(), Java programs through java_options(). Other text that a
process prints, such as a stack trace, is converted to the format line by line; each line of a trace has the trace's level.
"""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from smartmeter.settings import Settings

LONGEST_LINE_BYTES = 65_536
LINES_KEPT = 2000
LEVELS = {logging.WARNING: "WARN", logging.CRITICAL: "FATAL"}  # Log4j's names

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?P<level>TRACE|DEBUG|INFO|WARN|ERROR|FATAL) (?P<source>\w+): (?P<message>.*)")
_BEGINS_WITH_LEVEL = re.compile(r"(TRACE|DEBUG|INFO|WARN|ERROR|FATAL)(?:ING)?:?\s+(?=\S)")
_TRACE = re.compile(r"Traceback \(|Caused by: |[\w.$]+(?:Error|Exception)\b")
OWN_SENTENCE = re.compile(r"(?:smw|endpoint|sink|notify|gateway): (.+)")
"""The line in which the project's own programs report why they end."""


def java_options(source: str, level: str = "INFO") -> list[str]:
    """JVM options that make a program with Log4j 2 log as `source`, from that level up."""
    return [f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}", f"-Dsmw.part={source}", f"-Dsmw.level={level}"]


class Formatter(logging.Formatter):
    """Formats Python's log records."""

    def __init__(self, source: str):
        super().__init__()
        self.source = source

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record, with its traceback."""
        message = super().format(record)  # with its trace
        level = LEVELS.get(record.levelno, record.levelname)
        return "\n".join(in_format(line, self.source, level, record.created) for line in message.splitlines())


def configure(source: str) -> None:
    """Make this process log as `source` to standard error, from INFO up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(source))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def in_format(message: str, source: str, level: str, time_s: float) -> str:
    """A line of a log."""
    at = datetime.fromtimestamp(time_s, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z {level} {source}: {message}"


@dataclass(frozen=True)
class Bound:
    """The size limits of a log."""

    file_bytes: int = 10_000_000
    files: int = 5

    @classmethod
    def of(cls, settings: Settings) -> Bound:
        """The limits in the settings."""
        return cls(round(settings.stack.log_mb * 1e6), settings.stack.log_files)


USUAL = Bound()


def append(log: Path, source: str, level: str, message: str, bound: Bound = USUAL) -> None:
    """Add a line to a log that no process writes to."""
    file = RotatingFileHandler(log, maxBytes=bound.file_bytes, backupCount=bound.files - 1, encoding="utf-8")
    file.handle(logging.makeLogRecord({"msg": in_format(message, source, level, time.time())}))
    file.close()


class Output(threading.Thread):
    """Copies what a process prints to a pipe into the log of `source`, line by line. Begins a new file."""

    def __init__(self, pipe: IO[bytes], log: Path, source: str, bound: Bound):
        super().__init__(daemon=True)
        self._pipe, self._source, self._level = pipe, source, "INFO"
        self._file = RotatingFileHandler(log, maxBytes=bound.file_bytes, backupCount=bound.files - 1, encoding="utf-8", delay=True)
        if log.exists():
            self._file.doRollover()
        log.touch()
        self.last: deque[str] = deque(maxlen=LINES_KEPT)  # the newest lines, as they were printed
        self.start()

    def run(self) -> None:
        """Copy the lines until the pipe ends."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread handles them
        with self._pipe:
            while line := self._pipe.readline(LONGEST_LINE_BYTES):
                if text := line.decode(errors="replace").rstrip():
                    self.last.append(text)
                    self._file.handle(logging.makeLogRecord({"msg": self._line(text)}))
        self._file.close()

    def _line(self, text: str) -> str:
        """A printed line, converted to the format."""
        if known := LINE.fullmatch(text):
            self._level = known["level"]
            return text
        if own := OWN_SENTENCE.fullmatch(text):
            self._level, text = "ERROR", own[1]
        elif begins := _BEGINS_WITH_LEVEL.match(text):
            self._level, text = begins[1], text[begins.end() :]
        elif _TRACE.match(text):
            self._level = "WARN" if self._level == "WARN" else "ERROR"
        elif not text[0].isspace():
            self._level = "INFO"
        return in_format(text, self._source, self._level, time.time())
