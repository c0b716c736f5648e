"""The benchmark's peers: other engines that compute the same results from the same topic `readings`.

    python -P bench/peers/NAME.py --kafka HOST:PORT --topic TOPIC --out FOLDER

reads the topic from its beginning to its end at the start, on two cores, and writes daily_energy (some also thresholds and
alerts) into FOLDER. Its last line is {"seconds": S}: the time from just before it reads the topic until everything is
written, without the start of interpreter, JVM or session.

Unlike the jobs, the peers rely on a clean topic, as the generator makes it: no burst is repeated, late or out of order.
A peer that fails prints the reason as its last line.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smartmeter.reports import fail
from smartmeter.settings import Settings
from stack.processes import innermost_cause

CORES = 2
JARS = Path(__file__).resolve().parents[2] / "jars"
RULE = Settings.load()
MAX_GAP_MS = round(RULE.rules.max_gap_s * 1000)
WATT_MS_PER_KWH = 3_600_000_000
MAINS = (1, 2)
"""The meters of each house of the generator whose kind is mains, as the topic houses has them."""


def arguments(description: str, works: tuple[str, ...] = ("energy",)) -> argparse.Namespace:
    """The command line of a peer that supports these kinds of work."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", required=True, help="host:port of a broker")
    parser.add_argument("--topic", required=True, help="the topic of reading bursts")
    parser.add_argument("--out", required=True, type=Path, help="folder for the results")
    if len(works) > 1:
        parser.add_argument("--work", choices=works, default=works[0], help="energy: daily energy; all: thresholds and alerts too")
    return parser.parse_args()


def report(seconds: float, **more: float) -> None:
    """Print the last line."""
    print(json.dumps({"seconds": round(seconds, 3)} | {name: round(value, 3) for name, value in more.items()}), flush=True)


def carry_out(work: Callable[[], Any]) -> Any:
    """Do a peer's work. If it fails, print the traceback, then print and report the reason in one line, and exit."""
    try:
        return work()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # a Rust panic is not an Exception
        traceback.print_exc()
        sys.exit(fail("failed", why(error)))


def why(error: BaseException) -> str:
    """The innermost cause of an error, in one line; Java's innermost cause if the error contains a Java stack trace."""
    while error.__cause__:
        error = error.__cause__
    lines = f"{type(error).__name__}: {error}".splitlines()
    return innermost_cause(lines) or lines[0]
