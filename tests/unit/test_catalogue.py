"""Which format a file has."""

import pytest

from generator.channels import DatasetError
from importer.formats.catalogue import format_of, formats, named
from tests.unit.importing import written
from tests.unit.test_caltrack import table
from tests.unit.test_dataport import MINUTES
from tests.unit.test_debs import LINES
from tests.unit.test_green_button import feed
from tests.unit.test_refit import FILE
from tests.unit.test_uci import HEADER

LCL = "LCLid,stdorToU,DateTime,KWH/hh (per half hour) ,Acorn,Acorn_grouped\n"


@pytest.mark.parametrize(
    "filename, text, name",
    [
        ("CLEAN_House1.csv", FILE, "refit"),
        ("household_power_consumption.txt", HEADER, "uci"),
        ("block_0.csv", LCL, "low-carbon-london"),
        ("a.csv", MINUTES, "dataport"),
        ("a.csv", LINES, "debs"),
        ("a.csv", table(), "caltrack"),
        ("house_1/channel_1.dat", "", "channels"),
        ("usage.xml", feed(), "green-button"),
        ("x.h5", b"\x89HDF\r\n\x1a\n", "nilmtk"),
        ("readme.txt", "Time, Unix and Aggregate are columns.\n", None),
        ("picture.png", b"\x89PNG\r\n\x1a\n\x00", None),
        ("empty.csv", "", None),
    ],
)
def test_each_format_is_recognized_by_itself_alone(tmp_path, filename, text, name):
    known, source = formats(), written(tmp_path, filename, text)
    found = format_of(source, known)
    assert (found.name if found else None) == name
    assert [each.name for each in known if each.recognizes(source)] == ([name] if name else [])


def test_formats_by_name():
    known = formats()
    assert [named(each.name, known) for each in known] == known
    with pytest.raises(DatasetError, match="--format excel: give one of channels, refit, uci"):
        named("excel", known)
