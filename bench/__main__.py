"""./smw bench [NAME]: runs one of the benchmarks. Without a name, it runs the comparison."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from commands import cli

BENCHMARKS = {
    "comparison": "the jobs against other engines, on one topic (the default)",
    "scaling": "more days, cores, houses",
    "utility": "a day of many houses with one meter each, read each half-hour, against other engines",
    "live": "time from a reading to its alert in ClickHouse",
    "devices": "MQTT devices through the gateway: readings lost, and time to an alert",
    "long": "any number of readings, streamed through the pipeline",
    "dashboard": "times of its queries and pages",
    "watchdog": "false alarms, and injected faults found, on houses of a data set",
    "decoding": "bursts decoded and checked, by this code and by that of another checkout",
    "readers": "many readers of the local endpoint at once",
}


def main(argv: list[str]) -> int:
    named = argv[:1] and argv[0] in BENCHMARKS
    name = argv[0] if named else "comparison"
    benchmark = import_module(f"bench.{name}")
    others = "".join(f"\n  {other:12}{what}" for other, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog=f"smw bench {name}",
        description=benchmark.__doc__,
        epilog=f"All benchmarks:{others}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=benchmark.run)
    benchmark.add_arguments(parser)
    return cli.carry_out(parser.parse_args(argv[1:] if named else argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
