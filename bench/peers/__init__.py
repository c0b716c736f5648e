"""The benchmark's peers: other engines that work out the same results from the same topic `readings`.

    python -P bench/peers/NAME.py --kafka HOST:PORT --topic TOPIC --out FOLDER

reads the topic from its beginning to its end as of start, on two cores, writes daily_energy (and some also thresholds and
alerts) into FOLDER, and prints {"seconds": S} as its last line: the time from just before the topic is read until all is
written, without the start of interpreter, JVM or session.

They take the topic for clean, as the generator makes it: no burst comes twice, late or out of order. The jobs do not.
One that fails says why in its last line.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smartmeter.settings import Settings
from stack.processes import innermost_cause

CORES = 2
FAILED = "failed: "
JARS = Path(__file__).resolve().parents[2] / "jars"
RULE = Settings()
MAX_GAP_MS = round(RULE.max_gap_s * 1000)
WATT_MS_PER_KWH = 3_600_000_000


def arguments(description: str, works: tuple[str, ...] = ("energy",)) -> argparse.Namespace:
    """The command line of a peer that can do these works."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", required=True, help="host:port of a broker")
    parser.add_argument("--topic", required=True, help="the topic of reading bursts")
    parser.add_argument("--out", required=True, type=Path, help="folder that the results are written into")
    if len(works) > 1:
        parser.add_argument("--work", choices=works, default=works[0], help="energy: daily energy; all: thresholds and alerts too")
    return parser.parse_args()


def report(seconds: float, **more: float) -> None:
    """Print the last line."""
    print(json.dumps({"seconds": round(seconds, 3)} | {name: round(value, 3) for name, value in more.items()}), flush=True)


def carry_out(work: Callable[[], Any]) -> Any:
    """Do a peer's work. Where it fails, end with one line that says why, behind the traceback."""
    try:
        return work()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        traceback.print_exc()
        print(FAILED + why(error), file=sys.stderr, flush=True)
        sys.exit(1)


def why(error: BaseException) -> str:
    """The innermost cause of an error, in one line; that of Java where the error carries its stack trace."""
    while error.__cause__:
        error = error.__cause__
    lines = f"{type(error).__name__}: {error}".splitlines()
    return innermost_cause(lines) or lines[0]
