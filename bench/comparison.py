"""Measures how fast the jobs process a backlog, against programs that only read it and other engines that do the same work.

All programs run on one machine, over one topic. A job's time runs from the start of its last task (all tasks running, Python workers
up) to the end of its last task. A peer's time runs from just before it reads the topic until its results are written. Neither includes
the start of the JVM, Python or a session. CPU time and memory are those of all processes of a program, including start-up; memory is
the sum of their peaks. The limits and our jobs take turns, and each figure is the median of their runs. A peer takes long and runs
once. Its results are compared with ours (bench/answers.py). The broker runs on the same cores.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

from bench import answers, measure
from bench.measure import Run, Target, shown
from generator.history import produce
from generator.synthetic import synthetic_houses
from smartmeter.errors import UserError
from smartmeter.messages import topics
from smartmeter.settings import ROOT, Settings
from stack.processes import Processes

FIRST_DAY = date(2011, 4, 18)
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
LIMIT, OURS, PEER = "limit", "ours", "peer"
DIFFERENT = "different: "


@dataclass(frozen=True)
class Program:
    """A program that reads the whole topic: one of our jobs, a limit, or a peer."""

    name: str  # for a Flink job, the stem of its file
    kind: str
    engine: str
    work: str
    file: str
    python: Path | None = None  # None: it is a Flink job
    options: tuple[str, ...] = ()


PROGRAMS = (
    Program("blackhole", LIMIT, "Flink", "only reads", "bench/blackhole.py"),
    Program("consumer", LIMIT, "confluent-kafka", "only reads", "bench/consumer.py", Path(sys.executable)),
    Program("daily_energy", OURS, "ours", "daily energy", "jobs/daily_energy.py"),
    Program("thresholds", OURS, "ours", "thresholds", "jobs/thresholds.py"),
    Program("spikes", OURS, "ours", "spikes", "jobs/spikes.py"),
    Program("power_profile", OURS, "ours", "power profile", "jobs/power_profile.py"),
    Program("three_jobs", OURS, "ours", "energy, thresholds, spikes in one job", "bench/three_jobs.py"),
    Program("pipeline", OURS, "ours", "all four in one job", "jobs/pipeline.py"),
    Program("spark_batch", PEER, "PySpark batch", "daily energy", "bench/peers/spark_batch.py", PEERS_PYTHON),
    Program(
        "spark_batch_all",
        PEER,
        "PySpark batch",
        "energy, thresholds, spikes",
        "bench/peers/spark_batch.py",
        PEERS_PYTHON,
        ("--work", "all"),
    ),
    Program("spark_streaming", PEER, "PySpark streaming", "daily energy", "bench/peers/spark_streaming.py", PEERS_PYTHON),
    Program("flink_sql", PEER, "Flink SQL (JVM)", "daily energy", "bench/peers/flink_sql.py", Path(sys.executable)),
    Program("bytewax", PEER, "Bytewax", "daily energy", "bench/peers/bytewax_flow.py", PEERS_PYTHON),
    Program("chdb", PEER, "chDB SQL", "daily energy", "bench/peers/chdb_sql.py", Path(sys.executable)),
    Program("chdb_all", PEER, "chDB SQL", "energy, thresholds, spikes", "bench/peers/chdb_sql.py", Path(sys.executable), ("--work", "all")),
)

WHOLE = ("three_jobs", "pipeline")
"""Programs after which the topics hold all results that a peer is compared with."""

TARGETS = (
    ("three_jobs", "spark_batch_all", 10),
    ("three_jobs", "spark_batch", 10),
    ("three_jobs", "spark_streaming", 10),
    ("three_jobs", "flink_sql", 5),
    ("three_jobs", "blackhole", 0.4),
)
"""(a, b, least ratio of a's readings/s to b's)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench."""
    parser.add_argument("--houses", type=measure.quantity, default=20, help="how many houses (default 20)")
    parser.add_argument("--days", type=measure.quantity, default=9, help="days of readings of each house (default 9)")
    parser.add_argument("--burst-s", type=measure.quantity, default=300, help="seconds of a burst (default 300)")
    parser.add_argument("--runs", type=measure.quantity, default=3, help="runs of each limit and each of our jobs (default 3)")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[program.name for program in PROGRAMS],
        help=f"run only these; a peer's results are checked if {' or '.join(WHOLE)} runs before it. Names: %(choices)s",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for JSON, plot and logs of failed programs (default: SMW_HOME/bench)"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, print the table and the targets, save JSON and plot. Returns 1 if a program fails or a peer's results differ from ours."""
    out = args.out or settings.stack.home / "bench"
    programs = [program for program in PROGRAMS if not args.only or program.name in args.only]
    peers = [program for program in programs if program.kind == PEER]
    turns = [program for program in programs if program.kind != PEER] * args.runs + peers
    with measure.workplace(settings) as (here, processes):
        comparison = Comparison(here, processes, out / "logs")
        comparison.produce(args.houses, args.days, args.burst_s)
        for number, program in enumerate(turns, 1):
            print(f"{number} of {len(turns)}: {program.engine}, {program.work} ...", end=" ", file=sys.stderr, flush=True)
            run = comparison.measure(program)
            print(f"{run.seconds:,.1f} s" if run.seconds else run.answers, file=sys.stderr)
        data = {
            "houses": args.houses,
            "days": args.days,
            "burst_s": args.burst_s,
            "readings": comparison.readings,
            "kafka_bytes_per_reading": measure.kafka_bytes(here) / comparison.readings,
        }
    runs, reached = comparison.runs, targets(comparison.runs)
    path = measure.save(
        out, "comparison", settings, data=data, runs=[run.record() for run in runs], targets=[target.record() for target in reached]
    )
    print(
        f"\n{data['readings']:,} readings, {data['kafka_bytes_per_reading']:.2f} bytes a reading in Kafka; "
        f"limits and our jobs: median of {args.runs} runs\n\n{report(runs)}\n",
        *reached,
        sep="\n",
    )
    plot = path.with_suffix(".png")
    subprocess.run([PEERS_PYTHON, "-P", ROOT / "bench" / "plot.py", path, plot], check=True)
    print(f"\nSaved as {path} and {plot}")
    return 0 if all(run.seconds and not run.answers.startswith(DIFFERENT) for run in runs) else 1


class Comparison:
    """Runs programs one after another on one topic."""

    def __init__(self, settings: Settings, processes: Processes, logs: Path):
        self.settings, self.processes, self.logs = settings, processes, logs
        self.readings = 0
        self.runs_of: dict[str, list[Run]] = {}  # by name, in the order of the table

    @property
    def runs(self) -> list[Run]:
        """The median run of each program."""
        return [measure.median(runs) for runs in self.runs_of.values()]

    def produce(self, houses: int, days: int, burst_s: int) -> None:
        """Fill the topic from this process."""
        begun_cpu_s = time.process_time()
        totals = produce(synthetic_houses(houses, 1), FIRST_DAY, FIRST_DAY + timedelta(days=days), burst_s, float("inf"), self.settings)
        self.readings = totals.readings
        self.runs_of["producer"] = [
            Run("producer", "generator", "makes and sends", totals.readings, totals.seconds, time.process_time() - begun_cpu_s)
        ]

    def measure(self, program: Program) -> Run:
        """Run a program to its end. If it fails, `answers` holds the reason, and its log is kept."""
        run = Run(program.name, program.engine, program.work, self.readings)
        self.runs_of.setdefault(program.name, []).append(run)
        try:
            if program.python:
                run.seconds, usage = self.run_peer(program)
            else:
                run.seconds, usage = measure.run_job(self.settings, self.processes, ROOT / program.file)
        except UserError:
            self.logs.mkdir(parents=True, exist_ok=True)
            log = self.processes.log(program.name)
            reason = self.processes.reported(program.name).error or measure.last_words(self.processes.printed(program.name))
            run.answers = f"failed: {reason}; its log is {shutil.copy(log, self.logs)}"
            return run
        run.cpu_s, run.peak_mb, run.peak_mb_of = usage.cpu_s, usage.peak_mb, usage.peak_mb_of
        if program.kind == PEER and any(whole.seconds for name in WHOLE for whole in self.runs_of.get(name, [])):
            run.answers = self.check(program.name)
        return run

    def run_peer(self, program: Program) -> tuple[float, measure.Usage]:
        out, scratch = self.settings.stack.home / "answers" / program.name, self.settings.stack.home / "scratch"
        for folder in (out, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        command = [
            str(program.python),
            "-P",
            str(ROOT / program.file),
            "--kafka",
            self.settings.kafka.address,
            "--topic",
            topics.topic(self.settings, "readings"),
            "--out",
            str(out),
            *program.options,
        ]
        environ = self.settings.environ() | {"PYTHONPATH": str(ROOT), "TMPDIR": str(scratch), "SPARK_LOCAL_DIRS": str(scratch)}
        self.processes.start(program.name, command, environ, ends=True)
        usage = measure.run_to_end(self.processes, program.name)
        return measure.reported(self.processes.printed(program.name))["seconds"], usage

    def check(self, peer: str) -> str:
        """The result of comparing a peer's results with ours, as text."""
        try:
            near = answers.compare(self.ours, answers.theirs(self.settings.stack.home / "answers" / peer))
        except answers.Different as error:
            return f"{DIFFERENT}{error}"
        return "equal: " + ", ".join(f"{name} {value:.3g}" for name, value in asdict(near).items() if value is not None)

    @cached_property
    def ours(self) -> dict:
        return answers.ours(self.settings)


def report(runs: list[Run]) -> str:
    """The table of all runs."""
    rate_of = {run.name: run.rate for run in runs}
    heads = ["engine", "work", "seconds", "M readings/s", "times blackhole", "three in one is times", "CPU s per M", "peak MB"]
    rows = [
        [
            run.engine,
            run.work,
            shown(run.seconds, 1),
            shown(run.rate, 2, 1e-6),
            shown(ratio(run.rate, rate_of.get("blackhole")), 3),
            shown(ratio(rate_of.get("three_jobs"), run.rate), 2),
            shown(run.cpu_s_per_million, 2),
            shown(run.peak_mb),
        ]
        for run in runs
    ]
    answered = [f"{run.engine}, {run.work}: {run.answers}" for run in runs if run.answers]
    return "\n".join([measure.table(heads, rows, 2), "", *answered])


def ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None


def title(run: Run) -> str:
    return f"{run.engine} ({run.work})"


def targets(runs: list[Run]) -> list[Target]:
    """The targets for which both sides were measured."""
    run_of = {run.name: run for run in runs if run.rate}
    return [
        Target(f"{title(run_of[a])}, times {title(run_of[b])}", run_of[a].rate / run_of[b].rate, least=least)
        for a, b, least in TARGETS
        if a in run_of and b in run_of
    ]
