"""The processes of a local stack: each in a session of its own, with a log and a pid file, ended with all its children.

A child carries its pid file's path in its environment, and hands it down to its own children. So a process is
known to be ours whatever became of its parent, and a pid that now belongs to another program is never touched.
Linux only, as it reads /proc.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from smartmeter.errors import UserError
from smartmeter.folders import private_folder, private_home
from smartmeter.logs import OWN_SENTENCE, USUAL, Bound, Output

MARK = "SMW_PID_FILE"
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
POLL_S = 0.1
PATIENCE_S = 1
STARTS_WITHIN_S = 180  # a JVM on a small machine that is busy; one that ends before is seen at once
LOG_LINES_SHOWN = 5
CAUSE = "Caused by: "


class Watch(NamedTuple):
    """On a process that may be of no use any more although it runs."""

    is_lost: Callable[[], bool]
    start_again: Callable[[], None]


class Processes:
    """The processes of the folder `home`, as a context: leaving it ends them, the last started first.

    Entering it ends what an earlier run left behind. Raises UserError when `home` is in use or not writable.
    """

    def __init__(self, home: Path, bound: Bound = USUAL):
        self.home = home = home.resolve()
        self.logs, self.run, self.bound = home / "logs", home / "run", bound
        self.children: dict[str, subprocess.Popen] = {}
        self.outputs: dict[str, Output] = {}
        self.ending: set[str] = set()
        self.watched: dict[str, Watch] = {}

    def __enter__(self) -> Processes:
        try:
            private_home(self.home)
            for folder in (self.logs, self.run):
                private_folder(folder)
            self.lock = open(self.run / "lock", "w")
        except OSError as error:
            raise UserError(f"{error.filename} cannot be written ({error.strerror}): "
                            "let SMW_HOME name a folder that can") from error
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.lock.close()
            raise UserError(f"another smw runs in {self.run.parent}: stop it, or set SMW_HOME to another folder") from None
        for pid_file in self.run.glob("*.pid"):
            end(pid_file)
        return self

    def __exit__(self, *_):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # a second Ctrl-C waits until all have ended
        try:
            for name in reversed(list(self.children)):
                self.stop(name)
        finally:
            self.lock.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def start(self, name: str, command: list[str], environ: dict[str, str], ends: bool = False) -> None:
        """Start `command` as `name`; `environ` is added to this process's environment.

        ends: it may end by itself, with code 0; any other must run until it is stopped.
        """
        pid_file = self.run / f"{name}.pid"
        pid_file.touch()  # before the process: should this one be killed in between, the next still looks for it
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, env=os.environ | environ | {MARK: str(pid_file)})
        pid_file.write_text(f"{child.pid}\n")
        assert child.stdout
        self.outputs[name] = Output(child.stdout, self.log(name), name, self.bound)
        self.children[name] = child
        if ends:
            self.ending.add(name)

    def stop(self, name: str) -> None:
        """End a process and all its children."""
        self.watched.pop(name, None)
        end(self.run / f"{name}.pid")
        self.children.pop(name).wait()
        self.outputs[name].join(PATIENCE_S)

    def check(self) -> None:
        """Start again what is lost. Raises UserError when a process has ended that should not have, with the reason that its log gives."""
        for name, child in list(self.children.items()):
            code = child.poll()
            if code is None and (watch := self.watched.get(name)) and watch.is_lost():
                self.stop(name)
                watch.start_again()
            if code is None or (code == 0 and name in self.ending):
                continue
            lines = self.said(name)
            if own := next(filter(None, map(OWN_SENTENCE.fullmatch, reversed(lines))), None):
                raise UserError(own[1])
            if cause := innermost_cause(lines):
                raise UserError(f"{name} ended (code {code}): {cause}; its log is {self.log(name)}")
            raise UserError("\n".join([f"{name} ended (code {code}); {self.log(name)} ends with:", *lines[-LOG_LINES_SHOWN:]]))

    def wait_until(self, ready, what: str, timeout_s: float = STARTS_WITHIN_S) -> None:
        """Wait for ready() to be true. Raises UserError when a process ends meanwhile, or the time is up."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise UserError(f"{what} after {timeout_s:.0f} s; the logs are in {self.logs}")
            time.sleep(POLL_S)

    def said(self, name: str) -> list[str]:
        """The newest lines that a process has printed; all of them, up to LINES_KEPT, where it has ended."""
        if name not in self.children or self.children[name].poll() is not None:
            self.outputs[name].join(PATIENCE_S)
        return list(self.outputs[name].last)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def innermost_cause(lines: list[str]) -> str | None:
    """The last cause in a Java stack trace, which is what went wrong; None where there is none.

    That the Python program of a job has ended, which is what Flink gives as the last, is the consequence.
    """
    causes = (line.removeprefix(CAUSE) for line in reversed(lines) if line.startswith(CAUSE))
    return next((cause for cause in causes if "Python process exits" not in cause), None)


def end(pid_file: Path, patience_s: float = 20) -> None:
    """Ask the process of a pid file to end, wait `patience_s` for it, kill what is left of it and its children."""
    leader = int(pid_file.read_text() or 0)
    if leader in marked(pid_file):
        os.kill(leader, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while leader in marked(pid_file) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    while left := marked(pid_file):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)
    pid_file.unlink()


def marked(pid_file: Path) -> list[int]:
    """The running processes that carry the mark of a pid file."""
    mark = f"{MARK}={pid_file}".encode()
    pids = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes().split(b"\0"):
                pids.append(int(environ.parent.name))
        except OSError:  # it has ended, or belongs to another user
            pass
    return pids
