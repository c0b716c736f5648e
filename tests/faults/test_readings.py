"""Clocks set wrong, corrupt messages and a house of 10,000 meters: all is accounted for, and no other house is touched.

So it is when ClickHouse is slow and breaks connections, as for all tables here, or has a full disk: the sink waits, and stores all.
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import cycle
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from clickhouse_connect.driver.client import Client

from stack import ports, services
from stack.processes import Processes
from store import client as clickhouse_client
from store.client import reader
from store.sink import Sink
from tests.faults.conftest import forget_what_is_stored
from tests.faults.disk import SmallDisk
from tests.faults.logs import AHEAD, BEHIND, LARGEST_BYTES, METERS, POISON, PRESENT
from tests.faults.proxy import FAULTS, Proxy
from tests.pipeline.conftest import TABLES, all_stored, judge_tables, values
from tests.pipeline.flow import dead_letters, stored_readings
from tests.sinks import logged, running
from tests.waiting import until

INSERTED_ONCE = ("thresholds", "power_profile", "late", "dead_letter")
"""Tables whose rows, once stored, do not change in a log that has ended."""


def fingerprint(client: Client, table: str) -> tuple[int, int]:
    """(rows, a sum of their hashes) of a table, without the columns of their creation time."""
    query = f"SELECT count(), sum(cityHash64(* EXCEPT (revision, stored))) FROM {table} FINAL"
    return client.query(query).first_row


class Stored(NamedTuple):
    """Tables that were filled through a Proxy, and what it and the sink then reported."""

    client: Client
    url: str
    done: Counter
    lines: list[tuple[str, str]]


@pytest.fixture(scope="module")
def stored(processed, clickhouse):
    """All results, stored while ClickHouse was slow and broke connections."""
    forget_what_is_stored(processed)
    address = urlsplit(clickhouse.clickhouse.url)
    turns = cycle([fault for wrong in FAULTS for fault in (wrong, None)])
    with pytest.MonkeyPatch.context() as patched, logged() as lines, Proxy((address.hostname, address.port), turns) as proxy:
        patched.setattr(clickhouse_client, "ANSWER_S", 2)
        settings = processed.but(clickhouse_url=f"http://127.0.0.1:{proxy.port}", clickhouse_database="slow", sink_batch_rows=20_000)
        with running(Sink(settings)):
            until(lambda: all_stored(settings))
    client = reader(settings.but(clickhouse_url=clickhouse.clickhouse.url))
    yield Stored(client, settings.clickhouse.url, proxy.done, lines)
    client.close()


@pytest.fixture(scope="module")
def client(stored):
    return stored.client


def test_the_tables_are_what_the_oracle_finds(client, log, expected):
    judge_tables(client, expected, ended=True)
    assert stored_readings(client) == log.readings - sum(len(burst.watts) for burst in expected.refuted)


def test_one_burst_of_a_clock_ahead_closes_nothing_and_is_reported(client, expected):
    assert {burst.house_id for burst in expected.refuted} >= {BEHIND} and not expected.aside
    letters = client.query("SELECT reason FROM dead_letter FINAL WHERE startsWith(reason, 'a wrong clock: ')").result_rows
    assert len(letters) == len(expected.refuted)
    assert all("h after all that its house had sent" in reason for (reason,) in letters)


def test_late_and_duplicate_readings_of_a_wrong_clock_are_reported(client, expected):
    late = dict(client.query("SELECT (house_id, reason), sum(readings) FROM late FINAL GROUP BY house_id, reason").result_rows)
    assert late[AHEAD, "its day was closed"] > 1000
    assert {reason for _, reason in late} == {"its day was closed"}, "what overlaps is cut"
    assert sum(day.duplicates for (house, _, _), day in expected.days.items() if house == BEHIND) > 50
    assert {house for house, _, _ in expected.days} >= {AHEAD, BEHIND, PRESENT, POISON}


def test_messages_that_cannot_be_used_are_kept_to_the_byte(client, log, expected):
    assert dead_letters(client) == sorted(log.dead + [b""] * len(expected.refuted))
    assert max(map(len, log.dead)) == LARGEST_BYTES
    reasons = [reason for (reason,) in client.query("SELECT reason FROM dead_letter FINAL").result_rows]
    assert sum("too far in the future" in reason for reason in reasons) == 2
    assert len(log.dead) > 10 and max(map(len, reasons)) < 300


def test_ten_thousand_meters_have_their_results(client, log):
    assert max(len(payload) for _, payload in log.messages if payload not in log.dead) > 1_000_000
    assert (
        client.query(
            "SELECT uniqExact(meter_id), sum(readings) FROM daily_energy FINAL WHERE house_id = {house:Int64}", {"house": POISON}
        ).first_row[0]
        == METERS
    )
    assert (
        client.query("SELECT uniqExact(meter_id) FROM thresholds FINAL WHERE house_id = {house:Int64}", {"house": POISON}).first_row[0]
        == METERS
    )


def test_a_clickhouse_that_is_slow_and_breaks_connections_is_waited_for(stored):
    assert min(stored.done[fault] for fault in FAULTS) >= 1
    warnings = {message for level, message in stored.lines if level == "WARNING"}
    assert warnings == {
        f"waiting: ClickHouse does not answer at {stored.url}; start the local one with ./smw stack, or set SMW_CLICKHOUSE_URL"
    }
    assert ("INFO", f"ClickHouse at {stored.url} is back") in stored.lines


def test_a_disk_that_is_full(client, processed, tmp_path):
    forget_what_is_stored(processed)
    settings = ports.with_free_ports(processed.but(clickhouse_url="http://127.0.0.1:0")).but(
        home=tmp_path, kafka=processed.kafka.address, sink_batch_rows=20_000
    )
    disk = SmallDisk(tmp_path / "clickhouse", "5m")
    with Processes(tmp_path) as processes:
        processes.start("endpoint", disk.command(sys.executable, "-P", "-m", "store.endpoint"), settings.environ())
        processes.wait_until(lambda: services.endpoint_answers(settings), "no endpoint answers")
        services.start_sink(processes, settings)
        sink_log = processes.log("sink")
        until(lambda: "waiting: " in sink_log.read_text())
        filled = reader(settings)
        served = {table: set(values(filled, table)) for table in INSERTED_ONCE}
        assert not all_stored(settings)
        disk.grow(processes.children["endpoint"].pid, "200m")
        until(lambda: all_stored(settings))
        processes.check()
        for table in TABLES:
            assert fingerprint(filled, table) == fingerprint(client, table), table
        for table, rows in served.items():
            assert rows <= set(values(filled, table)), table
    [waiting] = [line for line in sink_log.read_text().splitlines() if "waiting: " in line]
    assert "waiting: ClickHouse reports: Cannot reserve" in waiting and "not enough space" in waiting
    assert f"ClickHouse at {settings.clickhouse.url} is back" in sink_log.read_text()
