"""Low Carbon London's files: the full one, and those of the trial's parts with four columns."""

import pytest

from importer.formats.low_carbon_london import LOW_CARBON_LONDON
from tests.unit.importing import batches, values, written


@pytest.mark.parametrize("more, row", [("", ""), (",Acorn,Acorn_grouped", ",ACORN-A,Affluent")])
def test_low_carbon_london(tmp_path, caplog, more, row):
    rows = [
        f"LCLid,stdorToU,DateTime,KWH/hh (per half hour) {more}",
        f"MAC000002,Std,2012-10-12 00:30:00.0000000, 0 {row}",
        f"MAC000002,Std,2012-10-12 01:00:00.0000000, 0.125 {row}",
        f"MAC000002,Std,2012-12-18 15:13:41.0000000,Null{row}",
        f"MAC000003,Std,2013-07-01 01:00:00.0000000, 1.5 {row}",
    ]
    source = written(tmp_path, "LCL-June2015v2_0.csv", "\n".join(rows))
    assert values(LOW_CARBON_LONDON, source) == {
        ("MAC000002", 1, "mains", "mains", "energy", "kWh"): [(1350001800, 0), (1350003600, 0.125)],
        ("MAC000003", 1, "mains", "mains", "energy", "kWh"): [(1372640400, 1.5)],
    }
    assert "1 missing values: left out" in caplog.text
    series = batches(LOW_CARBON_LONDON, source)[0].series
    assert (series.interval_s, series.timezone, series.watts_per_value) == (1800, "Europe/London", 2000)
