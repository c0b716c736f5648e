"""How fast the jobs catch up from a backlog, against Flink just reading the same topic.

    python -m bench.catch_up [--houses N] [--days N] [--burst-s S]

One run, one topic, one machine: the producer, a plain read by Flink into a blackhole, each job, all as one. A job's time is that
from its tasks' start (all of them running, Python workers up) to the end of the last; starting Flink is not counted.
Memory is the sum of the peaks (VmHWM) of each program's processes.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from generator.commands import produce
from generator.synthetic import synthetic_houses
from smartmeter import stack, topics
from smartmeter.processes import Processes, marked
from smartmeter.settings import ROOT, Settings

FIRST_DAY = date(2011, 4, 18)
STATE_CHANGE = re.compile(r"^(\S+ \S+) .* \(\d+/\d+\) \(\S+\) switched from \w+ to (RUNNING|FINISHED)")
PROGRAM_OF = {"java": "Flink (JVM)", "python": "Python workers"}


@dataclass
class Run:
    """One program over the whole topic."""

    name: str
    readings: int
    seconds: float
    peak_mb: Counter
    cpu_s: Counter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench."""
    parser.add_argument("--houses", type=int, default=20)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--burst-s", type=int, default=300)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, and print the table."""
    with tempfile.TemporaryDirectory(dir=settings.home) as home:
        settings = stack.with_free_ports(replace(settings, home=Path(home), bounded=True))
        with Processes(settings.home) as processes:
            stack.start_broker(processes, settings)
            stack.create_topics(settings)
            print_table(list(measure(args, settings, processes)), kafka_bytes(settings))
    return 0


def measure(args, settings: Settings, processes: Processes):
    """Yield a Run for the producer, the blackhole and the jobs."""
    houses = synthetic_houses(args.houses, 1, None)
    totals = produce(houses, FIRST_DAY, FIRST_DAY + timedelta(days=args.days), args.burst_s, float("inf"), settings)
    yield Run("producer (generating included)", totals.readings, totals.seconds, Counter(), Counter())
    for job in ("bench/blackhole.py", "jobs/daily_energy.py", "jobs/thresholds.py", "jobs/spikes.py", "jobs/power_profile.py",
                "jobs/pipeline.py"):
        yield Run(job, totals.readings, *run_job(settings, processes, ROOT / job))


def run_job(settings: Settings, processes: Processes, job: Path) -> tuple[float, Counter, Counter]:
    """Of a job that reads the topic to its end: seconds in which its tasks ran, and by program peak MB and CPU s."""
    stack.start_job(processes, settings, job)
    child, pid_file, used = processes.children[job.stem], processes.run / f"{job.stem}.pid", {}
    while child.poll() is None:
        used |= {pid: usage for pid in marked(pid_file) if (usage := resources(pid))}
        time.sleep(0.2)
    processes.stop(job.stem)
    if child.returncode:
        raise SystemExit(f"{job.name} failed; see {processes.log(job.stem)}")
    peak_mb, cpu_s = Counter(), Counter()
    for program, mb, cpu in used.values():
        peak_mb[program] += mb
        cpu_s[program] += cpu
    return task_seconds(settings.home / "logs"), peak_mb, cpu_s


def resources(pid: int) -> tuple[str, float, float] | None:
    """(program, peak of its resident memory in MB, CPU s) of a running process of Flink."""
    try:
        status, stat = Path(f"/proc/{pid}/status").read_text(), Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    name, peak = re.search(r"Name:\s+(\w+)", status)[1], re.search(r"VmHWM:\s+(\d+) kB", status)
    ticks = sum(map(int, stat.rsplit(")", 1)[1].split()[11:13]))
    return (PROGRAM_OF[name], int(peak[1]) / 1024, ticks / os.sysconf("SC_CLK_TCK")) if name in PROGRAM_OF and peak else None


def task_seconds(logs: Path) -> float:
    """Seconds from the last task's start to the last task's end, by the newest log of Flink's."""
    newest = max(logs.glob("flink-*.log"), key=lambda path: path.stat().st_mtime)
    last = {}
    for line in newest.read_text().splitlines():
        if change := STATE_CHANGE.match(line):
            last[change[2]] = datetime.strptime(change[1], "%Y-%m-%d %H:%M:%S,%f")
    newest.unlink()
    return (last["FINISHED"] - last["RUNNING"]).total_seconds()


def kafka_bytes(settings: Settings) -> int:
    """Bytes of the topic readings on the broker's disk."""
    folders = (settings.home / "kafka").glob(f"{topics.topic(settings, 'readings')}-*")
    return sum(segment.stat().st_size for folder in folders for segment in folder.glob("*.log"))


def print_table(runs: list[Run], topic_bytes: int) -> None:
    limit = next(r for r in runs if "blackhole" in r.name)
    print(f"\n{runs[0].readings:,} readings, {topic_bytes / runs[0].readings:.2f} bytes a reading in Kafka\n")
    print(f"{'':32}{'seconds':>9}{'M readings/s':>14}{'of blackhole':>14}   peak memory, MB; CPU s, start included")
    for r in runs:
        rate = r.readings / r.seconds
        share = rate / (limit.readings / limit.seconds)
        memory = ", ".join(f"{program} {mb:,.0f} MB {r.cpu_s[program]:.0f} s" for program, mb in r.peak_mb.items())
        print(f"{r.name:32}{r.seconds:9.1f}{rate / 1e6:14.2f}{share:14.0%}   {memory}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    sys.exit(run(parser.parse_args(), Settings.load()))
