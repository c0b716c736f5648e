"""Shared by the benchmarks: a broker of their own, running and measuring programs, tables, targets, JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path

from smartmeter.errors import UserError
from smartmeter.kafka import topic_admin
from smartmeter.messages import topics
from smartmeter.run import Run as JobRun
from smartmeter.settings import ROOT, Settings
from smartmeter.text_tables import aligned
from stack import broker, local_flink, ports
from stack.processes import Processes, innermost_cause, marked

SAMPLE_S = 0.2
STATE_CHANGE = re.compile(r"^(\S+) .* \(\d+/\d+\) \(\S+\) switched from \w+ to (RUNNING|FINISHED)")
ABORTED = "org.apache.flink.client.program.ProgramAbortException"  # Flink's exception after a job's Python program has ended
PACKAGES = ("apache-flink", "confluent-kafka", "numpy", "pyarrow", "chdb")


@dataclass
class Run:
    """One program over some readings. CPU time and peak memory are those of all its processes, including start-up."""

    name: str
    engine: str
    work: str
    readings: int
    seconds: float | None = None  # None: it failed
    cpu_s: float | None = None
    peak_mb: float | None = None
    answers: str = ""  # for a peer, how its results compare with ours; the reason if it failed
    seconds_of_runs: tuple[float, ...] = ()  # if this is the median of several runs
    peak_mb_of: dict[str, float] = field(default_factory=dict)  # by what a process runs, such as java

    @property
    def rate(self) -> float | None:
        """Readings/s."""
        return self.readings / self.seconds if self.seconds else None

    @property
    def cpu_s_per_million(self) -> float | None:
        return self.cpu_s / self.readings * 1e6 if self.cpu_s else None

    def record(self) -> dict:
        return asdict(self) | {"readings_per_s": self.rate, "cpu_s_per_million_readings": self.cpu_s_per_million}


def median(runs: list[Run]) -> Run:
    """A run with the median of each figure of a program's runs; the first failed run if any failed."""
    if failed := [run for run in runs if run.seconds is None]:
        return failed[0]
    middle = {name: statistics.median(getattr(run, name) for run in runs) for name in ("seconds", "cpu_s", "peak_mb")}
    return replace(runs[0], **middle, seconds_of_runs=tuple(run.seconds for run in runs))


@dataclass(frozen=True)
class Target:
    """A figure and its bound."""

    what: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool:
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    def __str__(self) -> str:
        bound = f"at least {self.least:,g}" if self.most is None else f"at most {self.most:,g}"
        value = f"{self.value:,.0f}" if self.value >= 1000 else f"{self.value:.4g}"
        return f"{self.what}: {value} ({bound}): {'met' if self.met else 'MISSED'}"

    def record(self) -> dict:
        return asdict(self) | {"met": self.met}


class Usage:
    """CPU time and memory of a program of `processes` and all its children, as of the last sample().

    A process that has ended counts with its last sample. Memory is resident memory; pages shared by several processes count for each.
    """

    def __init__(self, processes: Processes, name: str):
        self._pid_file = processes.run / f"{name}.pid"
        self._seen: dict[int, tuple[float, float]] = {}
        self._names: dict[int, str] = {}
        self.resident_mb = 0.0

    def sample(self) -> Usage:
        found = {pid: used for pid in marked(self._pid_file) if (used := resources(pid))}
        self._names |= {pid: program(pid) for pid in found}
        self._seen |= {pid: (cpu_s, peak_mb) for pid, (cpu_s, peak_mb, _) in found.items()}
        self.resident_mb = sum(resident_mb for _, _, resident_mb in found.values())
        return self

    @property
    def cpu_s(self) -> float:
        return sum(cpu_s for cpu_s, _ in self._seen.values())

    @property
    def peak_mb(self) -> float:
        """The sum of the peaks of all processes."""
        return sum(self.peak_mb_of.values())

    @property
    def peak_mb_of(self) -> dict[str, float]:
        """The same by what the processes run, such as java and python."""
        found: dict[str, float] = {}
        for pid, (_, peak_mb) in self._seen.items():
            found[self._names[pid]] = found.get(self._names[pid], 0.0) + peak_mb
        return found


def program(pid: int) -> str:
    """What a process runs, such as java or python; empty if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def resources(pid: int) -> tuple[float, float, float] | None:
    """(CPU s, peak MB, current MB) of a process; None if it has ended."""
    try:
        status, stat = Path(f"/proc/{pid}/status").read_text(), Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    memory = dict(re.findall(r"(VmHWM|VmRSS):\s+(\d+) kB", status))
    ticks = sum(map(int, stat.rsplit(")", 1)[1].split()[11:13]))
    return (ticks / os.sysconf("SC_CLK_TCK"), int(memory["VmHWM"]) / 1024, int(memory["VmRSS"]) / 1024) if memory else None


@contextmanager
def workplace(settings: Settings) -> Iterator[tuple[Settings, Processes]]:
    """Start a broker with its topics in a temporary folder, on free ports. Yields (the settings for it, the processes).

    If anything fails, the logs are kept.
    """
    home = settings.stack.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as folder:
        settings = ports.with_free_ports(settings.but(home=Path(folder), flink_metrics_port=0, sink_metrics_port=0))
        with Processes(settings.stack.home) as processes:
            try:
                broker.start_broker(processes, settings)
                topic_admin.create_topics(settings)
                yield settings, processes
            except UserError:
                kept = shutil.copytree(processes.logs, home / "bench" / "logs", dirs_exist_ok=True)
                print(f"the logs are kept in {kept}", file=sys.stderr)
                raise


def run_to_end(processes: Processes, name: str) -> Usage:
    """Wait for a started program to end. Raises UserError if it fails."""
    usage = Usage(processes, name)
    try:
        while processes.children[name].poll() is None:
            usage.sample()
            time.sleep(SAMPLE_S)
        processes.check()
    finally:
        processes.stop(name)
    return usage


def run_job(settings: Settings, processes: Processes, job: Path) -> tuple[float, Usage]:
    """Run a job that reads the topic to its end. Returns (seconds in which all of its tasks ran, its usage)."""
    local_flink.start_job(processes, settings, job, ends=True, run=JobRun(bounded=True))
    usage = run_to_end(processes, job.stem)
    return task_seconds(processes.log(job.stem)), usage


def task_seconds(log: Path) -> float:
    """Seconds from the last task's start to the last task's end, read from a job's log."""
    last = {}
    for line in log.read_text().splitlines():
        if change := STATE_CHANGE.match(line):
            last[change[2]] = datetime.fromisoformat(change[1])
    return (last["FINISHED"] - last["RUNNING"]).total_seconds()


def reported(printed: list[str]) -> dict:
    """The last JSON object in the lines that a program has printed."""
    return json.loads([line for line in printed if line.startswith("{")][-1])


def last_words(printed: list[str]) -> str:
    """The reason why a program failed that reported none, from its output: Java's innermost cause, else the last line."""
    lines = list(takewhile(lambda line: ABORTED not in line, printed))
    return innermost_cause(lines) or (lines[-1] if lines else "no reason given")


def kafka_bytes(settings: Settings) -> int:
    """Bytes of the topic readings on the broker's disk."""
    size = 0
    for folder in (settings.stack.home / "kafka").glob(f"{topics.topic(settings, 'readings')}-*"):
        for segment in folder.glob("*.log"):
            with suppress(FileNotFoundError):  # Kafka has just removed it
                size += segment.stat().st_size
    return size


def quantity(text: str) -> int:
    """Parse an argument as a whole number of 1 or more, such as 1e9."""
    value = float(text)
    if value < 1 or value % 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(value)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """Format a table. The first `texts` columns are left-aligned, the others right-aligned."""
    return aligned(heads, rows, [column >= texts for column in range(len(heads))])


def shown(value: float | None, digits: int = 0, factor: float = 1) -> str:
    """A cell of a table; empty for None."""
    return "" if value is None else f"{value * factor:,.{digits}f}"


def save(folder: Path, name: str, settings: Settings, **figures) -> Path:
    """Write figures as NAME.json, with the date, the machine and the settings that are not the default."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    head = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "settings": unusual(settings)}
    path.write_text(json.dumps(head | figures, indent=1) + "\n")
    return path


def unusual(settings: Settings) -> dict:
    """The settings that affect a job and are not the default."""
    places = {"home", "kafka", "kafka_controller_port", "clickhouse_url", "flink_ui_port", "dashboard_port"}
    return {
        item.variable.key: item.value
        for item, usual in zip(settings.items(), Settings().items())
        if item.variable.key not in places and not item.is_secret and item != usual
    }


def machine() -> dict:
    """The machine and the versions of the software that the figures were measured with."""
    memory_kb = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]
    processor = re.search(r"model name\s+: (.+)", Path("/proc/cpuinfo").read_text())
    java = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    peers = re.findall(r"^(pyspark|bytewax|quixstreams)==(\S+)", (ROOT / "bench" / "requirements.txt").read_text(), re.MULTILINE)
    kafka = [jar.stem.removeprefix("kafka_2.13-") for jar in (ROOT / "jars" / "kafka").glob("kafka_2.13-*.jar")]
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory_kb) / 2**20, 1),
        "processor": processor[1] if processor else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "java": re.search(r'"(.+?)"', java)[1],
        "kafka": kafka[0],
        **{package: version(package) for package in PACKAGES},
        **dict(peers),
    }


def seconds(action: Callable) -> float:
    """Seconds that a call takes."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun
