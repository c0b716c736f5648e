"""Which format a file has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator.channels import DatasetError
from importer.formats.catalogue import format_of, formats, named
from tests.unit.importing import request, written
from tests.unit.test_caltrack import table
from tests.unit.test_dataport import MINUTES
from tests.unit.test_debs import LINES
from tests.unit.test_green_button import block, feed, reading_type, readings
from tests.unit.test_refit import FILE
from tests.unit.test_uci import HEADER, ROWS

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


WHOLE = feed(readings(1), reading_type(1), block(1, (1396170000, 900, 125000), (1396170900, 900, 250000)))
FILES = {
    "CLEAN_House1.csv": FILE,
    "household_power_consumption.txt": "\n".join([HEADER, *ROWS]),
    "block_0.csv": f"{LCL}MAC000002,Std,2012-10-12 00:30:00.0000000, 0.1 ,ACORN-A,Affluent\n",
    "dataport.csv": MINUTES,
    "debs.csv": LINES,
    "caltrack.csv": table("501,9,KWH,D,2014-02-01,E1,100,,1,2,,4", "501,9,KWH,R,2014-02-01,E1,100,,1,2,,4"),
    "usage.xml": WHOLE,
}


@given(st.sampled_from(sorted(FILES)), st.floats(0, 1), st.binary(max_size=3), st.integers(0, 3))
def test_whatever_is_changed_in_a_file_it_is_read_or_refused_in_a_sentence(tmp_path_factory, filename, share, put, taken):
    text = FILES[filename].encode()
    at = round(share * len(text))
    for changed in (text[:at] + put + text[at + taken :], text[:at]):
        source = written(tmp_path_factory.mktemp("changed"), filename, changed)
        for form in formats():
            try:
                values = sum(len(batch.values) for batch in form.read(source, request("Europe/London")))
            except DatasetError as error:
                assert str(error).startswith(str(source.path))
            else:
                assert values <= 40
