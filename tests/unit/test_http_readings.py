"""The readings in a body: what is taken, and a sentence with its position for each mistake."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import House
from gateway.http_readings import MS_PER, VALUES, ForeignHouse, Mistakes, Reader, Reading
from gateway.source import Source
from generator.houses import Meter
from smartmeter.messages.codec import EXPORT, IMPORT, POWER

NOW = 1_800_000_000_000
OLDEST = 978_307_200_000
METERS = (Meter(1, "mains", "mains"), Meter(2, "plug", "appliance"), Meter(3, "lamp", "appliance"))
BY_HTTP = {of: Source(7, of, "x", "Europe/Amsterdam", "", "", Decimal(1), holds_s=holds_s) for of, holds_s in ((2, 0), (3, 60))}
HOUSE = House(7, "Europe/Amsterdam", "", METERS, (), BY_HTTP)
READER = Reader(HOUSE, OLDEST, NOW)


def of_json(found):
    return READER.in_json(json.dumps(found).encode())


def of_lines(text, precision="ns"):
    return READER.in_lines(text.encode(), precision)


def mistakes(read, *found):
    with pytest.raises(Mistakes) as raised:
        read(*found)
    return str(raised.value), raised.value.by_position


def test_a_reading_is_an_object_and_several_are_a_list():
    assert of_json({"house": 7, "meter": 2, "time": "2026-11-30T09:00:00", "watts": 25.7}) == [Reading(2, POWER, 1_796_025_600_000, 25.7)]
    assert of_json([{"meter": 3, "watts": -1}, {"meter": 3, "time": 1_700_000_000, "power": 2}]) == [
        Reading(3, POWER, None, -1),
        Reading(3, POWER, 1_700_000_000_000, 2),
    ]


def test_registers_are_whole_mwh():
    assert of_json({"meter": 2, "time": NOW, "watts": 5, "import_kwh": 1234.567891, "export_wh": 0.5}) == [
        Reading(2, POWER, NOW, 5),
        Reading(2, IMPORT, NOW, 1_234_567_891),
        Reading(2, EXPORT, NOW, 500),
    ]
    [(_, _, _, mwh)] = of_json({"meter": 2, "import_wh": 9_007_199_254_741})
    assert mwh == 9_007_199_254_741_000 and isinstance(mwh, int)


def test_line_protocol_has_the_meter_as_tag_and_values_as_fields():
    text = '# meters\nenergy,house=7,meter=2,host=a\\ b power=25i,voltage=230.1,note="a, b=c" 1700000000000000000\n\n m,meter=3 export_kwh=1.5\r\n'
    assert of_lines(text) == [Reading(2, POWER, 1_700_000_000_000, 25), Reading(3, EXPORT, None, 1_500_000)]


@pytest.mark.parametrize(
    "precision, at", [("ns", 1_700_000_000_123_456_789), ("us", 1_700_000_000_123_456), ("ms", 1_700_000_000_123), ("s", 1_700_000_000)]
)
def test_times_have_a_precision(precision, at):
    [(_, _, time_ms, _)] = of_lines(f"m,meter=2 watts=1 {at}", precision)
    assert time_ms == (1_700_000_000_000 if precision == "s" else 1_700_000_000_123)


@pytest.mark.parametrize(
    "found, mistake",
    [
        ({"meter": 2}, "it has no value: give one of watts, power, import_wh"),
        ({"watts": 1}, "it has no meter"),
        ({"meter": 9, "watts": 1}, "meter 9: the house has none of this number"),
        ({"meter": 1, "watts": 1}, "meter 1: its readings come by MQTT"),
        ({"meter": "2", "watts": 1}, "meter: '2' is no whole number"),
        ({"meter": True, "watts": 1}, "meter: 'True' is no whole number"),
        ({"meter": 2, "watt": 1}, "it has no key 'watt': a reading takes house, meter, time, watts"),
        ({"meter": 2, "watts": True}, "is no number"),
        ({"meter": 2, "watts": {"a": 1}}, "is no number"),
        ({"meter": 2, "watts": 1.1e9}, "is more than a meter can measure"),
        ({"meter": 2, "watts": 10**400}, "larger than any meter shows"),
        ({"meter": 2, "watts": 1, "power": 1}, "it has two values of one quantity: watts, power"),
        ({"meter": 2, "import_wh": -1}, "less than 0"),
        ({"meter": 2, "import_kwh": 1e13}, "more than a register can show"),
        ({"meter": 2, "watts": 1, "time": "noon"}, "'noon' is no time"),
        ({"meter": 2, "watts": 1, "time": NOW + 60_001}, "its time lies in the future: check the clock"),
        ({"meter": 2, "watts": 1, "time": "1970-01-01T00:00:09"}, "its time lies before SMW_OLDEST_DATE: check the clock"),
        (5, "it is no object with house, meter, time, watts"),
    ],
)
def test_a_mistake_has_a_sentence_and_its_position(found, mistake):
    sentence, by_position = mistakes(of_json, [{"meter": 2, "watts": 1}, found])
    assert sentence == "1 of 2 readings cannot be used, so nothing was taken"
    assert by_position.keys() == {2} and mistake in by_position[2]


@pytest.mark.parametrize(
    "line, mistake",
    [
        ("m,house=7 watts=1", "it has no meter"),
        ("m,meter=x watts=1", "meter: 'x' is no whole number"),
        ("m,meter=2 volts=1", "it has no value: give one of watts"),
        ('m,meter=2 watts="on"', "'on' is no number"),
        ("m,meter=2 watts=t", "'True' is no number"),
        ("m,meter=2 watts=nan", "it is no line protocol: "),
        ("m,meter=2", "it is no line protocol: "),
        ("m,meter=2 watts=1 2 3", "it is no line protocol: "),
        ("m,meter=2 watts=1 -5", "its time lies before SMW_OLDEST_DATE"),
        ("m,meter=2 watts=1 1900000000000000000", "its time lies in the future"),
    ],
)
def test_a_line_with_a_mistake_has_its_number(line, mistake):
    sentence, by_position = mistakes(of_lines, f"# one\n\nm,meter=2 watts=1\n{line}\n")
    assert sentence.startswith("1 of 3 lines cannot") and by_position.keys() == {4} and mistake in by_position[4]


@pytest.mark.parametrize(
    "body, sentence",
    [
        (b"", "no JSON"),
        (b'{"meter": 2, "watts": NaN}', "NaN is no number"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "there is no reading"),
    ],
)
def test_a_body_that_is_none(body, sentence):
    assert sentence in mistakes(READER.in_json, body)[0]


def test_lines_that_are_none():
    assert "byte 3 is wrong" in mistakes(READER.in_lines, b"m \xff", "s")[0]
    assert "there is no reading" in mistakes(of_lines, "# none\n")[0]
    assert mistakes(of_lines, "m,meter=2 watts=1", "h")[0] == "precision 'h': it is one of ns, n, us, u, ms, s"


def test_another_house():
    with pytest.raises(ForeignHouse):
        of_json([{"meter": 2, "watts": 1}, {"house": 8, "meter": 2, "watts": 1}])
    with pytest.raises(ForeignHouse):
        of_lines("m,house=8,meter=2 watts=1")


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\x85"), min_size=1, max_size=8).filter(
    lambda name: not name.startswith("#") and not re.search(r"\\([, =]|$)", name)
)
"""Without a backslash before what is escaped: line protocol cannot tell that from an escaped backslash."""


@given(NAMES, NAMES, st.text(max_size=20), st.integers(-(10**9), 10**9), st.sampled_from(["", "i"]), st.integers(OLDEST, NOW))
def test_what_is_escaped_by_the_rules_of_line_protocol_is_read(measurement, tag, text, watts, kind, at_ms):
    """Measurement: comma and space; tags: also the equals sign; strings: quote and backslash."""
    measurement = measurement.replace(",", "\\,").replace(" ", "\\ ")
    tag = tag.replace(",", "\\,").replace(" ", "\\ ").replace("=", "\\=")
    text = text.replace("\n", "").replace("\0", "").replace("\\", "\\\\").replace('"', '\\"')
    found = of_lines(f'{measurement},meter=3,x{tag}={tag} x{tag}="{text}",watts={watts}{kind} {at_ms}', "ms")
    assert found == [Reading(3, POWER, at_ms, watts)]


@given(st.binary(max_size=60) | st.text(alphabet='m,=meter2 "\\#i1watts\n\0é-.e', max_size=60).map(str.encode), st.sampled_from([*MS_PER]))
def test_any_other_body_is_a_mistake_or_readings(body, precision):
    for read in (lambda: READER.in_lines(body, precision), lambda: READER.in_json(body)):
        try:
            assert all(reading.meter_id in (2, 3) for reading in read())
        except Mistakes as error:
            assert str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["meter", "house", "time", *VALUES]) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_other_json_is_a_mistake_or_readings(found):
    try:
        of_json(found)
    except (Mistakes, ForeignHouse) as error:
        assert isinstance(error, ForeignHouse) or str(error)
