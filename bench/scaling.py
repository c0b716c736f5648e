"""Measures whether the pipeline's cost per reading stays the same with more days, more cores or more houses.

Each case processes a backlog of its own, made of copies of synthetic houses of 20 meters. All topics are filled first. Then the cases take
turns, so a machine that becomes slower affects all of them, and the median run of each counts. A job of parallelism 1 has one core for JVM
and Python together. One of parallelism 2 has two cores, which it shares with the broker.

The cases of kind `houses` all have the same number of house-days, from many days of few houses to one day of many, with a reading every 3
minutes and a burst every 3 hours. So each has the same number of readings, bursts and results. The more houses there are, the further apart
the bursts of one house are in the topic.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bench import measure
from bench.copies import READINGS_PER_DAY, TIMEZONE, Copies
from bench.measure import Run, Target, shown
from smartmeter.kafka import topic_admin
from smartmeter.kafka.producer import Producer
from smartmeter.local_days import midnight_ms
from smartmeter.settings import Settings
from stack import local_flink
from stack.processes import Processes

FIRST_MS = midnight_ms(date(2011, 4, 18), TIMEZONE)
BURST_S = 300
SPARSE_BURST_S, SPARSE_EVERY_S = 10_800, 180
HOUSES = 20
MANY_HOUSES = (10, 100, 1_000, 10_000)
KINDS = ("days", "parallelism", "houses")


@dataclass(frozen=True)
class Case:
    """A number of houses and bursts. Cases with the same numbers share a topic."""

    kind: str
    size: int
    houses: int
    steps: int
    burst_s: int = BURST_S
    every_s: int | None = None  # see bench.copies
    parallelism: int | None = None  # None: as in the settings

    def settings(self, settings: Settings) -> Settings:
        return settings.but(
            topic_prefix=f"{self.houses}-houses-{self.steps}-bursts-{self.burst_s}-s.",
            parallelism=self.parallelism or settings.flink.parallelism,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench scaling."""
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="run only these kinds of cases")
    parser.add_argument(
        "--days", nargs=2, type=measure.quantity, default=(10, 40), metavar=("FEW", "MANY"), help=f"days of {HOUSES} houses (default 10 40)"
    )
    parser.add_argument("--readings", type=measure.quantity, default=60_000_000, help="readings of each case of parallelism (default 60e6)")
    parser.add_argument(
        "--house-days", type=measure.quantity, default=max(MANY_HOUSES), help="house-days of each case of houses (default 10000)"
    )
    parser.add_argument("--runs", type=measure.quantity, default=3, help="runs of each case (default 3)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for the JSON (default: SMW_HOME/bench)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, print and save."""
    todo = [case for case in cases(args.days, args.readings, args.house_days) if case.kind in args.only]
    with measure.workplace(settings) as (here, processes):
        readings = backlogs(todo, here)
        turns = [(case, measured(case, readings[case], here, processes)) for _ in range(args.runs) for case in todo]
    middle = {case: measure.median([run for other, run in turns if other == case]) for case in todo}
    reached = targets(middle)
    rows = [
        [
            run.engine,
            run.work,
            f"{run.readings:,}",
            shown(run.seconds, 1),
            shown(run.rate, 2, 1e-6),
            shown(run.cpu_s_per_million, 2),
            shown(run.peak_mb),
        ]
        for run in middle.values()
    ]
    path = measure.save(
        args.out or settings.stack.home / "bench",
        "scaling",
        settings,
        runs=[run.record() for _, run in turns],
        middle=[run.record() for run in middle.values()],
        targets=[target.record() for target in reached],
    )
    print(f"\nMedian of {args.runs} runs each:\n")
    print(measure.table(["", "case", "readings", "seconds", "M readings/s", "CPU s per M", "peak MB"], rows, 2), "", *reached, sep="\n")
    print(f"\nSaved as {path}")
    return 0


def cases(days: tuple[int, int], readings: int, house_days: int) -> list[Case]:
    """All cases, each kind from small to large."""
    steps_per_day, sparse_steps_per_day = 86_400 // BURST_S, 86_400 // SPARSE_BURST_S
    steps = max(1, round(readings / HOUSES / READINGS_PER_DAY * steps_per_day))
    return [
        *(Case("days", count, HOUSES, count * steps_per_day) for count in days),
        *(Case("parallelism", cores, HOUSES, steps, parallelism=cores) for cores in (1, 2)),
        *(
            Case("houses", houses, houses, max(1, house_days * sparse_steps_per_day // houses), SPARSE_BURST_S, SPARSE_EVERY_S)
            for houses in MANY_HOUSES
        ),
    ]


def backlogs(todo: list[Case], settings: Settings) -> dict[Case, int]:
    """Fill the topics of all cases. Returns the number of readings in each."""
    filled: dict[str, int] = {}
    for case in todo:
        own = case.settings(settings)
        if own.kafka.topic_prefix not in filled:
            print(f"producing {case.steps:,} bursts of {case.houses:,} houses ...", file=sys.stderr)
            filled[own.kafka.topic_prefix] = fill(own, case)
    return {case: filled[case.settings(settings).kafka.topic_prefix] for case in todo}


def fill(settings: Settings, case: Case) -> int:
    topic_admin.create_topics(settings)
    copies = Copies(case.houses, case.burst_s, case.every_s)
    with Producer(settings) as producer:
        return sum(copies.send_step(producer, step, FIRST_MS + step * copies.burst_ms) for step in range(case.steps))


def measured(case: Case, readings: int, settings: Settings, processes: Processes) -> Run:
    """One run of the pipeline over a case's topic."""
    print(f"{case.kind} {case.size:,} ...", end=" ", file=sys.stderr, flush=True)
    with on_cores(case.parallelism):
        seconds, usage = measure.run_job(case.settings(settings), processes, local_flink.PIPELINE_JOB)
    print(f"{seconds:.1f} s", file=sys.stderr)
    return Run(f"{case.kind} {case.size}", case.kind, f"{case.size:,}", readings, seconds, usage.cpu_s, usage.peak_mb)


@contextmanager
def on_cores(count: int | None) -> Iterator[None]:
    """Limit programs started in this block to `count` cores; None: no limit."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def targets(middle: dict[Case, Run]) -> list[Target]:
    """The targets of the kinds that were measured."""
    found = []
    for kind in KINDS:
        runs = [run for case, run in middle.items() if case.kind == kind]
        if not runs:
            continue
        first, last, rates = runs[0], runs[-1], [run.rate for run in runs]
        found += {
            "days": [
                Target(f"readings/s of {last.work} days, times {first.work} days", last.rate / first.rate, least=0.9),
                Target(f"peak memory of {last.work} days, times {first.work} days", last.peak_mb / first.peak_mb, most=1.1),
            ],
            "parallelism": [
                Target("readings/s of parallelism 2 on two cores, times parallelism 1 on one", last.rate / first.rate, least=1.7)
            ],
            "houses": [Target("seconds a reading of the slowest number of houses, times the quickest", max(rates) / min(rates), most=1.2)],
        }[kind]
    return found
