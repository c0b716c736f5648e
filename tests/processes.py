"""The processes of a job, for tests that kill them."""

from __future__ import annotations

import os
from pathlib import Path

from stack.processes import marked

CLOCK = {name: os.environ[name] for name in ("LD_PRELOAD", "TEST_CLOCK_AHEAD_S") if name in os.environ}
"""What ./smw test --clock has set: for processes that take nothing else from the environment."""


def python_workers(pid_file: Path) -> list[int]:
    """The Python workers of the Flink that belongs to a pid file, which need not be there."""
    return [pid for pid in marked(pid_file) if b"beam_boot" in command_line(pid)]


def command_lines() -> list[bytes]:
    """Those of all processes, as ps shows them to anybody."""
    return [command_line(int(folder.name)) for folder in Path("/proc").glob("[0-9]*")]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""
