"""How long it takes from producing a reading that is a spike to its alert in ClickHouse, on the whole live stack.

    python -m bench.live [--houses N] [--seconds N] [--spikes-per-s N]

Houses of 20 meters send a burst each second, on top of two days of history that the thresholds are made from. Now and then
a meter's readings are raised far over its limit for some seconds. The time runs from just before the burst with the
first raised reading is handed to the producer, to the end of the first query (one every 10 ms) that shows its alert.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from generator.commands import in_order
from generator.houses import House
from generator.local_days import local_date
from generator.producer import Producer
from generator.synthetic import SyntheticHouse
from smartmeter import stack
from smartmeter.codec import Burst
from smartmeter.processes import Processes
from smartmeter.settings import Settings
from store import client

METERS = 20
HISTORY_DAYS = 2
HISTORY_BURST_S = 300
RAISED_WATTS = 100_000
RAISED_S = 8
POLL_S = 0.01
SETTLE_S = 15  # live bursts before the first spike, and time for the last alerts to arrive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the benchmark."""
    parser.add_argument("--houses", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=120, help="how long spikes are sent")
    parser.add_argument("--spikes-per-s", type=float, default=5)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, and print the quantiles. Returns 1 when an alert is missing."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.home) as home:
        settings = stack.with_free_ports(replace(settings, home=Path(home)))
        with Processes(settings.home) as processes:
            stack.start(processes, settings)
            houses = houses_of(METERS, args.houses)
            with Producer(settings) as producer:
                send_history(producer, houses)
                processes.wait_until(lambda: caught_up(settings, len(houses)), "the history is not processed", 300)
                watcher = Watcher(settings)
                sent = send_live(producer, houses, watched_meters(settings), args)
                time.sleep(SETTLE_S)
                seen = watcher.stop()
            processes.check()
    return report(sent, seen, args)


def houses_of(meters: int, count: int) -> list[House]:
    """The first synthetic houses with that many meters."""
    found, house_id = [], 0
    while len(found) < count:
        house_id += 1
        house = SyntheticHouse(house_id, 1, "America/New_York")
        if len(house.meters) == meters:
            found.append(house)
    return found


def send_history(producer: Producer, houses: list[House]) -> None:
    """The last days to the present minute."""
    now_ms = round(time.time() * 1000)
    today = local_date(now_ms, houses[0].timezone)
    for house in houses:
        producer.send_house(house.record())
    for burst in in_order(houses, today - timedelta(days=HISTORY_DAYS), today + timedelta(days=1), HISTORY_BURST_S):
        if burst.end_ms > now_ms:
            break
        producer.send_burst(burst)


def watched_meters(settings: Settings) -> dict[int, list[int]]:
    """House -> its meters that have a limit now; one that was never on has none."""
    return dict(client.writer(settings, settings.database).query(
        "SELECT house_id, groupArray(meter_id) FROM thresholds FINAL WHERE limit_watts IS NOT NULL AND valid_to > now() "
        "GROUP BY house_id").result_rows)


def caught_up(settings: Settings, houses: int) -> bool:
    return len(watched_meters(settings)) == houses


def send_live(producer: Producer, houses: list[House], watched: dict[int, list[int]], args) -> dict[str, float]:
    """A burst a house each second, as the second ends. Returns alert_id -> time at which its first reading was sent."""
    rng, sent, raised_until = np.random.default_rng(1), {}, {}
    begin = time.time()
    today = local_date(round(begin * 1000), houses[0].timezone)
    raising = begin + SETTLE_S
    for burst in in_order(houses, today, today + timedelta(days=2), 1):
        if burst.end_ms / 1000 < begin:
            continue
        if burst.end_ms / 1000 > raising + args.seconds + RAISED_S:
            return sent
        while (ahead := burst.end_ms / 1000 - time.time()) > 0:
            producer.wait(ahead)
        now = time.time()
        if raising <= now < raising + args.seconds and rng.random() < args.spikes_per_s / len(houses):
            meter_id = int(rng.choice(watched[burst.house_id]))
            raised_until.setdefault((burst.house_id, meter_id), burst.end_ms + RAISED_S * 1000)
        burst = raise_watts(burst, raised_until, sent)
        producer.send_burst(burst)
    return sent


def raise_watts(burst: Burst, raised_until: dict[tuple[int, int], int], sent: dict[str, float]) -> Burst:
    """The burst with the readings of raised meters far over any limit; notes when an alert's first one is sent."""
    meters = {meter: until for (house, meter), until in raised_until.items() if house == burst.house_id and burst.end_ms <= until}
    if not meters:
        return burst
    watts, ends = burst.watts.copy(), np.cumsum(burst.counts)
    for meter_id in meters:
        [column] = np.flatnonzero(burst.meter_ids == meter_id)
        readings = slice(ends[column] - burst.counts[column], ends[column])
        watts[readings] += RAISED_WATTS
        if burst.counts[column] and not any(alert.startswith(f"{burst.house_id}/{meter_id}/") for alert in sent):
            start_ms = burst.start_ms + int(burst.deltas[readings.start]) * burst.tick_ms
            sent[f"{burst.house_id}/{meter_id}/{start_ms}"] = time.time()
    return replace(burst, watts=watts)


class Watcher:
    """Looks for alerts every POLL_S, and notes when each was first seen."""

    def __init__(self, settings: Settings):
        self.client = client.writer(settings, settings.database)
        self.seen: dict[str, float] = {}
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def stop(self) -> dict[str, float]:
        """alert_id -> time at which it was first seen."""
        self.stopping.set()
        self.thread.join()
        return self.seen

    def _watch(self) -> None:
        while not self.stopping.wait(POLL_S):
            rows = self.client.query("SELECT DISTINCT alert_id FROM alerts WHERE start > now() - INTERVAL 1 MINUTE").result_rows
            now = time.time()
            for alert_id, in rows:
                self.seen.setdefault(alert_id, now)


def report(sent: dict[str, float], seen: dict[str, float], args: argparse.Namespace) -> int:
    missing = sent.keys() - seen.keys()
    taken_ms = 1000 * np.array([seen[alert] - at for alert, at in sent.items() if alert in seen])
    print(f"\n{args.houses} houses of {METERS} meters, a burst each a second; {len(sent)} alerts, {len(missing)} of them missing")
    print("from producing the reading to the alert in ClickHouse, ms: " + ", ".join(
        f"p{q} {np.quantile(taken_ms, q / 100):.0f}" for q in (50, 95, 99)) + f", max {taken_ms.max():.0f}")
    return 1 if missing else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    sys.exit(run(parser.parse_args(), Settings.load()))
