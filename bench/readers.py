"""Measures how the local endpoint copes with many readers at once, and whether the writer and /ping wait for them.

Each reader sends a query that takes much memory and about a second of both cores, and sends the next one as soon as it is answered.
Meanwhile the writer inserts 1,000 rows twice a second, and /ping is requested equally often. A reader that has waited for 10 s, or
that finds 100 others waiting, gets ClickHouse's error 202.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from bench import measure
from bench.measure import Target, Usage
from smartmeter.settings import Settings
from stack import services
from store.client import writer

QUERY = "SELECT uniqExact(cityHash64(number)) FROM numbers(5000000)"
EVERY_S = 0.5
ROWS = 1000
LIMIT_S = 2.0
"""Longest time that the writer and /ping may take while all readers are active."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench readers."""
    parser.add_argument("--readers", type=measure.quantity, default=200, help="how many readers (default 200)")
    parser.add_argument("--seconds", type=measure.quantity, default=60, help="for how long the readers send queries (default 60)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for the JSON (default: SMW_HOME/bench)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, print and save."""
    with measure.workplace(settings) as (here, processes):
        services.start_endpoint(processes, here)
        client = writer(here)
        client.command("CREATE TABLE bench (n Int64) ENGINE = MergeTree ORDER BY n")
        usage = Usage(processes, "endpoint")
        idle_mb = usage.sample().resident_mb
        rows = [[n] for n in range(ROWS)]
        codes, answered_s, inserts_s, pings_s = load(here, args, lambda: client.insert("bench", rows, column_names=["n"]), usage)
        stored = client.query("SELECT count() FROM bench").first_row[0]
        after_s = measure.seconds(lambda: request(here, "/", QUERY))
    reached = [
        Target("slowest insert of the writer, s", max(inserts_s), most=LIMIT_S),
        Target("slowest /ping, s", max(pings_s), most=LIMIT_S),
    ]
    figures = dict(
        readers=args.readers,
        answers={str(code): count for code, count in codes.most_common()},
        median_s=statistics.median(answered_s),
        longest_s=max(answered_s),
        inserts=len(inserts_s),
        rows_missing=ROWS * len(inserts_s) - stored,
        slowest_insert_s=max(inserts_s),
        slowest_ping_s=max(pings_s),
        idle_mb=idle_mb,
        peak_mb=usage.sample().peak_mb,
        alone_afterwards_s=after_s,
    )
    path = measure.save(
        args.out or settings.stack.home / "bench",
        "readers",
        settings,
        seconds=args.seconds,
        **figures,
        targets=[target.record() for target in reached],
    )
    print(
        "\n"
        + measure.table(
            ["figure", "value"], [[name, str(round(value, 3) if isinstance(value, float) else value)] for name, value in figures.items()], 1
        )
    )
    print("\n", *reached, f"\nSaved as {path}", sep="\n")
    return 0


def load(
    settings: Settings, args: argparse.Namespace, insert: Callable, usage: Usage
) -> tuple[Counter, list[float], list[float], list[float]]:
    """(answers by status and ClickHouse's error code, seconds of each that succeeded, of each insert, of each /ping)."""
    codes: Counter = Counter()
    answered_s, inserts_s, pings_s = list[float](), list[float](), list[float]()
    end = time.monotonic() + args.seconds

    def read() -> None:
        while time.monotonic() < end:
            begun = time.monotonic()
            code = request(settings, "/", QUERY)
            codes[code] += 1
            if code == "200":
                answered_s.append(time.monotonic() - begun)

    def repeat(action: Callable, taken_s: list[float]) -> None:
        while time.monotonic() < end:
            taken_s.append(measure.seconds(action))
            time.sleep(EVERY_S)

    threads = [threading.Thread(target=read) for _ in range(args.readers)]
    threads += [
        threading.Thread(target=repeat, args=(insert, inserts_s)),
        threading.Thread(target=repeat, args=(lambda: request(settings, "/ping"), pings_s)),
        threading.Thread(target=repeat, args=(usage.sample, [])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return codes, answered_s, inserts_s, pings_s


def request(settings: Settings, path: str, sql: str = "") -> str:
    """Send a reader's request. Returns its status, followed by ClickHouse's error code if there is one."""
    address = urlsplit(settings.clickhouse.url)
    try:
        with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)) as connection:
            connection.request("POST" if sql else "GET", path, sql.encode())
            answer = connection.getresponse()
            answer.read()
            return " ".join(filter(None, (str(answer.status), answer.headers.get("X-ClickHouse-Exception-Code"))))
    except OSError as error:
        return type(error).__name__
