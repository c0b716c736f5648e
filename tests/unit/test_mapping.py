"""Mappings: any table, as a TOML file describes it."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from generator.channels import DatasetError
from importer.formats.mapping import number_of, read_mapping
from importer.formats.tabular import Tabular
from tests.unit.importing import batches, request, values, written

WIDE = """
time = "when"
timezone = "Europe/Berlin"
house = 7

[[columns]]
name = "grid"
label = "Mains"
unit = "kW"

[[columns]]
name = "heat pump"
unit = "kWh"
interval_s = 900
stamp = "end"
sign = -1
"""
LONG = """
time = ["day", "time"]
time_format = "%d.%m.%Y %H:%M"
clock = "utc"
timezone = "Europe/Berlin"
house_column = "home"
meter_column = "sensor"
decimal = ","
columns = [{name = "power", unit = "W"}]
"""
NINE_MS = 1_381_303_800_000 / 1000  # 2013-10-09 07:30 UTC


def mapping(tmp_path, text):
    return Tabular("table", read_mapping(written(tmp_path, "map.toml", text).path))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_column_for_each_meter(tmp_path, end, pack):
    rows = ["Export 3.1", "", "when;other;grid;heat pump", "2013-10-09T09:30;x;0.5;-0.25", "2013-10-09T09:45;;?;0"]
    source = written(tmp_path, "data.csv", pack(end.join(rows).encode()))
    first, second = batches(mapping(tmp_path, WIDE), source)
    assert (first.series.house, first.series.timezone, first.series.meter_id, first.series.kind) == ("7", "Europe/Berlin", 1, "mains")
    assert (first.times_ms.tolist(), first.values.tolist(), first.lines.tolist()) == ([NINE_MS * 1000], [0.5], [4])
    assert (second.series.label, second.series.kind, second.series.quantity, second.series.interval_s) == (
        "heat pump",
        "appliance",
        "energy",
        900,
    )
    assert second.times_ms.tolist() == [NINE_MS * 1000 - 900_000, NINE_MS * 1000] and second.values.tolist() == [-0.25, 0]
    assert (first.series.watts_per_value, second.series.watts_per_value) == (1000, -4000)


def test_a_row_for_each_meter_of_several_houses(tmp_path):
    rows = [
        "sensor\thome\tday\ttime\tpower",
        "tv\tH2\t09.10.2013\t07:30\t1,5",
        "3\tH1\t09.10.2013\t07:30\t4",
        "tv\tH2\t09.10.2013\t07:31\t2",
    ]
    found = values(mapping(tmp_path, LONG), written(tmp_path, "data.tsv", "\n".join(rows)))
    assert found == {
        ("H2", number_of("tv", 2**31), "tv", "appliance", "power", "W"): [(NINE_MS, 1.5), (NINE_MS + 60, 2)],
        ("H1", 3, "3", "appliance", "power", "W"): [(NINE_MS, 4)],
    }


def test_parquet_and_a_time_zone_that_is_given(tmp_path):
    table = pa.table({"when": pa.array([1381303800], pa.timestamp("s")), "grid": [2], "heat pump": [None]})
    pyarrow.parquet.write_table(table, tmp_path / "data.parquet")
    source = written(tmp_path, "data.parquet", (tmp_path / "data.parquet").read_bytes())
    (only,) = batches(mapping(tmp_path, WIDE), source, request("Europe/London"))
    assert (only.series.timezone, only.times_ms.tolist(), only.lines.tolist()) == ("Europe/London", [1_381_303_800_000 - 3_600_000], [1])


def test_a_column_of_another_type(tmp_path):
    table = pa.table({"when": [1381303800], "grid": [[1, 2]], "heat pump": [None]})
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    source = written(tmp_path, "data.parquet", (tmp_path / "list.parquet").read_bytes())
    with pytest.raises(DatasetError, match="data.parquet: a column has neither numbers, texts nor times"):
        batches(mapping(tmp_path, WIDE), source)


@pytest.mark.parametrize(
    "row, what",
    [
        ("2013-10-09 10:00,1", "has 2 fields, not 3"),
        ("2013-10-09 10:00,high,1", "'2013-10-09 10:00': grid: 'high' is no number"),
        ("2013-10-09 10:00,inf,1", "Mains: inf kW is more than any home draws"),
        ("2013-10-09 10:00,4294967295,1", "Mains: 4294967295 kW is more than any home draws"),
        ("2013-10-32 10:00,1,1", "'2013-10-32 10:00': no time of the form of those before it"),
        ("2013-10-09 10:00+02:00,1,1", "'2013-10-09 10:00+02:00': no time of the form of those before it"),
        ("2013-03-31 02:30,1,1", "'2013-03-31 02:30': a local time that the clocks skip"),
        ("1970-01-01 10:00,1,1", "the time 1970-01-01T09:00:00 UTC is before all readings that are accepted; was the clock set?"),
        ("2113-10-09 10:00,1,1", "the time 2113-10-09T08:00:00 UTC is in the future"),
    ],
)
def test_the_first_bad_line_stops_and_bad_lines_can_be_left_out(tmp_path, row, what):
    rows = ["when,grid,heat pump", "2013-10-09 09:30,1,1", row, "2013-10-09 10:30,2,2", row]
    form, source, listed = mapping(tmp_path, WIDE), written(tmp_path, "data.csv", "\n".join(rows)), tmp_path / "bad"
    with pytest.raises(DatasetError) as error:
        batches(form, source)
    assert str(error.value).startswith(f"{source.path}:3: ") and what in str(error.value) and "--skip-bad" in str(error.value)
    found = batches(form, source, request(listed_in=listed))
    assert [value for batch in found if batch.series.meter_id == 1 for value in batch.values.tolist()] == [1, 2]
    assert [f"data.csv:{line}: " in listed.read_text() for line in (2, 3, 4, 5)] == [False, True, False, True]


def test_a_file_without_the_columns(tmp_path):
    form = mapping(tmp_path, WIDE)
    source = written(tmp_path, "data.csv", "when,grid\n2013-10-09 09:30,1\n")
    assert not form.recognizes(source)
    with pytest.raises(DatasetError, match="data.csv: no header with the columns when, grid, heat pump"):
        list(form.read(source, request()))


def test_the_zone_must_be_known(tmp_path):
    form = mapping(tmp_path, WIDE.replace("timezone", "#"))
    with pytest.raises(DatasetError, match="data.csv: the time zone of its houses is unknown; give it with --timezone"):
        batches(form, written(tmp_path, "data.csv", "when,grid,heat pump\n2013-10-09 09:30,1,1\n"))


@pytest.mark.parametrize(
    "change, message",
    [
        (("time =", "tme ="), "time is the name of a column, or a list of two"),
        (("timezone =", "zone ="), "'zone' is not one of clock, columns, decimal, house"),
        (('unit = "kW"', 'unit = "MW"'), "unit = 'MW' is not one of W, kW, Wh, kWh"),
        (("interval_s = 900", ""), "the column heat pump is in kWh: give interval_s, the length of the intervals in s"),
        (("interval_s = 900", "interval_s = -1"), "interval_s = -1 is not a number of seconds"),
        (("house = 7", ""), "it needs either house, the number of the only house, or house_column"),
        (("house = 7", 'house = 7\nmeter_column = "m"'), "with meter_column, one column has all values"),
        (("house = 7", "house = "), "Invalid value"),
        (('unit = "kW"', 'unit = "kW"\nquantity = "energy"'), "the column grid is energy in kW; that is in Wh or kWh"),
        (('unit = "kW"', 'unit = "kW"\nstamp = "end"'), "the column grid has stamps at the end of intervals; give interval_s"),
        (('name = "grid"', ""), "a table [[columns]] has no name"),
        (('label = "Mains"', "label = 1"), "label = 1 is not a text"),
    ],
)
def test_what_is_wrong_in_a_mapping(tmp_path, change, message):
    with pytest.raises(DatasetError) as error:
        mapping(tmp_path, WIDE.replace(*change))
    assert str(error.value).startswith(f"{tmp_path}/map.toml: ") and message in str(error.value)
    assert str(error.value).endswith("docs/import.md describes mappings")


def test_no_mapping():
    with pytest.raises(DatasetError, match="/absent: it cannot be read"):
        read_mapping(Path("/absent"))


def test_numbers_of_names():
    assert [number_of(name, 2**53) for name in ("MAC000002", "7", "House 12")] == [2, 7, 12]
    others = [number_of(name, 2**31) for name in ("fridge", "tv", "0", "1/2", "3000000000")]
    assert others == [number_of(name, 2**31) for name in ("fridge", "tv", "0", "1/2", "3000000000")]
    assert len(set(others)) == 5 and all(0 < number < 2**31 for number in others)
