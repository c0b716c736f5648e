"""Measures the time from producing a reading that is a spike to its alert in ClickHouse, on the whole live stack.

Houses of 20 meters first send two days of history (a reading every 5 minutes), from which the thresholds are made. Then each sends two
bursts of the current seconds, which may close a day: they are waited for and are not part of the figures. From then on each house sends a
burst every second, at its own moment of the second. Mains have a reading every second and appliances every 3 s (8 readings/s a house);
with --every-second all meters have one every second (20 readings/s). From time to time a meter's readings are raised far over its limit
for some seconds. The time runs from just before the burst with the first raised reading is passed to the producer, to the end of the
first query (one every 50 ms) that returns its alert. The bursts are copies of those of a few houses, sent by a process of its own.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
from clickhouse_connect.driver.exceptions import DatabaseError

from bench import measure
from bench.copies import METERS, READINGS_PER_DAY, TIMEZONE, Copies
from bench.measure import Target, Usage, shown
from smartmeter.kafka.producer import Producer
from smartmeter.local_days import local_date, midnight_ms
from smartmeter.settings import Settings
from stack import local_flink, services
from stack.processes import Processes
from store import client

HISTORY_DAYS = 2
HISTORY_BURST_S, HISTORY_EVERY_S = 14_400, 300
POLL_S = 0.05
PREPARE_S = 15  # for the sender to prepare its bursts
SETTLE_S = 15  # live bursts before the first spike, and time for the last alerts to arrive
PATIENCE_S = 1800
TARGET_RATE = 200_000
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench live."""
    parser.add_argument("--houses", type=measure.quantity, default=10_000, help="how many houses (default 10000)")
    parser.add_argument("--seconds", type=measure.quantity, default=120, help="for how long spikes are sent (default 120)")
    parser.add_argument("--spikes-per-s", type=float, default=5, help="average number of meters raised each second (default 5)")
    parser.add_argument("--every-second", action="store_true", help="read all meters every second: 20 readings/s a house instead of 8")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for the JSON (default: SMW_HOME/bench)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, print and save. Returns 1 if alerts are missing. Raises UserError if readings are."""
    with measure.workplace(settings) as (here, processes):
        before, wake_s = begun(here, processes, args.houses)
        measured = watched(here, processes, before, lambda: send_live(here, processes, args))
    return report(*measured, wake_s, args, settings)


def begun(here: Settings, processes: Processes, houses: int) -> tuple[int, float]:
    """Start what processes readings, and bring houses to the present. Returns (readings sent, s that their first live bursts took)."""
    services.start_endpoint(processes, here)
    services.start_sink(processes, here)
    local_flink.start_job(processes, here)
    history = send_history(here, houses)
    print(f"{history:,} readings of history sent", file=sys.stderr)
    wait_until_used(here, processes, history)
    processes.wait_until(lambda: caught_up(here, houses), "not all houses have thresholds", PATIENCE_S)
    awake, wake_s = wake(here, processes, houses, history)
    print(f"history processed; the first live bursts of all houses took {wake_s:.1f} s", file=sys.stderr)
    return history + awake, wake_s


def watched(
    here: Settings, processes: Processes, before: int, send: Callable[[], tuple[dict, dict[str, float]]]
) -> tuple[dict, dict[str, float], dict[str, float], float]:
    """Send, and watch the alerts meanwhile. before: readings sent so far. send: returns what run_sender does.

    Returns (the sender's report, when each alert was first seen, cores used by each part, s until all readings were used).
    """
    watcher = Watcher(here)
    try:
        sent, cores = send()
        behind_s = wait_until_used(here, processes, before + sent["readings"]) - sent["ended"]
        time.sleep(SETTLE_S)
    finally:
        seen = watcher.stop()
    processes.check()
    return sent, seen, cores, behind_s


def send_history(settings: Settings, houses: int) -> int:
    """Send the last days, up to some hours ago. Returns the number of readings."""
    copies, now_ms = Copies(houses, HISTORY_BURST_S, HISTORY_EVERY_S), round(time.time() * 1000)
    first_ms = midnight_ms(local_date(now_ms, TIMEZONE) - timedelta(days=HISTORY_DAYS), TIMEZONE)
    with Producer(settings) as producer:
        return sum(
            copies.send_step(producer, step, first_ms + step * copies.burst_ms) for step in range((now_ms - first_ms) // copies.burst_ms)
        )


def wake(settings: Settings, processes: Processes, houses: int, history: int) -> tuple[int, float]:
    """Send two bursts of each house, of the current second and the one before. The first may close a day; if it is more than an hour after the
    history, only the second shows that no clock is wrong. Returns (readings, s until all were used).
    """
    copies, now_s = Copies(houses, 1, hours=range(12, 13)), int(time.time())
    with Producer(settings) as producer:
        readings = sum(copies.send_step(producer, step, (now_s - 1 + step) * 1000) for step in range(2))
    return readings, wait_until_used(settings, processes, history + readings) - now_s


def watched_meters(settings: Settings) -> dict[int, list[int]]:
    """House -> its meters with a limit in a version that was in force when the history ended. A meter that was never on has no limit.

    The house's clock stays there until its first live burst, so a version may be over by now and the next one not made yet.
    """
    return dict(
        client.writer(settings, settings.clickhouse.database)
        .query(
            "SELECT house_id, groupUniqArray(meter_id) FROM thresholds FINAL WHERE limit_watts IS NOT NULL "
            f"AND valid_to > now() - INTERVAL {HISTORY_BURST_S + HISTORY_EVERY_S} SECOND GROUP BY house_id"
        )
        .result_rows
    )


def caught_up(settings: Settings, houses: int) -> bool:
    return len(watched_meters(settings)) == houses


def send_live(settings: Settings, processes: Processes, args: argparse.Namespace) -> tuple[dict, dict[str, float]]:
    """Run the sender. Returns (its report, number of cores that each part used meanwhile)."""
    begin = math.ceil(time.time()) + PREPARE_S
    options = [
        "--houses",
        args.houses,
        "--seconds",
        args.seconds,
        "--spikes-per-s",
        args.spikes_per_s,
        *["--every-second"] * args.every_second,
    ]
    return run_sender(settings, processes, "bench.sender", options, begin)


def run_sender(settings: Settings, processes: Processes, module: str, options: list, begin: int) -> tuple[dict, dict[str, float]]:
    """Run a sender that begins to send at a Unix time. Returns (its report, number of cores that each part used meanwhile)."""
    command = [sys.executable, "-P", "-m", module, "--begin", *map(str, (begin, *options))]
    processes.start("sender", command, settings.environ(), ends=True)
    usages = {name: Usage(processes, name) for name in processes.children}
    time.sleep(max(begin - time.time(), 0))
    begun, own_s = time.monotonic(), time.process_time()
    before = {name: usage.sample().cpu_s for name, usage in usages.items()}
    while processes.children["sender"].poll() is None:
        for usage in usages.values():
            usage.sample()
        processes.check()
        time.sleep(measure.SAMPLE_S)
    processes.check()
    spent_s = time.monotonic() - begun
    cores = {name: (usage.cpu_s - before[name]) / spent_s for name, usage in usages.items()}
    return measure.reported(processes.printed("sender")), cores | {"watcher": (time.process_time() - own_s) / spent_s}


def wait_until_used(settings: Settings, processes: Processes, readings: int) -> float:
    """Wait until ClickHouse's daily energy contains all sent readings. Returns the Unix time."""
    db = client.writer(settings, settings.clickhouse.database)

    def used() -> int:
        try:
            return db.query("SELECT sum(readings) FROM daily_energy FINAL").first_row[0]
        except DatabaseError:  # the sink has not made the tables yet
            return 0

    processes.wait_until(lambda: used() == readings, f"not all of {readings:,} readings are in the daily energy", PATIENCE_S)
    return time.time()


class Watcher:
    """Queries the alerts every POLL_S, and records when each was first seen."""

    def __init__(self, settings: Settings):
        self.client = client.writer(settings, settings.clickhouse.database)
        self.seen: dict[str, float] = {}
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def stop(self) -> dict[str, float]:
        """Stop watching. Returns alert_id -> Unix time at which it was first seen."""
        self.stopping.set()
        self.thread.join()
        return self.seen

    def _watch(self) -> None:
        while not self.stopping.wait(POLL_S):
            rows = self.client.query("SELECT DISTINCT alert_id FROM alerts WHERE start > now() - INTERVAL 5 MINUTE").result_rows
            now = time.time()
            for (alert_id,) in rows:
                self.seen.setdefault(alert_id, now)


def report(
    sent: dict,
    seen: dict[str, float],
    cores: dict[str, float],
    behind_s: float,
    wake_s: float,
    args: argparse.Namespace,
    settings: Settings,
) -> int:
    """Print the figures and save them."""
    results = latency(sent["sent"], seen)
    if not results["alerts"]:
        print(f"\nnone of {results['missing']} alerts arrived, so there is no time to report")
        return 1
    rate = sent["readings"] / sent["seconds"]
    reached = [
        Target("p99, s", results["p99_s"], most=2),
        Target("median of the last third of alerts, times that of the first", results["last_of_first"], most=1.25),
    ]
    if args.houses * (METERS if args.every_second else READINGS_PER_DAY / 86_400) >= TARGET_RATE:
        reached.append(Target("readings/s", rate, least=TARGET_RATE))
    path = measure.save(
        args.out or settings.stack.home / "bench",
        "live",
        settings,
        houses=args.houses,
        every_second=args.every_second,
        readings=sent["readings"],
        readings_per_s=rate,
        latest_sent_s=sent["latest_s"],
        latency=results,
        used_after_s=behind_s,
        first_bursts_s=wake_s,
        cores=cores,
        targets=[target.record() for target in reached],
    )
    print(
        f"\n{args.houses:,} houses of {METERS} meters, a burst each a second: {rate:,.0f} readings/s, sent {sent['latest_s']:.2f} s late at most\n"
        f"{in_words(results, 'producing')}\nafter the last burst it took {behind_s:.1f} s until all readings were in the daily energy\n"
    )
    print(measure.table(["part", "cores used"], [[name, shown(used, 2)] for name, used in cores.items()], 1), "", *reached, sep="\n")
    print(f"\nSaved as {path}")
    return 1 if results["missing"] else 0


def in_words(results: dict[str, float], begin: str) -> str:
    """What latency returned, in a line. begin: what the time begins with."""
    quantiles = ", ".join(f"{name} {1000 * results[f'{name}_s']:.0f}" for name in QUANTILES)
    return (
        f"{results['alerts']} alerts, {results['missing']} more are missing; from {begin} the reading to the alert in ClickHouse, ms: "
        f"{quantiles}"
    )


def latency(sent: dict[str, float], seen: dict[str, float]) -> dict[str, float]:
    """Numbers of alerts that arrived and did not, quantiles of their time in s, and median of the last third over that of the first."""
    taken_s = [seen[alert] - at for alert, at in sorted(sent.items(), key=lambda item: item[1]) if alert in seen]
    counts = {"alerts": len(taken_s), "missing": len(sent) - len(taken_s)}
    if not taken_s:
        return counts
    third = math.ceil(len(taken_s) / 3)
    return (
        counts
        | {f"{name}_s": float(np.quantile(taken_s, q)) for name, q in QUANTILES.items()}
        | {"last_of_first": float(np.median(taken_s[-third:]) / np.median(taken_s[:third]))}
    )
