"""Measures what it costs to decode and check bursts of power: those of the first schema, the present ones, and ones with quantities and holds.

With --beside, the same is measured by the code in another checkout, in turn with this one.
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
from pathlib import Path

import numpy as np

SPANS_S = (1, 900)
"""A live burst, and one of history."""
MESSAGES_BYTES = 4 << 20
LATEST_MS = 2**60
TIMES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench decoding."""
    parser.add_argument("--runs", type=int, default=7, help="how often each is measured; the lowest figure counts (default 7)")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another checkout of this project, such as of the last release")


def run(args: argparse.Namespace, settings) -> int:
    """Measure and print."""
    from bench import measure
    from smartmeter.settings import ROOT

    trees = {"this": ROOT} | ({args.beside.name: args.beside} if args.beside else {})
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(args.runs):
        for name, tree in trees.items():
            for what, ns in in_tree(tree).items():
                found.setdefault((name, what), []).append(ns)
    rows = [[name, what, *(measure.shown(figure(of), 2) for figure in (min, statistics.median))] for (name, what), of in found.items()]
    print(measure.table(["code", "bursts", "lowest, ns a reading", "median"], rows, 2))
    return 0


def in_tree(tree: Path) -> dict[str, float]:
    """What `times` finds with the code in a checkout, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(tree.resolve())}
    printed = subprocess.run([sys.executable, "-P", __file__], env=environment, check=True, capture_output=True, text=True, cwd=tree)
    return json.loads(printed.stdout)


def times() -> dict[str, float]:
    """Kind of burst -> ns a reading, in a worker's memory. It only uses what an earlier release has, too."""
    from jobs.core.readings import read
    from jobs.flink.to_batches import keep_freed_memory

    keep_freed_memory()
    found = {}
    for what, payload, readings in payloads():
        many = [payload] * (MESSAGES_BYTES // len(payload))
        _, reasons = read(many, LATEST_MS)
        if reasons:
            continue  # this release cannot read it
        found[what] = min(process_s(lambda: read(many, LATEST_MS)) for _ in range(TIMES)) / (readings * len(many)) * 1e9
    return found


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
    print(json.dumps(times()))
