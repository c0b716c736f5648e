"""The processes of a local stack. Each has its own session, log and pid file, and is ended together with its children.

A child has the path of its pid file in its environment, which its own children inherit. So a process can be recognized
even after its parent has ended, and a pid that now belongs to another program is never touched. Linux only, as it reads /proc.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from smartmeter import logs, reports
from smartmeter.errors import CRASHED, UserError
from smartmeter.folders import private_folder, private_home
from smartmeter.locks import exclusive
from smartmeter.logs import USUAL, Bound, Output

MARK = "SMW_PID_FILE"
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
EXECUTES_WITHIN_S = 1.0
POLL_S = 0.1
PATIENCE_S = 1
STOPS_WITHIN_S = 20
STARTS_WITHIN_S = 180  # a JVM on a small, busy machine; a process that ends earlier is noticed at once
LOG_LINES_SHOWN = 5
CAUSE = "Caused by: "
STACK_LOG = "stack.log"
"""The log of the processes that a stack's supervisor restarted."""
JVM_OUT_OF_MEMORY = 3
JVM_LAST_WORDS = "Terminating due to java.lang.OutOfMemoryError"
CRASHES = {CRASHED, *(-number for number in (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV))}
OF_PROGRAM = " PythonDriver: "
"""Flink's client logs the output of a job's Python program behind this text."""
PYTHON_ERROR = re.compile(r"(: )?[a-zA-Z_][\w.]*(Error|Exception|Exit|Interrupt|Warning)\b")
FATAL = re.compile(r"\S+ (?:ERROR|FATAL) \w+: (?P<message>CliFrontend: .*|.*(?:\b[Ff]atal|\bExiting\b|\bShutdown broker).*)")
"""A line in which Flink's client or Kafka logs why it ends."""


class Watch(NamedTuple):
    """Watches a process, and restarts it if it has a fault while it runs, runs out of memory, or crashes."""

    fault: Callable[[], str | None]
    """What is wrong with the running process, in words; None if nothing is."""
    start_again: Callable[[], None]


class Processes:
    """The processes of the folder `home`, as a context manager. Leaving it ends them in reverse order of their start.

    Entering it ends processes that an earlier run left behind. Raises UserError when `home` is in use or not writable.
    """

    def __init__(self, home: Path, bound: Bound = USUAL):
        self.home = home = home.resolve()
        self.logs, self.run, self.bound = home / "logs", home / "run", bound
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.outputs: dict[str, Output] = {}
        self.ending: set[str] = set()
        self.watched: dict[str, Watch] = {}
        self.locked = ExitStack()

    def __enter__(self) -> Processes:
        try:
            private_home(self.home)
            for folder in (self.logs, self.run):
                private_folder(folder)
            self.locked.enter_context(exclusive(self.run / "lock"))
        except BlockingIOError:
            raise UserError(f"another smw runs in {self.run.parent}: stop it, or set SMW_HOME to another folder") from None
        except OSError as error:
            raise UserError(f"{error.filename} cannot be written ({error.strerror}): set SMW_HOME to a folder that can") from error
        for pid_file in self.run.glob("*.pid"):
            end(pid_file)
        return self

    def __exit__(self, *_: object) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # a second Ctrl-C waits until all have ended
        try:
            for name in reversed(list(self.children)):
                self.stop(name)
        finally:
            self.locked.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def start(self, name: str, command: list[str], environ: dict[str, str], ends: bool = False) -> None:
        """Start `command` as `name`. `environ` is added to this process's environment.

        ends: the process may end by itself, with code 0. Any other must run until it is stopped.
        """
        pid_file = self.run / f"{name}.pid"
        self._report_of(name).unlink(missing_ok=True)
        pid_file.touch()  # before the process starts: if this one is killed in between, the next run still looks for it
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | environ | {MARK: str(pid_file), reports.FILE: str(self._report_of(name))},
        )
        pid_file.write_text(f"{child.pid}\n")
        assert child.stdout
        self.outputs[name] = Output(child.stdout, self.log(name), name, self.bound)
        self.children[name] = child
        if ends:
            self.ending.add(name)

    def stop(self, name: str, patience_s: float = STOPS_WITHIN_S) -> None:
        """End a process and all its children: by SIGTERM, and what still runs after `patience_s` by SIGKILL."""
        self.watched.pop(name, None)
        end(self.run / f"{name}.pid", patience_s)
        self.children.pop(name).wait()
        self.outputs[name].join(PATIENCE_S)

    def check(self) -> None:
        """Restart watched processes that have a fault. Raises UserError, with the reason, when another process has ended unexpectedly."""
        for name, child in list(self.children.items()):
            code, watch = child.poll(), self.watched.get(name)
            if watch and (fault := watch.fault() if code is None else self._fault_of_end(name, code)):
                self._start_again(name, fault)
            elif code is not None and not (code == 0 and name in self.ending):
                raise UserError(self._why_ended(name, code))

    def _start_again(self, name: str, fault: str) -> None:
        note = f"{name} {fault}: it is started again."
        from tqdm import tqdm  # which the environment of the benchmark's peers lacks

        tqdm.write(note, file=sys.stderr)  # above a progress line
        logs.append(self.logs / STACK_LOG, "stack", "WARN", note, self.bound)
        start_again = self.watched[name].start_again
        self.stop(name, patience_s=0)  # what stands still does not end by itself
        start_again()

    def _fault_of_end(self, name: str, code: int) -> str | None:
        """The fault of a program that crashed, or of a JVM that ran out of memory (-XX:+ExitOnOutOfMemoryError); None for any other end."""
        if code in CRASHES:
            return "has crashed"
        out_of_memory = code == JVM_OUT_OF_MEMORY and any(line.startswith(JVM_LAST_WORDS) for line in self.printed(name))
        return "has run out of memory" if out_of_memory else None

    def _why_ended(self, name: str, code: int) -> str:
        """Why a process has ended: what it reported, else the fatal cause in its log, else the last lines of its log."""
        if fault := self._fault_of_end(name, code):
            return f"{name} {fault}; its log is {self.log(name)}"
        if code < 0:
            return f"{name} was ended from outside, by {signal.Signals(-code).name}; its log is {self.log(name)}"
        if error := self.reported(name).error:
            return error
        lines = self.printed(name)
        if cause := fatal_cause(lines):
            return f"{name} ended (code {code}): {cause}; its log is {self.log(name)}"
        return "\n".join([f"{name} ended (code {code}); {self.log(name)} ends with:", *lines[-LOG_LINES_SHOWN:]])

    def wait_until(self, ready: Callable[[], object], what: str, timeout_s: float = STARTS_WITHIN_S) -> None:
        """Wait until ready() is true. Raises UserError when a process ends meanwhile, or after timeout_s.

        what: the sentence's beginning, such as "no Kafka broker answers at ...".
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise UserError(f"{what} after {timeout_s:.0f} s; the logs are in {self.logs}")
            time.sleep(POLL_S)

    def printed(self, name: str) -> list[str]:
        """The newest lines that a process has printed, up to LINES_KEPT, including the last ones if it has ended."""
        if name not in self.children or self.children[name].poll() is not None:
            self.outputs[name].join(PATIENCE_S)
        return list(self.outputs[name].last)

    def reported(self, name: str) -> reports.Report:
        """What a process has reported so far, even after it has ended."""
        return reports.read(self._report_of(name))

    def _report_of(self, name: str) -> Path:
        return self.run / f"{name}.jsonl"

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.logs / f"{name}.log"


def innermost_cause(lines: list[str]) -> str | None:
    """The last cause in a Java stack trace, which is the original error; None without any.

    It skips the cause that Flink lists last for a job, the end of its Python program, as that is a consequence.
    """
    causes = (line.removeprefix(CAUSE) for line in reversed(lines) if line.startswith(CAUSE))
    return next((cause for cause in causes if "Python process exits" not in cause), None)


def fatal_cause(lines: list[str]) -> str | None:
    """Why a program has ended, from the lines that it printed; None if they do not contain it.

    Java logs also hold traces of harmless and of retried errors. So for a job, only the error of its Python program counts, which Flink
    repeats line by line. For any other program that logs, only the trace of an error that it calls fatal counts.
    """
    if program := [line.partition(OF_PROGRAM)[2] for line in lines if OF_PROGRAM in line]:
        trace = program[max((i for i, line in enumerate(program) if line.startswith("Traceback (")), default=len(program)) :]
        return innermost_cause(trace) or next((line.removeprefix(": ") for line in reversed(trace) if PYTHON_ERROR.match(line)), None)
    if not any(map(logs.LINE.fullmatch, lines)):
        return innermost_cause(lines)
    for i, found in reversed(list(enumerate(map(FATAL.fullmatch, lines), 1))):
        if found:
            trace = list(takewhile(lambda line: not logs.LINE.fullmatch(line), lines[i:]))
            return innermost_cause(trace) or (trace[0] if trace else found["message"])
    return None


def end(pid_file: Path, patience_s: float = STOPS_WITHIN_S) -> None:
    """Send SIGTERM to the process of a pid file, wait up to `patience_s`, then kill what remains of it and its children."""
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
    """The pids of the running processes that carry the mark of a pid file."""
    mark, leader = f"{MARK}={pid_file}".encode(), int(pid_file.read_text() or 0) if pid_file.exists() else 0
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in _environ(process, leader).split(b"\0"):
                pids.append(int(process.name))
        except OSError:  # the process has ended, or belongs to another user
            pass
    return pids


def _environ(process: Path, leader: int) -> bytes:
    """The environment of a process (its folder in /proc). One that is about to run another program shows none for a moment.

    leader: that of the session in which such a process counts. Raises OSError.
    """
    deadline = time.monotonic() + EXECUTES_WITHIN_S
    while not (held := (process / "environ").read_bytes()) and os.getsid(int(process.name)) == leader and time.monotonic() < deadline:
        os.readlink(process / "exe")  # OSError if it has ended
        time.sleep(EXECUTES_WITHIN_S / 100)
    return held
