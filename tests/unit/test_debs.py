"""DEBS 2014's base measurements."""

import pytest

from generator.channels import DatasetError
from importer.formats.debs import DEBS
from tests.unit.importing import batches, request, values, written

LINES = "2967740693,1379879533,82.042,0,11,0,12\n2967740694,1379879533,5.5,1,11,0,12\n2967740695,1379879534,7,1,2,3,0\n"


def test_debs(tmp_path):
    assert values(DEBS, written(tmp_path, "sorted100M.csv", LINES)) == {
        ("13", 12, "plug 12", "appliance", "power", "W"): [(1379879533, 5.5)],
        ("13", 12, "plug 12", "appliance", "import", "kWh"): [(1379879533, 82.042)],
        ("1", 3003, "plug 3003", "appliance", "power", "W"): [(1379879534, 7)],
    }


@pytest.mark.parametrize(
    "line", ["1,1379879535,7,2,2,3,0", "1,1379879535,7,1,2.5,3,0", "1,1379879535,7,1,1000,3,0", "1,1379879535,7,1,x,3,0"]
)
def test_a_line_without_its_plug(tmp_path, line):
    with pytest.raises(DatasetError, match=r"s.csv:4: property, plug_id, household_id and house_id are not whole numbers"):
        batches(DEBS, written(tmp_path, "s.csv", LINES + line))


@pytest.mark.parametrize("text", ["1,2,3\n", "id,timestamp,value,property,plug_id,household_id,house_id\n", "1,2,3,5,5,6,7\n", ""])
def test_other_files(tmp_path, text):
    assert not DEBS.recognizes(written(tmp_path, "s.csv", text))
    assert not list(DEBS.read(written(tmp_path, "empty.csv", ""), request()))
