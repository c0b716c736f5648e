"""./smw demo: the whole system on some days of some houses, from an empty start to a table of the results."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

from clickhouse_connect.driver.client import Client

from commands import generate, live_demo
from generator import scoring
from smartmeter.errors import UserError
from smartmeter.kafka import topic_admin
from smartmeter.kafka.consumers import sink_group
from smartmeter.kafka.offsets import Offsets
from smartmeter.logs import Bound
from smartmeter.messages.topics import RESULTS
from smartmeter.progress import ProgressLine
from smartmeter.reports import Progress
from smartmeter.settings import SMW, Settings
from smartmeter.text_tables import table
from stack import broker, lifecycle, local_flink, machine, mosquitto, ports, services
from stack.processes import Processes
from store.client import reader

GENERATE_OPTIONS = ("houses", "days", "data", "timezone", "start", "seed", "speed", "burst_s", "unit", "meters")
STALLED_S = 600
LINE_EVERY_S = 5
ENDED = "The pipeline has been stopped with a savepoint, which ends the demo."
NOTHING_YET = Progress("readings produced", 0)

TOTALS = """
    SELECT (SELECT sum(readings) FROM daily_energy FINAL),
           (SELECT sum(duplicates) FROM daily_energy FINAL),
           (SELECT sum(refused) FROM daily_energy FINAL),
           (SELECT sum(readings) FROM late FINAL),
           (SELECT count() FROM dead_letter FINAL),
           (SELECT count() FROM daily_energy FINAL)"""

HOUSES = """
    WITH
        house_days AS (SELECT house_id, date, has_mains, consumption_kwh AS kwh, coverage_percent AS covered FROM house_balance),
        labels AS (SELECT house_id, label, sum(own_kwh) AS label_kwh FROM appliance_share GROUP BY house_id, label)
    SELECT d.house_id AS house, any(h.city) AS city, count() AS days, countIf(covered >= 99) AS whole_days, round(sum(d.kwh), 2) AS kwh,
           if(whole_days > 0, round(avgIf(d.kwh, covered >= 99), 2), NULL) AS kwh_a_whole_day,
           if(max(has_mains), 'mains', 'all meters') AS measured_by, round(avg(covered), 1) AS covered_percent,
           any(t.top_label) AS top_appliance, if(max(has_mains), round(100 * any(t.top_kwh) / nullIf(sum(d.kwh), 0), 1), NULL) AS share_percent
    FROM house_days AS d
    LEFT JOIN (SELECT house_id, city FROM houses FINAL) AS h ON h.house_id = d.house_id
    LEFT JOIN (SELECT house_id, argMax(label, label_kwh) AS top_label, max(label_kwh) AS top_kwh FROM labels GROUP BY house_id) AS t ON t.house_id = d.house_id
    GROUP BY d.house_id
    ORDER BY d.house_id"""

ALERTS = "SELECT count() FROM alert_list"
ALERTS_BY_KIND = "SELECT alert_kind, count() AS number FROM alert_list GROUP BY alert_kind ORDER BY number DESC, alert_kind"
MOST_ALERTS = 5
LARGEST_ALERTS = f"""
    SELECT house_id AS house, label, alert_kind AS kind, formatDateTime(start, '%F %T', 'UTC') AS began_utc,
           round(duration_s / 60, 1) AS minutes, round(peak_watts) AS peak_watts, round(limit_watts) AS limit_watts,
           round(excess_kwh, 2) AS excess_kwh, open
    FROM alert_list
    ORDER BY excess_kwh DESC
    LIMIT {MOST_ALERTS}"""

WHERE_TO_LOOK = """
Dashboard:       {dashboard}
Results by day:  {smw}sql "SELECT * FROM daily_energy_by_label WHERE house_id = 1 ORDER BY date, kwh DESC"
Shares:          {smw}sql "SELECT * FROM appliance_share ORDER BY share_percent DESC LIMIT 10"
Alerts:          {smw}sql "SELECT * FROM alert_list ORDER BY start DESC LIMIT 10"
Data quality:    {smw}sql "SELECT * FROM data_quality ORDER BY coverage_percent LIMIT 10"
How it works:    docs/design.md"""


@dataclass
class Totals:
    """Readings counted in the results so far (dead: messages), and rows of daily_energy."""

    used: int = 0
    duplicate: int = 0
    refused: int = 0
    late: int = 0
    dead: int = 0
    rows: int = 0

    @property
    def processed(self) -> int:
        """Readings that the jobs have decided about."""
        return self.used + self.duplicate + self.refused + self.late


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ./smw demo: those of the days to send, --stop and --live."""
    generate.add_history_arguments(parser)
    parser.add_argument(
        "--live",
        action="store_true",
        help="in place of all this: simulated devices of one house, which publish by MQTT in real time (needs Mosquitto)",
    )
    parser.add_argument("--stop", action="store_true", help="stop everything once the results are shown (default: at Ctrl-C)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the demo in a folder of its own, from an empty start. Raises UserError when a part of it fails."""
    if args.live:
        require_nothing_else(args)
        mosquitto.program()  # reports a missing one before anything is wiped
    machine.set_up()
    settings = settings.but(home=lifecycle.demo_home(settings))
    with Processes(settings.stack.home, Bound.of(settings)) as processes:
        if args.live:
            wipe(settings)
            live_demo.run(processes, ports.with_free_ports(settings))
            print(ENDED)
            return 0
        generate.plan(args, settings)  # reports a mistake in the arguments before anything is wiped
        wipe(settings)
        settings = ports.with_free_ports(settings)
        print("Starting Kafka, ClickHouse, the sink and Flink ...", file=sys.stderr)
        broker.start_broker(processes, settings)
        topic_admin.create_topics(settings)
        processes.start("generator", generate_command(args), settings.environ(), ends=True)
        services.start_endpoint(processes, settings)
        services.start_sink(processes, settings)
        services.start_gateway(processes, settings)
        local_flink.start_job(processes, settings, ends=True)
        client = reader_when_ready(processes, settings)
        if not args.stop:
            services.start_dashboard(processes, settings)
            print(f"Watch it come in: {services.dashboard_url(settings)}", file=sys.stderr)
        produced, totals = follow(processes, settings, client)
        print(report(settings, client, produced, totals, args, processes.reported("generator").notes))
        if not args.stop:
            lifecycle.stay(processes, settings)
            print(ENDED)
    return 0 if totals.processed == produced else 1


def require_nothing_else(args: argparse.Namespace) -> None:
    """Raise UserError if --live has other options beside it."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    usual = vars(parser.parse_args(["--live"]))
    if others := [name for name, value in usual.items() if getattr(args, name) != value]:
        raise UserError(f"--live takes no --{others[0].replace('_', '-')}: its devices are those of one house, in real time")


def wipe(settings: Settings) -> None:
    """Remove an earlier demo's data and results. The houses' assignments to measured houses stay."""
    for name in ("kafka", "clickhouse", "checkpoints", "savepoints", "archive", "gateway", "tmp"):
        shutil.rmtree(settings.stack.home / name, ignore_errors=True)


def generate_command(args: argparse.Namespace) -> list[str]:
    """./smw generate with the options that the user gave."""
    options = [f"--{name.replace('_', '-')}={value}" for name in GENERATE_OPTIONS if (value := getattr(args, name)) is not None]
    options += [f"--{name}" for name in ("strict", "solar") if getattr(args, name)]
    return [sys.executable, "-P", "-m", "commands", "generate", *options]


def reader_when_ready(processes: Processes, settings: Settings) -> Client:
    """A read-only client, once the sink has created all tables."""

    def ready() -> bool:
        try:
            return reader(settings).command("EXISTS data_quality") == 1
        except UserError:
            return False

    processes.wait_until(ready, "the sink has not created its tables")
    return reader(settings)


def follow(processes: Processes, settings: Settings, client: Client) -> tuple[int, Totals]:
    """Show progress until all produced readings are in the stored results, or nothing has changed for STALLED_S plus stalled_s.

    The latter leaves time to restart a job that stands still. Returns the number of produced readings, and the totals in the results.
    """
    throughput = Throughput()
    with ProgressLine(LINE_EVERY_S) as line:
        while True:
            processes.check()
            generating = processes.children["generator"].poll() is None
            generated = processes.reported("generator").progress or NOTHING_YET
            produced, totals = generated.done, Totals(*client.query(TOTALS).result_rows[0])
            done = not generating and totals.processed == produced and all_stored(settings)
            progress = throughput.progress(generated, totals, time.monotonic())
            if done or line.is_due():
                line.show(progress)
            if done or (not generating and throughput.still_s() > settings.flink.stalled_s + STALLED_S):
                return produced, totals
            time.sleep(1)


def all_stored(settings: Settings) -> bool:
    """Whether the sink has stored all results in Kafka."""
    with Offsets(settings, RESULTS, sink_group(settings)) as results:
        return results.lag() == 0


class Throughput:
    """The speed at which the produced readings are processed, and the time left."""

    def __init__(self) -> None:
        self.begun = self.idle_until = self.moved = time.monotonic()
        self.last: tuple[int, Totals] | None = None

    def progress(self, generated: Progress, totals: Totals, now: float) -> Progress:
        """The progress of the demo, for the generator's progress and the totals at the time `now`."""
        produced, processed = generated.done, totals.processed
        if (produced, totals) != self.last:
            self.last, self.moved = (produced, totals), now
        if not processed:
            self.idle_until = now
        progress = Progress("produced readings processed", processed, produced, now - self.begun, state=f"{totals.rows:,} rows stored")
        if now <= self.idle_until:
            return progress
        per_s = processed / (now - self.idle_until)
        return replace(progress, per_s=per_s, left_s=(generated.left_s or 0) + (produced - processed) / per_s)

    def still_s(self) -> float:
        """Seconds since the counts last changed."""
        return time.monotonic() - self.moved


def report(settings: Settings, client: Client, produced: int, totals: Totals, args: argparse.Namespace, notes: list[str]) -> str:
    """The results by house and in total, the alerts, the counts of readings, and where to look next."""
    houses = client.query(HOUSES)
    lines = [
        table(houses.column_names, houses.result_rows),
        total(list(houses.named_results())),
        "",
        alerts(client, settings, args),
        "",
        f"{produced:,} readings in = {totals.used:,} used + {totals.duplicate:,} duplicate + {totals.refused:,} refused + {totals.late:,} late; "
        f"{totals.dead:,} messages in dead_letter",
    ]
    if notes:
        lines += ["", "Notes on the data:", *(f"- {note}" for note in dict.fromkeys(notes))]
    if totals.processed != produced:
        lines.append(f"{produced - totals.processed:,} readings are in no result: see the logs in {settings.stack.home / 'logs'}")
    if not args.stop:
        url = f"SMW_CLICKHOUSE_URL={settings.clickhouse.url} "
        smw = ("" if settings.clickhouse.url == Settings().clickhouse.url else url) + f"{SMW} "
        lines += [
            WHERE_TO_LOOK.format(smw=smw, dashboard=services.dashboard_url(settings)),
            lifecycle.addresses(settings),
            "Ctrl-C stops it.",
        ]
    return "\n".join(lines)


def total(houses: list[dict[str, Any]]) -> str:
    """The energy of all houses."""
    days, whole = (sum(house[name] for house in houses) for name in ("days", "whole_days"))
    kwh = sum(house["kwh"] for house in houses)
    return f"{kwh:,.2f} kWh of {len(houses):,} houses on {days:,} house-days, {whole:,} of them at least 99 % covered"


def alerts(client: Client, settings: Settings, args: argparse.Namespace) -> str:
    """The number of alerts by kind, and the largest ones; for synthetic houses with precision and recall against the injected faults."""
    largest, found = client.query(LARGEST_ALERTS), client.command(ALERTS)
    shown = len(largest.result_rows)
    by_kind = ", ".join(f"{number:,} {kind}" for kind, number in client.query(ALERTS_BY_KIND).result_rows)
    lines = f"{found:,} alerts by kind: {by_kind}\n\n" if found else ""
    lines += (
        f"{shown} of {found:,} alerts, those with the most energy over the limit:\n\n{table(largest.column_names, largest.result_rows)}"
    )
    if args.data:
        return lines
    scores = scoring.score(client, settings.stack.home / "ground_truth.csv")
    return f"{lines}\n\nAlerts and injected faults by kind (judged: faults after enough history):\n\n{scoring.report(scores)}"
