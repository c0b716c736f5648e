"""The views on numbers worked by hand."""

from __future__ import annotations

from datetime import date

import pytest

from store import schema
from store.sink import COLUMNS

DAY = 18000  # 2019-04-14, in days since 1970-01-01


def house(house_id, zip_code, updated=0):
    return (house_id, "America/New_York", "synthetic", zip_code, "Cambridge", "MA", 42.37, -71.11, 36349, updated)


def energy(house_id, meter_id, kwh, *, day=DAY, covered_s=86400.0, max_gap_s=1.0, readings=10, duplicates=0, final=True, revision=1):
    return (house_id, meter_id, day, kwh, readings, duplicates, covered_s, max_gap_s, 86400, final, revision)


def insert(writer, table, *rows):
    writer.insert(table, rows, column_names=COLUMNS[table])


@pytest.fixture
def meters(writer):
    """Houses 1 and 2: mains 1 and 2, refrigerator 3."""
    insert(writer, "meters", *(
        (h, m, label, kind, 0) for h in (1, 2)
        for m, label, kind in ((1, "mains", "mains"), (2, "mains", "mains"), (3, "refrigerator", "appliance"))))


def test_only_the_newest_revision_shows(writer, reader, meters):
    insert(writer, "daily_energy", energy(1, 3, 2.5, revision=8))
    insert(writer, "daily_energy", energy(1, 3, 1.0, revision=7, final=False))
    insert(writer, "daily_energy", energy(1, 3, 2.5, revision=8))
    assert writer.query("SELECT house_id, date, label, kwh, final FROM daily_energy_by_label").result_rows == [
        (1, date(2019, 4, 14), "refrigerator", 2.5, True)]
    assert reader.query("SELECT kwh FROM daily_energy").result_rows == [(2.5,)]


def test_meter_without_description_shows_without_label(writer, meters):
    insert(writer, "daily_energy", energy(1, 99, 1.0))
    assert writer.query("SELECT meter_id, label, kind FROM daily_energy_by_label").result_rows == [(99, "", "")]
    assert writer.query("SELECT * FROM appliance_share").result_rows == []
    assert writer.query("SELECT meters, mains_coverage_percent FROM data_quality").result_rows == [(1, None)]


def test_newest_label_holds(writer, meters):
    insert(writer, "meters", (1, 3, "freezer", "appliance", 5))
    insert(writer, "daily_energy", energy(1, 3, 1.0))
    assert writer.query("SELECT label FROM daily_energy_by_label").result_rows == [("freezer",)]


def test_appliance_share_is_of_both_mains_of_the_same_house_and_day(writer, meters):
    insert(writer, "daily_energy",
           energy(1, 1, 6.0), energy(1, 2, 4.0), energy(1, 3, 2.5),  # 2.5 / (6 + 4)
           energy(1, 1, 1.0, day=DAY + 1), energy(1, 3, 1.0, day=DAY + 1),  # 1 / 1
           energy(2, 1, 0.0), energy(2, 3, 1.0))  # mains measured nothing
    assert writer.query("SELECT house_id, date, mains_kwh, share_percent FROM appliance_share ORDER BY ALL").result_rows == [
        (1, date(2019, 4, 14), 10.0, 25.0), (1, date(2019, 4, 15), 1.0, 100.0), (2, date(2019, 4, 14), 0.0, None)]


def test_energy_by_zip_counts_mains_and_houses_once(writer, meters):
    insert(writer, "houses", house(1, "02138"), house(2, "02139"))
    insert(writer, "houses", house(2, "02138", updated=1))  # house 2 moved: only its newest zip counts
    insert(writer, "daily_energy", energy(1, 1, 6.0), energy(1, 2, 4.0), energy(1, 3, 2.5), energy(2, 1, 20.0))
    assert writer.query("SELECT zip, date, houses, kwh, kwh_per_house FROM energy_by_zip").result_rows == [
        ("02138", date(2019, 4, 14), 2, 30.0, 15.0)]


def test_data_quality(writer, meters):
    insert(writer, "daily_energy",
           energy(1, 1, 1.0, covered_s=86400.0, max_gap_s=3.0, readings=100, duplicates=1),
           energy(1, 2, 1.0, covered_s=43200.0, max_gap_s=43200.0, readings=50, duplicates=2, final=False),
           energy(1, 3, 1.0, covered_s=0.0, max_gap_s=86400.0, readings=0))
    answer = writer.query("SELECT meters, coverage_percent, mains_coverage_percent, longest_gap_s, readings, duplicates, final FROM data_quality")
    assert answer.result_rows == [(3, 50.0, 75.0, 86400.0, 150, 3, False)]


def test_creating_again_keeps_the_data(writer, database, meters):
    insert(writer, "daily_energy", energy(1, 3, 2.5))
    schema.create(writer, database)
    assert writer.query("SELECT kwh FROM daily_energy").result_rows == [(2.5,)]


def test_every_column_is_filled_by_the_sink(reader, database):
    rows = reader.query("SELECT table, groupArray(name) FROM system.columns WHERE database = {db:String} AND table IN {tables:Array(String)} GROUP BY table",
                        parameters={"db": database.clickhouse_database, "tables": list(COLUMNS)}).result_rows
    assert {table: set(names) for table, names in rows} == {table: set(names) for table, names in COLUMNS.items()}
