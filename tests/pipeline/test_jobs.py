"""The pipeline on real Kafka, Flink and ClickHouse, judged by the oracle; the same to the last bit at any parallelism.

Its producer sends transactions: half are aborted, and the last stays open.
"""

from itertools import pairwise

import pytest

from smartmeter.kafka import topic_admin
from smartmeter.messages.codec import encode_burst
from smartmeter.settings import Settings
from tests.pipeline.conftest import TABLES, judge_tables, rows, run_job, store_all, values
from tests.pipeline.flow import expected_of
from tests.pipeline.logs import make_log, produced_in_transactions, steady
from tests.topics import records

WINDOW_DAYS = 2
HOUSE_OF_TRANSACTIONS, TWO_HOURS_FROM_MS = 131, 1_365_724_800_000
PARALLELISM = {"at_1": 1, "at_4": 4}
"""Of each run, by its name."""


@pytest.fixture(scope="module")
def log():
    log = make_log(seed=11)
    two_hours = steady(HOUSE_OF_TRANSACTIONS, TWO_HOURS_FROM_MS, TWO_HOURS_FROM_MS + 7_200_000, 100.0)
    log.bursts.extend(two_hours)
    log.messages.extend((b"%d" % HOUSE_OF_TRANSACTIONS, encode_burst(burst)) for burst in two_hours)
    return log


@pytest.fixture(scope="module")
def expected(log):
    return expected_of(Settings().but(window_days=WINDOW_DAYS), log)


@pytest.fixture(scope="module")
def settings_of(kafka, clickhouse):
    """Name of a run -> its settings."""
    return {
        name: clickhouse.but(topic_prefix=f"{name}.", clickhouse_database=name, parallelism=parallelism, window_days=WINDOW_DAYS)
        for name, parallelism in PARALLELISM.items()
    }


@pytest.fixture(scope="module")
def clients(settings_of, processes, log):
    """Name of a run -> a client on the tables into which it brought the log."""
    clients = {}
    for name, settings in settings_of.items():
        topic_admin.create_topics(settings)
        with produced_in_transactions(settings, log.messages):
            run_job(settings, "pipeline")
        clients[name] = store_all(settings, processes)
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(params=PARALLELISM)
def client(request, clients):
    return clients[request.param]


def test_the_tables_are_what_the_oracle_finds(client, expected):
    judge_tables(client, expected, ended=True)
    assert {row["day_s"] / 3600 for row in rows(client, "daily_energy")} == {23, 24, 25}
    assert expected.late.total() > 100
    assert len(expected.alerts) > 500 and sum(alert.readings > 1 for alert in expected.alerts.values()) > 50
    assert {alert.meter_id for alert in expected.alerts.values()} == {1, 2, 7}
    assert client.query("SELECT sum(part = 0) > 10000, sum(part > 0) > 1000 FROM power_profile FINAL").first_row == (True, True)


def test_two_hours_that_were_aborted_at_5_kw_and_committed_at_100_w(client):
    [row] = [row for row in rows(client, "daily_energy") if row["house_id"] == HOUSE_OF_TRANSACTIONS]
    assert row["kwh"] == pytest.approx(0.1997, abs=5e-5) and row["readings"] == 720 and row["duplicates"] == 0


@pytest.mark.parametrize("name", PARALLELISM)
def test_versions_follow_each_other_without_a_hole(name, clients, settings_of, expected):
    versions = {(r["house_id"], r["date"]): (r["valid_from"], r["valid_to"]) for r in records(settings_of[name], "thresholds")}
    days = {
        (house, (date - min(d for h, d in expected.thresholds if h == house)).days): version
        for (house, date), version in expected.thresholds.items()
    }
    assert sorted(versions.values()) == sorted((v.valid_from, v.valid_to) for v in days.values())
    for house in (1, 2, 3):
        spans = sorted(span for (h, _), span in versions.items() if h == house)
        assert spans[0][0] == 0 and all(a[1] == b[0] for a, b in pairwise(spans))


def test_dead_letters_are_kept_to_the_byte(client, log):
    found = list(client.query("SELECT hex(payload) AS payload, reason FROM dead_letter FINAL").named_results())
    assert sorted(bytes.fromhex(row["payload"]) for row in found) == sorted(log.dead)
    assert len(found) > 10 and all(row["reason"] for row in found)


def test_totals_add_up(client, log, expected):
    energy, late = rows(client, "daily_energy"), rows(client, "late")
    used, duplicate = sum(r["readings"] for r in energy), sum(r["duplicates"] for r in energy)
    refused = sum(r["refused"] for r in energy)
    assert used + duplicate + refused + sum(r["readings"] for r in late) + log.dead_readings == log.readings
    assert (used, duplicate, refused) == (expected.used, expected.duplicates, expected.refused)
    assert used == client.query("SELECT sum(readings) FROM power_by_minute").first_row[0]
    assert duplicate > 100 and refused > 100


@pytest.mark.parametrize("table", TABLES)
def test_results_are_the_same_to_the_last_bit_in_every_run(clients, table):
    at_1, at_4 = (values(client, table) for client in clients.values())
    assert len(at_1) >= 10 and at_1 == at_4
