"""What users state of meters: which meters a table holds for, and one sentence for each mistake."""

import pytest

from generator.houses import Meter
from generator.meter_file import NOTHING, MeterFile, Stated, read_meter_file, sign_of, with_parents
from smartmeter.errors import UserError
from tests.unit.importing import written

FILE = """
[[meters]]
house = 2
label = "PV"
sign = 1

[[meters]]
label = "pv"
kind = "solar"
scale = 1.1

[[meters]]
meter = 7
parent = "subpanel"
kind = "ev"
"""


def test_the_first_table_that_fits_holds(tmp_path):
    found = read_meter_file(written(tmp_path, "meters.toml", FILE).path)
    assert found.of("2", 3, "pv") == Stated(house="2", label="PV", sign=1)
    assert found.of("1", 3, "Pv") == Stated(label="pv", kind="solar", scale=1.1)
    assert found.of("2", 8, "pv2") == NOTHING
    with pytest.raises(UserError, match=r"meters.toml: the table \[\[meters\]\] number 3 fits no meter of the files; correct or remove it"):
        found.require_used()
    assert found.of("9", 7, "") == Stated(meter=7, parent="subpanel", kind="ev")
    found.require_used()


def test_without_a_file_nothing_is_stated():
    read_meter_file(None).require_used()
    assert read_meter_file(None).of("1", 1, "mains") == NOTHING


@pytest.mark.parametrize(
    "text, reason",
    [
        ("[[meters]]\nlabel = 'a'\nsing = 1", "'sing' is not one of house, meter, label, kind, parent, sign, scale"),
        ("[[meters]]\nkind = 'ev'", "neither meter nor label, so it would hold for all meters"),
        ("[[meters]]\nmeter = 0", "meter = 0 is not a number of a meter, from 1"),
        ("[[meters]]\nlabel = 'a'\nkind = 'sun'", "kind = 'sun' is not one of mains, appliance, solar, battery, ev"),
        ("[[meters]]\nlabel = 'a'\nsign = 2", "sign = 2 is not one of 1, -1"),
        ("[[meters]]\nlabel = 'a'\nscale = -1", "scale = -1 is not a number over 0; sign turns the direction"),
        ("[[meters]]\nlabel = 'a'\nscale = inf", "scale = inf is not a number over 0"),
        ("[[meters]]\nlabel = 'a'\nscale = '1'", "scale = '1' is not a number over 0"),
        ("meters = 3", "it needs a table .* for each meter, and nothing else"),
        ("label = 'a'", "it needs a table .* for each meter, and nothing else"),
        ("[[meters]", "Expected .*"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, text, reason):
    with pytest.raises(UserError, match=f"meters.toml: .*{reason}.*docs/data.md describes the file$"):
        read_meter_file(written(tmp_path, "meters.toml", text).path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"none.toml: it cannot be read \(No such file or directory\)"):
        read_meter_file(tmp_path / "none.toml")


def test_a_file_without_tables_states_nothing():
    MeterFile(None, []).require_used()


def test_only_solar_is_turned_unless_a_sign_is_stated():
    assert [sign_of(kind) for kind in ("mains", "appliance", "solar", "battery", "ev")] == [1, 1, -1, 1, 1]
    assert (sign_of("solar", 1), sign_of("mains", -1)) == (1, -1)


METERS = [Meter(1, "mains", "mains"), Meter(2, "Subpanel", "appliance"), Meter(3, "tv", "appliance"), Meter(4, "tv", "appliance")]


def test_a_parent_is_named_by_its_label_or_its_number():
    found = with_parents("house 1", METERS, {1: "", 3: "subpanel", 4: "2"})
    assert [meter.parent for meter in found] == [0, 0, 2, 2]
    assert with_parents("house 1", METERS, {}) == METERS


@pytest.mark.parametrize("parent, many", [("tv", "2"), ("barn", "no"), ("9", "no")])
def test_a_parent_that_is_not_one_meter_is_refused(parent, many):
    with pytest.raises(
        UserError, match=f"^house 1: the parent of Subpanel is '{parent}', which {many} meters of the house are called; give"
    ):
        with_parents("house 1", METERS, {2: parent})
