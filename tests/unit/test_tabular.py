"""Formats that are one table."""

import pytest

from generator.channels import DatasetError
from importer.formats.mapping import Column, Mapping
from importer.formats.tabular import Tabular
from tests.unit.importing import request, values, written

FORM = Tabular("form", Mapping(("t",), (Column("w", "W"),), timezone="UTC"), r"home(\d+)")


def test_the_house_is_in_the_files_name(tmp_path):
    assert values(FORM, written(tmp_path, "home12.csv", "t,w\n1381303800,5\n")) == {
        ("12", 1, "w", "appliance", "power", "W"): [(1381303800, 5)]
    }
    with pytest.raises(DatasetError, match="other.csv: the number of its house is not in the file's name"):
        list(FORM.read(written(tmp_path, "other.csv", "t,w\n1381303800,5\n"), request()))
