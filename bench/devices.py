"""Measures the way from MQTT devices through the gateway: readings that are lost, and the time from publishing a spike to its alert.

Houses of 20 meters first send two days of history to Kafka, as in bench.live. Then each meter is a device that publishes its power once a
second with QoS 1, at its own moment of the second, to a Mosquitto of this benchmark. The gateway has a burst a second of each house. From time
to time a device publishes 100 kW for some seconds. The time runs from just before the first such message is passed to the MQTT client, to the
end of the first query (one every 50 ms) that returns its alert. A process of its own publishes.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

from bench import live, measure
from bench.copies import METERS, TIMEZONE
from bench.measure import Target, shown
from smartmeter.settings import Settings
from stack import mosquitto, services
from stack.ports import LOOPBACK, free_port
from stack.processes import Processes

CONNECTED = "connected to the broker"
BEGINS_WITHIN_S = 10
"""How long after its spike an alert may begin: the gateway stamps readings when they arrive."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw bench devices."""
    parser.add_argument("--devices", type=measure.quantity, default=1000, help=f"how many devices, {METERS} a house (default 1000)")
    parser.add_argument("--seconds", type=measure.quantity, default=60, help="for how long spikes are sent (default 60)")
    parser.add_argument("--spikes-per-s", type=float, default=2, help="average number of devices raised each second (default 2)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for the JSON (default: SMW_HOME/bench)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, print and save. Returns 1 if alerts are missing. Raises UserError if readings are."""
    houses = math.ceil(args.devices / METERS)
    with measure.workplace(settings) as (here, processes):
        here = here.but(live_demo=f"{LOOPBACK}:{free_port()}", gateway_config=str(here.stack.home / "meters.yaml"), gateway_metrics_port=0)
        before, _ = live.begun(here, processes, houses)
        start_gateway(here, processes, houses)
        measured = live.watched(here, processes, before, lambda: publish(here, processes, args))
    return report(*measured, args, settings)


def start_gateway(here: Settings, processes: Processes, houses: int) -> None:
    """Start an MQTT broker, and the gateway for the devices of some houses. Returns once it is connected."""
    mosquitto.start_mosquitto(processes, here)
    lines = [f"broker: {{url: 'mqtt://{here.dashboard.live_demo}'}}", "houses:"]
    for house_id in range(1, houses + 1):
        lines += [f"  - id: {house_id}", f"    timezone: {TIMEZONE}", "    meters:"]
        lines += [
            f"      - {{id: {meter_id}, label: m{meter_id}, topic: {topic_of(house_id, meter_id)}}}" for meter_id in range(1, METERS + 1)
        ]
    Path(here.gateway.config).write_text("\n".join(lines))
    services.start_meter_gateway(processes, here)
    processes.wait_until(lambda: any(CONNECTED in line for line in processes.printed("gateway")), "the gateway is not connected")


def topic_of(house_id: int, meter_id: int) -> str:
    """The topic of a device."""
    return f"devices/{house_id}/{meter_id}"


def publish(here: Settings, processes: Processes, args: argparse.Namespace) -> tuple[dict, dict[str, float]]:
    """Run the devices. Returns (the report of bench.publisher, number of cores that each part used meanwhile)."""
    begin = math.ceil(time.time()) + live.PREPARE_S
    options = ["--devices", args.devices, "--seconds", args.seconds, "--spikes-per-s", args.spikes_per_s]
    return live.run_sender(here, processes, "bench.publisher", options, begin)


def first_seen(sent: dict[str, float], seen: dict[str, float]) -> dict[str, float]:
    """Device -> Unix time at which the alert of its spike was first seen. sent: device -> when that was published; seen: by alert_id."""
    found: dict[str, float] = {}
    for alert_id, at in seen.items():
        house_id, meter_id, start_ms, *_ = alert_id.split("/")
        device = f"{house_id}/{meter_id}"
        if device in sent and 0 <= int(start_ms) / 1000 - sent[device] + 0.001 < BEGINS_WITHIN_S:
            found[device] = min(at, found.get(device, at))
    return found


def report(
    sent: dict, seen: dict[str, float], cores: dict[str, float], behind_s: float, args: argparse.Namespace, settings: Settings
) -> int:
    """Print the figures and save them."""
    results = live.latency(sent["sent"], first_seen(sent["sent"], seen))
    if not results["alerts"]:
        print(f"\nnone of {results['missing']} alerts arrived, so there is no time to report")
        return 1
    rate, reached = sent["readings"] / sent["seconds"], Target("p99, s", results["p99_s"], most=3)
    path = measure.save(
        args.out or settings.stack.home / "bench",
        "devices",
        settings,
        devices=args.devices,
        readings=sent["readings"],
        readings_per_s=rate,
        latest_sent_s=sent["latest_s"],
        latency=results,
        used_after_s=behind_s,
        cores=cores,
        targets=[reached.record()],
    )
    print(
        f"\n{args.devices:,} devices, a message each a second: {sent['readings']:,} readings ({rate:,.0f}/s), published "
        f"{sent['latest_s']:.2f} s late at most; none is lost, and {behind_s:.1f} s after the last one all were in the daily energy\n"
        f"{live.in_words(results, 'publishing')}\n"
    )
    print(measure.table(["part", "cores used"], [[name, shown(used, 2)] for name, used in cores.items()], 1), "", reached, sep="\n")
    print(f"\nSaved as {path}", file=sys.stderr)
    return 1 if results["missing"] else 0
