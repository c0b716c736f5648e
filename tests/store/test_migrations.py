"""A database of the last release becomes one of this release, on the real engine. tests/releases has its tables, and a few rows of each."""

from __future__ import annotations

from datetime import date
from unittest.mock import patch

import pytest

from smartmeter.errors import UserError
from smartmeter.settings import ROOT
from store import client, schema
from store.sink import COLUMNS
from tests.store.test_schema import UNKNOWN, alert, energy, insert, threshold

RELEASE = ROOT / "tests" / "releases" / "0.1.0"


@pytest.fixture
def of_the_release(clickhouse, request):
    """(settings, a client of the writer) of a database as the last release left it."""
    settings = clickhouse.but(clickhouse_database=request.node.originalname)
    writer = client.writer(settings)
    writer.command(f"CREATE DATABASE {settings.clickhouse.database}")
    writer.database = settings.clickhouse.database
    for statement in schema.statements(RELEASE / "schema.sql") + schema.statements(RELEASE / "rows.sql"):
        writer.command(statement)
    return settings, writer


def made(writer) -> tuple[list, list]:
    """What the tables of the client's database are made of, but for comments: a migration leaves those of old columns as they are."""
    tables = "SELECT name, engine_full, primary_key, sorting_key, as_select FROM system.tables WHERE database = currentDatabase()"
    columns = (
        "SELECT table, name, type, default_expression, compression_codec, position FROM system.columns WHERE database = currentDatabase()"
    )
    ours = [writer.query(f"{query} ORDER BY ALL").result_rows for query in (tables, columns)]
    return [tuple(str(value).replace(writer.database, "") for value in row) for row in ours[0]], ours[1]


def has_all_migrations(writer) -> bool:
    """Whether the client's database is noted to have each migration, once."""
    noted = writer.query("SELECT number, name FROM migrations ORDER BY number").result_rows
    return noted == [(number, file.stem) for number, file in sorted(schema.MIGRATIONS.items())]


def test_the_tables_become_those_of_a_new_database_and_keep_their_rows(of_the_release, database, writer):
    settings, old = of_the_release
    schema.create(old, settings)
    assert made(old) == made(writer)
    assert old.query("SELECT meter_id, kwh, exported_kwh, parent, role FROM daily_energy_by_label ORDER BY 1").result_rows == [
        (1, 3.0, 0.0, 0, "grid"),
        (2, 1.5, 0.0, 0, "load"),
    ]
    assert old.query("SELECT label, own_kwh, consumption_kwh, share_percent FROM appliance_share").result_rows == [("oven", 1.5, 3.0, 50.0)]
    assert old.query("SELECT meter_id, alert_kind, severity, reason, note FROM alert_list ORDER BY 1").result_rows == [
        (1, "level", "warning", "", ""),
        (2, "level", "warning", "", "a roast"),
    ]
    usual = ", ".join(COLUMNS["thresholds"][-len(UNKNOWN) :])
    assert old.query(f"SELECT meter_id, limit_watts, {usual} FROM thresholds").result_rows == [(2, 2500.0, *UNKNOWN)]
    assert old.query("SELECT meter_id, readings, min_watts, mean_watts, max_watts FROM power_by_minute").result_rows == [
        (2, 80, 1.0, 3.0, 8.0)
    ]
    places = "SELECT offset, kwh FROM late UNION ALL SELECT offset, length(payload) FROM dead_letter"
    assert old.query(f"SELECT * FROM ({places}) ORDER BY 1").result_rows == [(9, 0.5), (10, 3.0)]
    assert old.query("SELECT * FROM energy_by_hour").result_rows == []


def test_rows_of_this_release_take_the_place_of_those_of_the_last(of_the_release):
    settings, writer = of_the_release
    schema.create(writer, settings)
    insert(writer, "daily_energy", energy(1, 2, 2.5, hours=[(0, 0, 2.5, 3600.0)], revision=1_555_300_000_002))
    at_noon = dict(start_s=43_200, revision=1_555_300_000_001)
    insert(writer, "alerts", alert(1, 2, excess_kwh=2.0, **at_noon), alert(1, 1, rule="run", **at_noon))
    insert(writer, "thresholds", threshold(1, 2, limit_watts=330.0, revision=1_555_300_000_001))
    writer.command("OPTIMIZE TABLE alerts FINAL")
    assert writer.query("SELECT meter_id, kind, excess_kwh FROM alerts FINAL ORDER BY ALL").result_rows == [
        (1, "level", 0.02),
        (1, "run", 0.5),
        (2, "level", 2.0),
    ]
    assert writer.query("SELECT meter_id, hour, kwh FROM energy_by_hour").result_rows == [(2, 0, 2.5)]
    assert writer.query("SELECT limit_watts FROM thresholds FINAL").result_rows == [(330.0,)]
    assert writer.query("SELECT date, kwh FROM daily_energy FINAL WHERE meter_id = 2").result_rows == [(date(2019, 4, 14), 2.5)]


def test_a_migration_that_was_interrupted_is_repeated_and_one_that_is_done_is_not(of_the_release):
    settings, writer = of_the_release
    first = schema.statements(schema.MIGRATIONS[1])
    writer.command(first[0])  # and then its program was killed
    schema.create(writer, settings)
    with patch.object(writer, "command", wraps=writer.command) as command:
        schema.create(writer, settings)
    assert not [call.args[0] for call in command.call_args_list if call.args[0] in first]
    assert has_all_migrations(writer)


def test_a_new_database_has_all_migrations_and_runs_none(own_database):
    settings, writer = own_database
    assert has_all_migrations(writer)
    with patch.object(writer, "command", wraps=writer.command) as command:
        schema.create(writer, settings.but(clickhouse_database=f"{settings.clickhouse.database}_2"))
    assert not [call.args[0] for call in command.call_args_list if "ALTER TABLE" in call.args[0]]
    assert has_all_migrations(writer)


def test_a_database_of_a_later_release_is_refused_and_stays_as_it_is(own_database):
    database, writer = own_database
    writer.insert("migrations", [(9000, "9000_of_a_later_release")], column_names=("number", "name"))
    before = made(writer)
    with pytest.raises(
        UserError, match=r"was migrated by a later release \(to number 9000, this one knows \d+\): run that release, or set"
    ):
        schema.create(writer, database)
    assert made(writer) == before
