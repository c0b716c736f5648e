"""A utility's intervals, a row a day."""

import pytest

from generator.channels import DatasetError
from importer.formats.caltrack import CALTRACK
from tests.unit.importing import request, values, written

ZONE = "America/Los_Angeles"
MIDNIGHT = 1391241600  # 2014-02-01 in Los Angeles


def table(*rows, minutes=360, first="end"):
    ends = [minutes * n for n in (range(1, 1440 // minutes + 1) if first == "end" else range(1440 // minutes))]
    columns = [f"{end // 60 % 24:02}:{end % 60:02}" for end in ends]
    return "\n".join([f"SPID,SA,UOM,DIR,DATE,RS,APCT,NAICS,{','.join(columns)}", *rows])


@pytest.mark.parametrize("date", ["2014-02-01", "02/01/2014", "2/1/2014"])
@pytest.mark.parametrize("first", ["end", "start"])
def test_columns_are_intervals(tmp_path, caplog, date, first):
    rows = [f"501,9,KWH,D,{date},E1,100,,1,2,,4", f"501,9,kwh,R,{date},E1,100,,0,0.5,0,0", f"502,9,THERM,D,{date},G1,100,,1,1,1,1"]
    found = values(CALTRACK, written(tmp_path, "u.csv", table(*rows, first=first)), request(ZONE))
    assert found == {
        ("501", 1, "mains", "mains", "energy", "kWh"): [(MIDNIGHT + 21600 * n, value) for n, value in ((0, 1), (1, 2), (3, 4))],
        ("501", 2, "export", "mains", "energy", "kWh"): [(MIDNIGHT + 21600 * n, value) for n, value in ((0, 0), (1, -0.5), (2, 0), (3, 0))],
    }
    assert "1 rows in other units than KWH: left out" in caplog.text and "1 missing values" in caplog.text


def test_days_on_which_clocks_change(tmp_path):
    spring, autumn = ("501,9,KWH,D,2014-03-09,E1,100,," + ",".join(map(str, row)) for row in ([1, 1, 0, *[1] * 21], [1] * 24))
    (hours,) = values(CALTRACK, written(tmp_path, "u.csv", table(spring, minutes=60)), request(ZONE)).values()
    assert [time for time, _ in hours] == [1394352000 + 3600 * n for n in range(23)]
    (hours,) = values(CALTRACK, written(tmp_path, "u.csv", table(autumn.replace("03-09", "11-02"), minutes=60)), request(ZONE)).values()
    assert [time for time, _ in hours] == [1414911600 + 3600 * n for n in (0, 1, *range(3, 25))]
    with pytest.raises(DatasetError, match=r"u.csv:2: '2014-03-09 02:00:00': a local time that the clocks skip"):
        values(CALTRACK, written(tmp_path, "u.csv", table(autumn, minutes=60)), request(ZONE))


@pytest.mark.parametrize(
    "row, message",
    [("501,9,KWH,D,soon,E1,100,,1,2,3,4", "u.csv:2: 'soon' is no date"), ("501,9,KWH,D,2014-02-01,E1", "u.csv:2: .* fields, not 12")],
)
def test_bad_rows(tmp_path, row, message):
    with pytest.raises(DatasetError, match=message):
        values(CALTRACK, written(tmp_path, "u.csv", table(row)), request(ZONE))


def test_the_zone_must_be_given(tmp_path):
    with pytest.raises(DatasetError, match="the time zone of its houses is unknown"):
        values(CALTRACK, written(tmp_path, "u.csv", table("501,9,KWH,D,2014-02-01,E1,100,,1,2,3,4")), request())
