"""Series and the faults of their values."""

from dataclasses import replace

import numpy as np
import pytest

from generator.channels import DatasetError
from generator.meter_file import MeterFile, Stated
from importer.formats.series import Batch, Faults, Series, checked, timezone_of
from importer.formats.sources import Source
from tests.unit.importing import NEWEST_MS, OLDEST_MS, request


def series(quantity="power", unit="W", interval_s=0.0):
    return Series("1", 1, "mains", "mains", quantity, unit, "UTC", interval_s)


def batch(times, values, **kind):
    return Batch(series(**kind), np.array(times), np.array(values, float), "file", np.arange(1, len(times) + 1))


def test_units():
    factors = [series(*kind).watts_per_value for kind in (("power", "W"), ("power", "kW"), ("energy", "Wh", 60), ("energy", "kWh", 900))]
    assert factors == [1, 1000, 60, 4000]


@pytest.mark.parametrize(
    "kind, sign, scale, factor",
    [("mains", 0, 1.0, 1), ("solar", 0, 2.0, -2), ("solar", 1, 0.5, 0.5), ("battery", 0, 1.0, 1), ("ev", -1, 3.0, -3)],
)
def test_sign_and_scale_turn_values_into_what_is_drawn(kind, sign, scale, factor):
    found = replace(series("energy", "kWh", 900), kind=kind, sign=sign, scale=scale)
    assert (found.factor, found.watts_per_value) == (factor, 4000 * factor)


def test_a_register_that_counts_production_is_one_of_export():
    one = series("import", "kWh")
    assert (one.register, replace(one, sign=-1).register) == ("import", "export")
    assert [replace(one, kind="solar", sign=sign).register for sign in (0, 1)] == ["export", "import"]
    assert replace(one, quantity="export", kind="solar").register == "export"


def test_what_is_stated_takes_the_place_of_what_the_format_says(tmp_path):
    stated = MeterFile(tmp_path, [Stated(meter=1, kind="solar", parent="barn", sign=1, scale=2.0), Stated(label="MAINS", scale=3.0)])
    given = batch([OLDEST_MS], [1.0])
    own = replace(given, series=replace(given.series, parent="shed", sign=-1, scale=5.0))
    assert own.stated(stated).series == replace(own.series, kind="solar", parent="barn", sign=1, scale=10.0)
    other = replace(own, series=replace(own.series, meter_id=2))
    assert other.stated(stated).series == replace(other.series, scale=15.0)
    stated.require_used()


def test_times_and_values_out_of_range_are_left_out(tmp_path):
    given = batch([OLDEST_MS - 1, OLDEST_MS, NEWEST_MS - 1, NEWEST_MS, NEWEST_MS - 1], [1, 2, 1e9, 4, 1.1e9])
    listed = tmp_path / "bad"
    kept = checked(given, request(listed_in=listed))
    assert (kept.times_ms.tolist(), kept.values.tolist(), kept.lines.tolist()) == ([OLDEST_MS, NEWEST_MS - 1], [2, 1e9], [2, 3])
    assert [line.split(": ")[0] for line in listed.read_text().splitlines()] == ["file:1", "file:4", "file:5"]
    assert checked(batch([OLDEST_MS], [2e6], quantity="energy", unit="kWh", interval_s=3600), request(listed_in=listed)).values.size == 0
    assert checked(batch([OLDEST_MS], [2e12], quantity="import", unit="kWh"), request()).values.size == 1


def test_the_first_fault_is_raised_and_faults_that_are_left_out_are_listed_in_order(tmp_path):
    faulty = [(12, "x\x1b"), (3, "y")]
    with pytest.raises(DatasetError, match="^f:3: y; correct the line, or leave such lines out with --skip-bad"):
        Faults().add("f", faulty)
    Faults().add("f", [])
    faults = Faults(tmp_path / "bad")
    for _ in range(6):
        faults.add("f", faulty)
    assert faults.count == 12 and faults.first == ["f:3: y", "f:12: x\\x1b"] * 5
    assert (tmp_path / "bad").read_text() == "f:3: y\nf:12: x\\x1b\n" * 6


def test_the_given_time_zone_comes_first(tmp_path):
    source = Source(tmp_path / "f")
    assert timezone_of(request("UTC"), "Europe/Berlin", source) == "UTC"
    assert timezone_of(request(), "Europe/Berlin", source) == "Europe/Berlin"
    with pytest.raises(DatasetError, match="f: the time zone of its houses is unknown; give it with --timezone"):
        timezone_of(request(), "", source)
