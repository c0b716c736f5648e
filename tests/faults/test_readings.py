"""Clocks set wrong, corrupt messages and a house of 10,000 meters: all is accounted for, and no other house is touched."""

from __future__ import annotations

import pytest

from tests.faults.conftest import forget_what_is_stored
from tests.faults.logs import AHEAD, BEHIND, LARGEST_BYTES, METERS, POISON, PRESENT
from tests.pipeline.conftest import judge_tables, store_all
from tests.pipeline.flow import dead_letters, stored_readings


@pytest.fixture(scope="module")
def client(processed, clickhouse, processes):
    forget_what_is_stored(processed)
    client = store_all(processed.but(clickhouse_database="faulty"), processes)
    yield client
    client.close()


def test_the_tables_are_what_the_oracle_finds(client, log, expected):
    judge_tables(client, expected, ended=True)
    assert stored_readings(client) == log.readings


def test_late_and_duplicate_readings_of_a_wrong_clock_are_reported(client, expected):
    late = dict(client.query("SELECT (house_id, reason), sum(readings) FROM late FINAL GROUP BY house_id, reason").result_rows)
    assert late[AHEAD, "its day was closed"] > 1000
    assert {reason for _, reason in late} == {"its day was closed"}, "what overlaps is cut"
    assert sum(day.duplicates for (house, _, _), day in expected.days.items() if house == BEHIND) > 50
    assert {house for house, _, _ in expected.days} >= {AHEAD, BEHIND, PRESENT, POISON}


def test_messages_that_cannot_be_used_are_kept_to_the_byte(client, log):
    assert dead_letters(client) == sorted(log.dead)
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
