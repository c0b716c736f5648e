"""What a process reports to the process that started it: JSON lines in the file that the environment variable SMW_REPORT names.

    {"progress": {"what": "messages read", "done": 300, "total": 1200, "elapsed_s": 9.5, "per_s": 100.0, "left_s": 9.0, "state": ""}}
    {"note": "house_1/channel_2.dat:51: 2 missing values: left out (this is the first)"}
    {"error": "no Kafka broker answers at 127.0.0.1:9092: start one with ./smw stack, or set SMW_KAFKA to its address"}

No process parses the text that another one prints for the user.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from smartmeter.terminal import printable

FILE = "SMW_REPORT"
"""The environment variable with the file's path. Without it, nothing is reported."""


@dataclass(frozen=True)
class Progress:
    """How far some work is, and a line that states it.

    >>> str(Progress("messages read", 300, 1200, 9.5, per_s=100.0, left_s=9.0))
    '10 s: 300 of 1,200 messages read, 100 a second, about 9 s left'
    """

    what: str
    """What is counted, such as "messages read"."""
    done: int
    total: int | None = None
    """None: unknown."""
    elapsed_s: float = 0.0
    per_s: float | None = None
    """Speed; None as long as it is unknown, like left_s."""
    left_s: float | None = None
    state: str = ""
    """What else the user should know, such as "Flink is starting"."""

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1; 0 if the total is unknown."""
        return min(self.done / self.total, 1.0) if self.total else 0.0

    def __str__(self) -> str:
        of_total = "" if self.total is None else f" of {self.total:,}"
        speed = "" if self.per_s is None else f", {self.per_s:,.0f} a second"
        left = "" if self.left_s is None else f", about {self.left_s:,.0f} s left"
        state = f"; {self.state}" if self.state else ""
        return f"{self.elapsed_s:.0f} s: {self.done:,}{of_total} {self.what}{speed}{left}{state}"


@dataclass
class Report:
    """What a process has reported so far."""

    progress: Progress | None = None
    """The newest."""
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    """Why the process ends, in one sentence; the first, if its own processes report to the same file."""

    def add(self, line: bytes) -> None:
        """Add a line of the file. A line that is not a whole record is ignored: the process may have died while it wrote it."""
        with suppress(ValueError, TypeError):
            match json.loads(line):
                case {"progress": dict() as figures}:
                    self.progress = Progress(**figures)
                case {"note": str() as note}:
                    self.notes.append(note)
                case {"error": str() as error}:
                    self.error = self.error or error


def read(file: Path) -> Report:
    """The report of a process, empty if it has reported nothing."""
    report = Report()
    with suppress(FileNotFoundError):
        for line in file.read_bytes().splitlines():
            report.add(line)
    return report


def report(**record: Progress | str) -> None:
    """Report one record (progress, note or error) to the parent, if it wants reports. A full disk does not stop this process's work."""
    if file := os.environ.get(FILE):
        with suppress(OSError), open(file, "a") as opened:
            opened.write(json.dumps(record, default=asdict) + "\n")


def fail(part: str, sentence: str) -> int:
    """Print why this program ends, as `part`, and report it. Returns the exit code 1."""
    print(f"{part}:", printable(sentence, keep="\n"), file=sys.stderr)
    report(error=sentence)
    return 1
