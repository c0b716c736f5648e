"""UCI's household."""

from importer.formats.uci import UCI
from tests.unit.importing import values, written

HEADER = "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_metering_1;Sub_metering_2;Sub_metering_3"
ROWS = [
    "16/12/2006;17:24:00;4.216;0.418;234.840;18.400;0.000;1.000;17.000",
    "28/4/2007;00:21:00;?;?;?;?;?;?;",
    "25/3/2007;02:30:00;1.500;0.418;234.840;18.400;2.000;0.000;0.000",
    "1/7/2007;12:00:00;0.500;0.418;234.840;18.400;2.000;0.000;0.000",
]


def test_uci_has_winter_time_all_year(tmp_path, caplog):
    found = values(UCI, written(tmp_path, "household_power_consumption.txt", "\n".join([HEADER, *ROWS])))
    times = [1166286240, 1174786200, 1183287600]  # 16:24, 01:30 and 11:00 UTC
    assert found["1", 1, "mains", "mains", "power", "kW"] == list(zip(times, [4.216, 1.5, 0.5]))
    assert found["1", 4, "water heater and air conditioner", "appliance", "energy", "Wh"] == list(zip(times, [17, 0, 0]))
    assert len(found) == 4 and "4 missing values: left out" in caplog.text
