"""The processes of a local stack: each in a session of its own, with a log and a pid file, ended with all its children.

A child carries its pid file's path in its environment, and hands it down to its own children. So a process is
known to be ours whatever became of its parent, and a pid that now belongs to another program is never touched.
Linux only, as it reads /proc.
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

from smartmeter import logs
from smartmeter.errors import CRASHED, UserError
from smartmeter.folders import private_folder, private_home
from smartmeter.locks import exclusive
from smartmeter.logs import OWN_SENTENCE, USUAL, Bound, Output

MARK = "SMW_PID_FILE"
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
POLL_S = 0.1
PATIENCE_S = 1
STARTS_WITHIN_S = 180  # a JVM on a small machine that is busy; one that ends before is seen at once
LOG_LINES_SHOWN = 5
CAUSE = "Caused by: "
STACK_LOG = "stack.log"
"""What the supervisor of a stack has mended."""
JVM_OUT_OF_MEMORY = 3
JVM_LAST_WORDS = "Terminating due to java.lang.OutOfMemoryError"
CRASHES = {CRASHED, *(-number for number in (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV))}
OF_PROGRAM = " PythonDriver: "
"""How Flink's client begins what a job's Python program has printed."""
PYTHON_ERROR = re.compile(r"(: )?[a-zA-Z_][\w.]*(Error|Exception|Exit|Interrupt|Warning)\b")
FATAL = re.compile(r"\S+ (?:ERROR|FATAL) \w+: (?P<message>CliFrontend: .*|.*(?:\b[Ff]atal|\bExiting\b|\bShutdown broker).*)")
"""A line of Flink's client, or of Kafka, on why it ends."""


class Watch(NamedTuple):
    """On a process that may be of no use any more although it runs, run out of memory, or crash."""

    fault: Callable[[], str | None]
    """What it suffers from, in words; None where that is nothing."""
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
            raise UserError(f"{error.filename} cannot be written ({error.strerror}): "
                            "let SMW_HOME name a folder that can") from error
        for pid_file in self.run.glob("*.pid"):
            end(pid_file)
        return self

    def __exit__(self, *_):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # a second Ctrl-C waits until all have ended
        try:
            for name in reversed(list(self.children)):
                self.stop(name)
        finally:
            self.locked.close()
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
        """Start again what is watched and of no use. Raises UserError when a process has ended that should not have, with the reason."""
        for name, child in list(self.children.items()):
            code, watch = child.poll(), self.watched.get(name)
            if watch and (fault := watch.fault() if code is None else self._fault_of_end(name, code)):
                self._start_again(name, fault)
            elif code is not None and not (code == 0 and name in self.ending):
                raise UserError(self._why_ended(name, code))

    def _start_again(self, name: str, fault: str) -> None:
        note = f"{name} {fault}: it is started again."
        print(note, file=sys.stderr)
        logs.append(self.logs / STACK_LOG, "stack", "WARN", note, self.bound)
        start_again = self.watched[name].start_again
        self.stop(name)
        start_again()

    def _fault_of_end(self, name: str, code: int) -> str | None:
        """What to say of a program that has crashed, or a JVM that has ended for want of memory (-XX:+ExitOnOutOfMemoryError); None for any other end."""
        if code in CRASHES:
            return "has crashed"
        told = code == JVM_OUT_OF_MEMORY and any(line.startswith(JVM_LAST_WORDS) for line in self.printed(name))
        return "has run out of memory" if told else None

    def _why_ended(self, name: str, code: int) -> str:
        """A sentence on a process that has ended: its own, else the fatal cause of its log, else how its log ends."""
        if fault := self._fault_of_end(name, code):
            return f"{name} {fault}; its log is {self.log(name)}"
        if code < 0:
            return f"{name} was ended from outside, by {signal.Signals(-code).name}; its log is {self.log(name)}"
        lines = self.printed(name)
        if own := next(filter(None, map(OWN_SENTENCE.fullmatch, reversed(lines))), None):
            return own[1]
        if cause := fatal_cause(lines):
            return f"{name} ended (code {code}): {cause}; its log is {self.log(name)}"
        return "\n".join([f"{name} ended (code {code}); {self.log(name)} ends with:", *lines[-LOG_LINES_SHOWN:]])

    def wait_until(self, ready, what: str, timeout_s: float = STARTS_WITHIN_S) -> None:
        """Wait for ready() to be true. Raises UserError when a process ends meanwhile, or the time is up."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise UserError(f"{what} after {timeout_s:.0f} s; the logs are in {self.logs}")
            time.sleep(POLL_S)

    def printed(self, name: str) -> list[str]:
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


def fatal_cause(lines: list[str]) -> str | None:
    """What a program has ended by, of the lines that it has printed; None where they do not say.

    Logs of Java hold traces of what did no harm, or was tried again. So of a job counts the error of its Python program, which Flink repeats
    line by line, and of any other program that logs, the trace of what it calls fatal.
    """
    if program := [line.partition(OF_PROGRAM)[2] for line in lines if OF_PROGRAM in line]:
        trace = program[max((i for i, line in enumerate(program) if line.startswith("Traceback (")), default=len(program)):]
        return innermost_cause(trace) or next((line.removeprefix(": ") for line in reversed(trace) if PYTHON_ERROR.match(line)), None)
    if not any(map(logs.LINE.fullmatch, lines)):
        return innermost_cause(lines)
    for i, found in reversed(list(enumerate(map(FATAL.fullmatch, lines), 1))):
        if found:
            trace = list(takewhile(lambda line: not logs.LINE.fullmatch(line), lines[i:]))
            return innermost_cause(trace) or (trace[0] if trace else found["message"])
    return None


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
