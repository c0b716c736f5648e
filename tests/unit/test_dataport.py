"""Pecan Street Dataport's exports."""

import pytest

from importer.formats.dataport import DATAPORT
from tests.unit.importing import batches, request, values, written

MINUTES = """dataid,localminute,air1,car1,grid,leg1v,solar
661,2018-01-01 00:00:00-06,0.5,,1.25,120.1,-0.004
661,2018-01-01 00:01:00-06,0.25,,-0.75,120.2,2
2335,2018-07-01 00:00:00-05,,7.2,8,120,
"""


def test_dataport(tmp_path):
    new_year, july = 1514786400, 1530421200
    assert values(DATAPORT, written(tmp_path, "1minute_data_austin.csv", MINUTES), request("America/Chicago")) == {
        ("661", 1, "air1", "appliance", "power", "kW"): [(new_year, 0.5), (new_year + 60, 0.25)],
        ("661", 3, "grid", "mains", "power", "kW"): [(new_year, 1.25), (new_year + 60, -0.75)],
        ("661", 4, "solar", "solar", "power", "kW"): [(new_year, 0.004), (new_year + 60, -2)],
        ("2335", 2, "car1", "ev", "power", "kW"): [(july, 7.2)],
        ("2335", 3, "grid", "mains", "power", "kW"): [(july, 8)],
    }


@pytest.mark.parametrize("header, labels", [("use,gen", {"use", "gen"}), ("use,grid", {"grid"})])
def test_the_sum_of_older_exports_does_not_count_beside_the_grid(tmp_path, header, labels):
    source = written(tmp_path, "15min.csv", f"dataid,local_15min,{header}\n26,2014-01-01 00:00:00-06:00,1,1\n")
    assert {batch.series.label for batch in batches(DATAPORT, source, request("America/Chicago"))} == labels
