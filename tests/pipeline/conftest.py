"""What the pipeline's tests share: running jobs on a real Flink, and judging the tables by the oracle."""

from __future__ import annotations

import subprocess
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from smartmeter.kafka.consumers import sink_group
from smartmeter.messages.topics import RESULTS
from smartmeter.run import Run
from smartmeter.settings import ROOT, Settings
from stack import local_flink, services
from store.client import reader, writer
from tests.oracle import Alert, Outcome, hours_of
from tests.processes import CLOCK
from tests.topics import offsets
from tests.waiting import STILL_S, until
from tests.watchdog_oracle import Spell

TABLES = ("daily_energy", "thresholds", "alerts", "power_profile", "late", "dead_letter")


def run_job(settings, name: str) -> None:
    """Run a job over a bounded topic, to its end."""
    with log_of(settings, name).open("w") as log:
        done = subprocess.run(
            local_flink.flink_run_command(settings, ROOT / "jobs" / f"{name}.py"),
            env=CLOCK | local_flink.flink_environ(settings, run=Run(bounded=True)),
            stdout=log,
            stderr=log,
            timeout=STILL_S,
        )
    assert done.returncode == 0, log_of(settings, name).read_text()[-5000:]


def log_of(settings, name: str) -> Path:
    """Where run_job keeps a job's output."""
    return settings.stack.home / "logs" / f"{settings.kafka.topic_prefix}{name}.log"


def store_all(settings, processes) -> Client:
    """Store all results with a separate sink. Returns a client of the tables."""
    services.start_sink(processes, settings)
    client = until(lambda: reader(settings))
    until(lambda: all_stored(settings))
    processes.stop("sink")
    return client


def all_stored(settings) -> bool:
    return offsets(settings, RESULTS, sink_group(settings)).lag() == 0


def without(settings: Settings, houses: tuple[int, ...]) -> Client:
    """A client that sees the results of all houses but these. Only the writer may set that."""
    client = writer(settings, settings.clickhouse.database)
    filters = {table: f"house_id NOT IN {houses}" for table in TABLES if table != "dead_letter"}
    client.set_client_setting("additional_table_filters", str(filters))
    return client


def values(client: Client, table: str, where: str = "1", without: tuple[str, ...] = ()) -> list[tuple]:
    """All rows of a table in order, without the columns of their creation time and those given; floats to the bit, arrays as tuples."""
    columns = client.query(f"SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = '{table}'").result_rows
    names = [
        f"reinterpretAs{kind.replace('Float', 'UInt')}({name})" if kind in ("Float32", "Float64") else name
        for name, kind in columns
        if name not in ("revision", "stored", "house_time", *without)
    ]
    rows = client.query(f"SELECT {', '.join(names)} FROM {table} FINAL WHERE {where} ORDER BY ALL").result_rows
    return [tuple(tuple(value) if isinstance(value, list) else value for value in row) for row in rows]


def rows(client: Client, table: str) -> list[dict]:
    """All rows of a table."""
    return list(client.query(f"SELECT * FROM {table} FINAL").named_results())


def judge_tables(client: Client, expected: Outcome, ended: bool) -> None:
    """Fail when the tables differ from the oracle's, for a topic that has ended or continues."""
    judge_energy(client, expected, ended)
    judge_thresholds(client, expected)
    judge_alerts(client, expected.alerts_at_end if ended else expected.alerts)
    judge_profile(client, expected, ended)
    late = Counter()
    for row in rows(client, "late"):
        late[row["house_id"], row["date"]] += row["readings"]
    assert late == expected.late


def judge_energy(client: Client, expected: Outcome, ended: bool) -> None:
    found = {(r["house_id"], r["meter_id"], r["date"]): r for r in rows(client, "daily_energy")}
    days = {key: day for key, day in expected.days.items() if ended or expected.final[key] or day.readings or day.duplicates or day.refused}
    assert set(found) == set(days)
    for key, day in days.items():
        row = found[key]
        assert row["kwh"] == pytest.approx(day.kwh, rel=1e-9) and row["exported_kwh"] == pytest.approx(day.exported_kwh, rel=1e-9)
        assert row["readings"] == len(day.readings)
        assert row["duplicates"] == day.duplicates
        assert (row["refused"], row["gaps"]) == (day.refused, day.gaps)
        assert row["covered_s"] == day.covered_ms / 1000
        assert row["max_gap_s"] == expected.max_gap_ms[key] / 1000
        assert row["final"] == expected.final[key]
        assert {name: row[name] for name in day.figures} == {name: value and near(value) for name, value in day.figures.items()}
        starts, columns = list(map(ms, row["hour_starts"])), ("hours", "hour_kwh", "hour_covered_s", "hour_exported_kwh")
        assert hours_of(expected.zones[key[0]], starts, *(row[column] for column in columns)) == {
            own: (near(hour.kwh), hour.covered_ms, near(hour.exported_kwh)) for own, hour in day.hours.items()
        }
        for column, of_day in (("hour_kwh", "kwh"), ("hour_covered_s", "covered_s"), ("hour_exported_kwh", "exported_kwh")):
            assert sum(row[column]) == pytest.approx(row[of_day], rel=1e-12)


def near(value: float):
    return pytest.approx(value, rel=1e-9, abs=1e-18)


def judge_thresholds(client: Client, expected: Outcome) -> None:
    found = {(r["house_id"], r["date"], r["meter_id"]): r for r in rows(client, "thresholds")}
    meters = {
        (house, date, meter): (version, threshold)
        for (house, date), version in expected.thresholds.items()
        for meter, threshold in version.meters.items()
    }
    assert set(found) == set(meters)
    for key, (version, threshold) in meters.items():
        row = found[key]
        assert (ms(row["valid_from"]), ms(row["valid_to"])) == (version.valid_from, version.valid_to)
        for column in ("percentile_watts", "readings", "covered_s", "warming_up", "limit_watts"):
            assert row[column] == getattr(threshold, column), (key, column)
        assert row["percentile_watts"] == pytest.approx(threshold.exact_watts, rel=0.01)


def judge_alerts(client: Client, expected: dict[str, Alert | Spell]) -> None:
    found = {row["alert_id"]: row for row in rows(client, "alerts")}
    assert set(found) == set(expected)
    for alert_id, alert in expected.items():
        row = found[alert_id]
        for column in ("house_id", "meter_id", "date", "open", "readings", "peak_watts", "percentile_watts", "limit_watts"):
            assert row[column] == getattr(alert, column), (alert_id, column)
        for column in ("kind", "severity", "reason", "ends_when"):
            assert row[column] == getattr(alert, column), (alert_id, column)
        assert (ms(row["start"]), ms(row["end"])) == (alert.start, alert.end)
        assert row["excess_kwh"] == pytest.approx(alert.excess_kwh, rel=1e-9)


def judge_profile(client: Client, expected: Outcome, ended: bool) -> None:
    parts_of = defaultdict(list)
    for row in rows(client, "power_profile"):
        parts_of[row["house_id"], row["meter_id"], ms(row["minute"])].append(row)
    minutes = {key: minute for key, minute in expected.minutes.items() if ended or minute.settled}
    assert set(parts_of) == set(minutes)
    for key, minute in minutes.items():
        readings = sum(part["readings"] for part in parts_of[key])
        mean_watts = sum(part["readings"] * part["mean_watts"] for part in parts_of[key]) / readings
        assert readings == len(minute.watts)
        assert min(part["min_watts"] for part in parts_of[key]) == min(minute.watts)
        assert max(part["max_watts"] for part in parts_of[key]) == max(minute.watts)
        assert mean_watts == pytest.approx(minute.mean_watts, rel=1e-7, abs=1e-3)


def ms(time: datetime) -> int:
    return round(time.replace(tzinfo=UTC).timestamp() * 1000)
