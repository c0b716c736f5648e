"""Measures what it costs to decode and check bursts of power: those of the first schema, the present ones, and ones with quantities and holds.

With --beside, a second process measures the same by the code in another checkout. The two take turns, so what else the machine does slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

SPANS_S = (1, 900)
"""A live burst, and one of history."""
MESSAGES_BYTES = 4 << 20
LATEST_MS = 2**60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench decoding."""
    parser.add_argument("--runs", type=int, default=60, help="how often each is measured, in turn (default 60)")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another checkout of this project, such as of the last release")


def run(args: argparse.Namespace, settings) -> int:
    """Measure and print."""
    from bench import measure
    from smartmeter.settings import ROOT

    trees = {"this": ROOT} | ({args.beside.name: args.beside} if args.beside else {})
    workers = {name: worker(tree) for name, tree in trees.items()}
    found: dict[tuple[str, str], list[float]] = {}
    for turn in range(args.runs):
        for name in sorted(workers, reverse=turn % 2 == 1):
            for what, ns in times_of(workers[name]).items():
                found.setdefault((name, what), []).append(ns)
    for process in workers.values():
        process.communicate()
    rows = []
    for (name, what), of in found.items():
        ratio = statistics.median(ns / beside for ns, beside in zip(of, found["this", what]))
        rows.append([name, what, *(measure.shown(figure(of), 2) for figure in (min, statistics.median)), measure.shown(ratio, 3)])
    print(measure.table(["code", "bursts", "lowest, ns a reading", "median", "of this code's, median of the turns"], rows, 2))
    return 0


def worker(tree: Path) -> subprocess.Popen[str]:
    """A process with the code in a checkout. It measures once for each line that it receives."""
    environment = os.environ | {"PYTHONPATH": str(tree.resolve())}
    return subprocess.Popen(
        [sys.executable, "-P", __file__], env=environment, cwd=tree, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def times_of(process: subprocess.Popen[str]) -> dict[str, float]:
    """Kind of burst -> ns a reading, measured once by a worker."""
    assert process.stdin and process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    found: dict[str, float] = json.loads(process.stdout.readline())
    return found


def measure_in_turn() -> None:
    """The worker: it prints kind of burst -> ns a reading. It only uses what an earlier release has, too."""
    from jobs.core.readings import read
    from jobs.flink.to_batches import keep_freed_memory

    keep_freed_memory()
    kinds = []
    for what, payload, readings in payloads():
        many = [payload] * (MESSAGES_BYTES // len(payload))
        for _ in range(2):
            _, reasons = read(many, LATEST_MS)
        if not reasons:  # else this release cannot read it
            kinds.append((what, many, readings * len(many)))
    for _ in sys.stdin:
        print(json.dumps({what: process_s(partial(read, many, LATEST_MS)) / readings * 1e9 for what, many, readings in kinds}), flush=True)


def process_s(action: Callable[[], object]) -> float:
    """CPU time of a call, in s."""
    begun = time.process_time()
    action()
    return time.process_time() - begun


def payloads():
    """Yield (kind, message, its readings)."""
    from bench.copies import Copies
    from smartmeter.messages import schemas
    from smartmeter.messages.codec import decode_burst, encode_burst

    for span_s in SPANS_S:
        payload, readings = Copies(1, span_s, None, range(12, 13)).message(1, 0, 1_700_000_100_000)
        yield f"{span_s} s", payload, readings
        if hasattr(schemas, "FIRST_BURST_HEADER"):
            yield f"{span_s} s, first schema", schemas.FIRST_BURST_HEADER + payload[schemas.HEADER_BYTES : -3], readings
            burst = decode_burst(payload)
            channels = len(burst.meter_ids)
            named = replace(burst, quantities=np.zeros(channels, np.int32), holds_s=np.full(channels, 60, np.int32))
            yield f"{span_s} s, quantities and holds", encode_burst(named), readings


if __name__ == "__main__":
    measure_in_turn()
