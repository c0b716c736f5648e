"""REFIT's cleaned files."""

from importer.formats.refit import REFIT
from tests.unit.importing import values, written

HEADER = "Time,Unix,Aggregate,Appliance1,Appliance2,Appliance3,Appliance4,Appliance5,Appliance6,Appliance7,Appliance8,Appliance9,Issues"
FILE = f"{HEADER}\n2013-10-09 13:06:17,1381323977,523,74,0,69,0,0,0,0,0,1,0\n2013-10-09 13:06:31,1381323991,526,75,0,69,0,0,0,0,0,1,0\n"


def test_refit(tmp_path):
    found = values(REFIT, written(tmp_path, "CLEAN_House1.csv", FILE))
    assert found["1", 1, "aggregate", "mains", "power", "W"] == [(1381323977, 523), (1381323991, 526)]
    assert found["1", 10, "appliance 9", "appliance", "power", "W"] == [(1381323977, 1), (1381323991, 1)]
    assert len(found) == 10
