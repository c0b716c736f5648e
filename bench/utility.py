"""Measures a utility's night: a day of houses with one meter each, which is read each half-hour, in bursts of some hours.

Our jobs and other engines compute the same from the same topic, each once, and the results are compared with ours (bench/answers.py). A
reading holds for half an hour for all of them (SMW_MAX_GAP_S). The limits of the times are those of ./smw bench comparison. A job's newest
checkpoint is the one that Flink completes at its end, with the state of all houses. What a house takes in memory is by how much the peaks of a
case exceed those of the case with the fewest houses, divided by the houses: of the JVM, and of the Python workers.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench import measure
from bench.comparison import DIFFERENT, OURS, PEER, PROGRAMS, Comparison
from bench.copies import Copies
from bench.measure import Run, shown
from bench.scaling import FIRST_MS
from smartmeter.kafka import topic_admin
from smartmeter.kafka.producer import Producer
from smartmeter.settings import Settings
from stack.processes import Processes

READ_EVERY_S = 1800
DAY_H = 24
NAMES = ("daily_energy", "three_jobs", "pipeline", "spark_batch", "spark_batch_all", "chdb", "chdb_all")
CHECKPOINT = re.compile(r"Completed checkpoint \d+ for job \w+ \((\d+) bytes, checkpointDuration=(\d+) ms")


@dataclass(frozen=True)
class Checkpoint:
    """The size of a checkpoint, and how long it took."""

    mb: float
    seconds: float


@dataclass
class Case:
    """Houses that send a burst every burst_h hours, and what was measured with them."""

    houses: int
    burst_h: int
    runs: list[Run] = field(default_factory=list)
    checkpoint_of: dict[str, Checkpoint] = field(default_factory=dict)  # by a job's name

    @property
    def name(self) -> str:
        return f"{self.houses:,} houses, bursts of {self.burst_h} h"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench utility."""
    parser.add_argument(
        "--houses", nargs="+", type=measure.quantity, default=[1, 100_000, 1_000_000], help="houses of each case (default 1 1e5 1e6)"
    )
    parser.add_argument(
        "--burst-h", nargs="+", type=int, choices=(1, 2, 3, 4, 6, 8, 12, 24), default=[1, 6, 24], help="hours of a burst (default 1 6 24)"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, default=NAMES, help="run only these: %(choices)s")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for JSON and logs of failed programs (default: SMW_HOME/bench)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, print and save. Returns 1 if a program fails or a peer's results differ from ours."""
    out = args.out or settings.stack.home / "bench"
    cases = [Case(houses, burst_h) for burst_h in args.burst_h for houses in sorted(args.houses)]
    with measure.workplace(settings.but(max_gap_s=float(READ_EVERY_S))) as (here, processes):
        for case in cases:
            carry_out(case, args.only, here, processes, out / "logs")
    per_house = [memory_per_house(case, cases) for case in cases]
    path = measure.save(
        out,
        "utility",
        settings,
        cases=[
            {"houses": case.houses, "burst_h": case.burst_h, "kb_per_house": of_house}
            | {"runs": [run.record() for run in case.runs]}
            | {"checkpoints": {name: vars(checkpoint) for name, checkpoint in case.checkpoint_of.items()}}
            for case, of_house in zip(cases, per_house)
        ],
    )
    for case, of_house in zip(cases, per_house):
        print(f"\n{case.name}:\n\n{report(case, of_house)}")
    print(f"\nSaved as {path}")
    return 0 if all(run.seconds and not run.answers.startswith(DIFFERENT) for case in cases for run in case.runs) else 1


def carry_out(case: Case, names: list[str], settings: Settings, processes: Processes, logs: Path) -> None:
    """Fill a topic for the case, and run our jobs and then the peers on it."""
    settings = settings.but(topic_prefix=f"{case.houses}-houses-{case.burst_h}-h.")
    topic_admin.create_topics(settings)
    comparison = Comparison(settings, processes, logs)
    print(f"{case.name}: producing ...", file=sys.stderr)
    comparison.readings = fill(settings, case)
    for kind in (OURS, PEER):
        for program in PROGRAMS:
            if program.kind != kind or program.name not in names:
                continue
            print(f"{case.name}: {program.engine}, {program.work} ...", end=" ", file=sys.stderr, flush=True)
            run = comparison.measure(program)
            print(f"{run.seconds:,.1f} s" if run.seconds else run.answers, file=sys.stderr)
            case.runs.append(run)
            if kind == OURS and (newest := checkpoint(processes.log(program.name))):
                case.checkpoint_of[program.name] = newest


def fill(settings: Settings, case: Case) -> int:
    """Send a day of the case. Returns the number of readings."""
    copies = Copies(case.houses, case.burst_h * 3600, READ_EVERY_S, meters=1)
    with Producer(settings) as producer:
        return sum(copies.send_step(producer, step, FIRST_MS + step * copies.burst_ms) for step in range(DAY_H // case.burst_h))


def checkpoint(log: Path) -> Checkpoint | None:
    """The newest checkpoint in a job's log."""
    found = CHECKPOINT.findall(log.read_text())
    return Checkpoint(int(found[-1][0]) / 1e6, int(found[-1][1]) / 1000) if found else None


def memory_per_house(case: Case, cases: list[Case]) -> dict[str, dict[str, float]]:
    """kB a house of each of our jobs, by what a process runs; nothing for the case with the fewest houses."""
    fewest = min((other for other in cases if other.burst_h == case.burst_h), key=lambda other: other.houses)
    if case.houses == fewest.houses:
        return {}
    base = {run.name: run.peak_mb_of for run in fewest.runs}
    return {
        run.name: {
            of: 1000 * (peak_mb - base.get(run.name, {}).get(of, 0.0)) / (case.houses - fewest.houses)
            for of, peak_mb in run.peak_mb_of.items()
        }
        for run in case.runs
        if run.engine == "ours"
    }


def report(case: Case, per_house: dict[str, dict[str, float]]) -> str:
    """The table of a case."""
    heads = ["engine", "work", "seconds", "meter-days/s", "CPU s per M meter-days", "peak MB", "kB a house: JVM", "Python"]
    heads += ["checkpoint, MB", "s"]
    rows = []
    for run in case.runs:
        of_house, newest = per_house.get(run.name, {}), case.checkpoint_of.get(run.name)
        rows.append(
            [
                run.engine,
                run.work,
                shown(run.seconds, 1),
                shown(case.houses / run.seconds if run.seconds else None),
                shown(run.cpu_s, 0, 1e6 / case.houses),
                shown(run.peak_mb),
                shown(of_house.get("java"), 2),
                shown(of_house.get("python"), 2),
                shown(newest.mb if newest else None, 2),
                shown(newest.seconds if newest else None, 2),
            ]
        )
    answered = [f"{run.engine}, {run.work}: {run.answers}" for run in case.runs if run.answers]
    return "\n".join([measure.table(heads, rows, 2), "", *answered])
